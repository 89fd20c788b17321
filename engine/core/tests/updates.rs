//! Rules of updates that no recorded transcript shows, each as a short story.

mod support;

use std::sync::Arc;

use fermata_core::Reply;
use fermata_proto::enums::UpdateWorkflowExecutionLifecycleStage as Stage;
use fermata_proto::enums::*;
use fermata_proto::event::HistoryEventAttributes as Event;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::{StickyExecutionAttributes, TaskQueue};
use fermata_proto::update::OutcomeValue;
use support::client::*;
use support::updates::*;
use support::world::{World, namespace};

type Task = PollWorkflowTaskQueueResponse;

/// A workflow that has done its first task and waits.
fn idle() -> (World, String) {
    let mut world = World::new(1);
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world.complete_task(&task, Vec::new()).unwrap();
    (world, run_id)
}

fn failure_type(world: &World, caller: usize) -> String {
    match world.outcome(caller).unwrap().value {
        Some(OutcomeValue::Failure(failure)) => match failure.failure_info {
            Some(fermata_proto::failure::FailureFailureInfo::ApplicationFailureInfo(info)) => {
                info.r#type
            }
            other => panic!("another failure: {other:?}"),
        },
        other => panic!("no failure: {other:?}"),
    }
}

fn say(world: &mut World, task: &Task, messages: Vec<fermata_proto::protocol::Message>) {
    world
        .respond(task, Vec::new(), |request| request.messages = messages)
        .unwrap();
}

fn last_types(world: &World, run_id: &str, count: usize) -> Vec<String> {
    let types = world.event_types(run_id);
    types[types.len() - count..].to_vec()
}

#[test]
fn the_eleventh_update_in_flight_is_refused() {
    let (mut world, _) = idle();
    for n in 0..10 {
        world.update("wf", &format!("u{n}")).unwrap();
    }
    let refused = world.update("wf", "u10").unwrap_err();
    assert_eq!(refused.kind, RejectionKind::ResourceExhausted);
    assert_eq!(
        refused.message,
        "limit on number of concurrent in-flight updates has been reached (10)"
    );
    // A repeat of one that is in flight joins it.
    world.update("wf", "u3").unwrap();
    let task = world.poll().unwrap();
    assert_eq!(task.messages.len(), 10);
    let rejections = task.messages.iter().map(reject).collect();
    say(&mut world, &task, rejections);
    world.update("wf", "u10").unwrap();
}

#[test]
fn a_run_takes_so_many_updates_in_all_and_is_told_to_go_on_as_new_before() {
    let (mut world, run_id) = idle();
    Arc::make_mut(&mut world.limits).updates_total_max = 10;
    for n in 0..10 {
        let update_id = format!("u{n}");
        world.update("wf", &update_id).unwrap();
        let task = world.poll().unwrap();
        let request = &task.messages[0];
        say(&mut world, &task, vec![accept(request), complete(request)]);
    }
    let refused = world.update("wf", "u10").unwrap_err();
    assert_eq!(refused.kind, RejectionKind::FailedPrecondition);
    assert!(
        refused.message.contains("has been reached (10)"),
        "{refused}"
    );
    world.signal("wf", None).unwrap();
    world.poll().unwrap();
    let started = world.histories[&run_id].last().unwrap();
    let Some(Event::WorkflowTaskStarted(started)) = &started.attributes else {
        panic!("no started task: {started:?}");
    };
    assert_eq!(
        started.suggest_continue_as_new_reasons,
        [SuggestContinueAsNewReason::TooManyUpdates]
    );
}

#[test]
fn requests_in_flight_may_not_take_too_much_room() {
    let (mut world, _) = idle();
    Arc::make_mut(&mut world.limits).updates_in_flight_bytes_max = 1_000;
    let mut request = update_request("wf", "large", Stage::Completed);
    let update = request.request.as_mut().unwrap();
    update.input.as_mut().unwrap().args = Some(payload_of(2_000));
    let request = Request::UpdateWorkflowExecution(Box::new(request));
    let refused = world.ask_owner("wf", request).unwrap_err();
    assert_eq!(refused.kind, RejectionKind::ResourceExhausted);
    world.update("wf", "small").unwrap();
}

/// Nobody polls: after five seconds the task is an event, and waits for as long as it takes.
#[test]
fn a_speculative_task_that_nobody_takes_becomes_a_real_one() {
    let (mut world, run_id) = idle();
    let caller = world.update("wf", "u").unwrap();
    world.pass(4.9);
    assert_eq!(world.event_types(&run_id).len(), 4);
    world.pass(0.2);
    assert_eq!(
        last_types(&world, &run_id, 3),
        [
            "WorkflowTaskScheduled",
            "WorkflowTaskTimedOut",
            "WorkflowTaskScheduled"
        ]
    );
    world.pass(600.0);
    let task = world.poll().unwrap();
    assert_eq!((task.attempt, task.started_event_id), (1, 8));
    let request = &task.messages[0];
    say(&mut world, &task, vec![accept(request), complete(request)]);
    assert_eq!(world.outcome(caller), Ok(success()));
}

#[test]
fn whatever_else_happens_makes_a_scheduled_speculative_task_real_first() {
    let (mut world, run_id) = idle();
    world.update("wf", "u").unwrap();
    world.signal("wf", None).unwrap();
    assert_eq!(
        last_types(&world, &run_id, 2),
        ["WorkflowTaskScheduled", "WorkflowExecutionSignaled"]
    );
    // The reference that was dispatched before still takes it.
    let task = world.poll().unwrap();
    assert_eq!((task.messages.len(), task.started_event_id), (1, 7));
    let rejection = reject(&task.messages[0]);
    say(&mut world, &task, vec![rejection]);
    assert_eq!(
        last_types(&world, &run_id, 2),
        ["WorkflowTaskStarted", "WorkflowTaskCompleted"]
    );
}

/// A worker that could not take the same events twice gets a completed task instead.
#[test]
fn a_speculative_task_with_events_vanishes_only_if_its_worker_minds_them_not() {
    let can = RespondWorkflowTaskCompletedRequestCapabilities {
        discard_speculative_workflow_task_with_events: true,
    };
    for (capabilities, events) in [(None, 8), (Some(can), 5)] {
        let mut world = World::new(1);
        let run_id = world.start("wf", |_| {}).unwrap();
        let task = world.poll().unwrap();
        world.complete_task(&task, vec![timer("t", 100.0)]).unwrap();
        world.update("wf", "u").unwrap();
        let task = world.poll().unwrap();
        let messages = vec![reject(&task.messages[0])];
        let answer = world.respond(&task, Vec::new(), |request| {
            request.messages = messages;
            request.capabilities = capabilities;
        });
        let Ok(Reply::WorkflowTaskCompleted { response, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(world.event_types(&run_id).len(), events);
        assert_eq!(
            response.reset_history_event_id,
            if events == 5 { 3 } else { 0 }
        );
    }
}

#[test]
fn a_terminated_run_has_no_trace_of_a_task_that_nobody_took() {
    let (mut world, run_id) = idle();
    let caller = world.update("wf", "u").unwrap();
    world.terminate("wf").unwrap();
    assert_eq!(
        last_types(&world, &run_id, 1),
        ["WorkflowExecutionTerminated"]
    );
    assert_eq!(world.event_types(&run_id).len(), 5);
    let aborted = world.outcome(caller).unwrap_err();
    assert_eq!(
        (aborted.kind, &*aborted.message),
        (
            RejectionKind::NotFound,
            "workflow update was aborted by closing workflow"
        )
    );
    assert!(world.runs[&run_id].workflow_task.is_none());
}

#[test]
fn a_started_speculative_task_fails_when_its_run_is_terminated() {
    let (mut world, run_id) = idle();
    world.update("wf", "u").unwrap();
    let task = world.poll().unwrap();
    world.terminate("wf").unwrap();
    assert_eq!(
        last_types(&world, &run_id, 4),
        [
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
            "WorkflowTaskFailed",
            "WorkflowExecutionTerminated"
        ]
    );
    let late = world.complete_task(&task, Vec::new()).unwrap_err();
    assert_eq!(late.kind, RejectionKind::NotFound);
}

/// What the worker has seen fails with its answer; what came meanwhile is delivered by the next attempt.
#[test]
fn a_bad_answer_ends_the_updates_that_it_is_about() {
    let (mut world, run_id) = idle();
    let seen = world.update("wf", "seen").unwrap();
    let task = world.poll().unwrap();
    let unseen = world.update("wf", "unseen").unwrap();
    let bad = complete(&task.messages[0]);
    world
        .respond(&task, Vec::new(), |request| request.messages = vec![bad])
        .unwrap_err();
    let failed = world.outcome(seen).unwrap_err();
    assert_eq!(
        failed.message,
        "Unable to perform workflow execution update due to unexpected workflow task failure."
    );
    assert_eq!(last_types(&world, &run_id, 1), ["WorkflowTaskFailed"]);
    let task = world.poll().unwrap();
    assert_eq!(task.messages.len(), 1);
    let request = &task.messages[0];
    say(&mut world, &task, vec![accept(request), complete(request)]);
    assert_eq!(world.outcome(unseen), Ok(success()));
}

#[test]
fn a_workflow_whose_task_keeps_failing_takes_no_updates() {
    let (mut world, _) = idle();
    world.signal("wf", None).unwrap();
    for _ in 0..2 {
        let task = world.poll().unwrap();
        let request = RespondWorkflowTaskFailedRequest {
            task_token: task.task_token,
            ..RespondWorkflowTaskFailedRequest::default()
        };
        let request = Request::RespondWorkflowTaskFailed(Box::new(request));
        world.ask_owner("wf", request).unwrap();
    }
    let refused = world.update("wf", "u").unwrap_err();
    assert_eq!(
        refused.message,
        "Unable to perform workflow execution update due to Workflow Task in failed state."
    );
    assert!(matches!(
        refused.detail.as_deref(),
        Some(ErrorDetail::WorkflowNotReady(_))
    ));
}

/// A worker busy with local activities asks for a new task: it still has what it was given, and gets only what is new.
#[test]
fn a_heartbeat_brings_only_new_updates() {
    let (mut world, _) = idle();
    let first = world.update("wf", "first").unwrap();
    let task = world.poll().unwrap();
    world.update("wf", "second").unwrap();
    let answer = world.respond(&task, Vec::new(), |request| {
        request.force_create_new_workflow_task = true;
        request.return_new_workflow_task = true;
    });
    let Ok(Reply::WorkflowTaskCompleted {
        workflow_task: Some(next),
        ..
    }) = answer
    else {
        panic!("{answer:?}");
    };
    let next = world.complete(*next);
    let ids = |task: &Task| -> Vec<String> {
        let messages = task.messages.iter();
        messages
            .map(|message| message.protocol_instance_id.clone())
            .collect()
    };
    assert_eq!(ids(&next), ["second"]);
    let messages = vec![
        accept(&task.messages[0]),
        complete(&task.messages[0]),
        reject(&next.messages[0]),
    ];
    say(&mut world, &next, messages);
    assert_eq!(world.outcome(first), Ok(success()));
}

/// The worker rejects one update while another waits: the second rides on the answer, and the first leaves nothing behind.
#[test]
fn one_speculative_task_follows_another() {
    let (mut world, run_id) = idle();
    world.update("wf", "first").unwrap();
    let task = world.poll().unwrap();
    world.update("wf", "second").unwrap();
    let messages = vec![reject(&task.messages[0])];
    let answer = world.respond(&task, Vec::new(), |request| {
        request.messages = messages;
        request.return_new_workflow_task = true;
        request.sticky_attributes = Some(StickyExecutionAttributes {
            worker_task_queue: Some(TaskQueue {
                name: STICKY.to_owned(),
                ..TaskQueue::default()
            }),
            schedule_to_start_timeout: Some(std::time::Duration::from_secs(10)),
        });
    });
    let Ok(Reply::WorkflowTaskCompleted {
        workflow_task: Some(next),
        response,
    }) = answer
    else {
        panic!("{answer:?}");
    };
    assert_eq!(response.reset_history_event_id, 3);
    assert_eq!(world.event_types(&run_id).len(), 4);
    let next = world.complete(*next);
    assert_eq!((next.started_event_id, next.messages.len()), (6, 1));
    let request = &next.messages[0];
    say(&mut world, &next, vec![accept(request), complete(request)]);
    assert_eq!(world.event_types(&run_id).len(), 9);
}

#[test]
fn a_rejection_behind_the_closing_command_is_still_told() {
    let (mut world, run_id) = idle();
    let rejected = world.update("wf", "rejected").unwrap();
    let ignored = world.update("wf", "ignored").unwrap();
    let task = world.poll().unwrap();
    let messages = vec![reject(&task.messages[0])];
    world
        .respond(&task, vec![done(None)], |request| {
            request.messages = messages
        })
        .unwrap();
    assert_eq!(failure_type(&world, rejected), "Test");
    assert_eq!(
        world.outcome(ignored).unwrap_err().kind,
        RejectionKind::NotFound
    );
    assert!(world.runs[&run_id].updates.is_empty());
}

#[test]
fn an_accepted_update_fails_when_its_run_times_out() {
    let mut world = World::new(1);
    world
        .start("wf", |request| {
            request.workflow_run_timeout = Some(std::time::Duration::from_secs(30));
        })
        .unwrap();
    let caller = world.update("wf", "u").unwrap();
    let task = world.poll().unwrap();
    let acceptance = accept(&task.messages[0]);
    say(&mut world, &task, vec![acceptance]);
    world.pass(31.0);
    assert_eq!(
        failure_type(&world, caller),
        "AcceptedUpdateCompletedWorkflow"
    );
    // Whoever comes later hears the same.
    let late = world.update("wf", "u").unwrap();
    assert_eq!(
        failure_type(&world, late),
        "AcceptedUpdateCompletedWorkflow"
    );
}

#[test]
fn an_update_does_not_wait_for_a_start_delay_and_ends_it_when_accepted() {
    let mut world = World::new(1);
    let run_id = world
        .start("wf", |request| {
            request.workflow_start_delay = Some(std::time::Duration::from_secs(60));
        })
        .unwrap();
    world.update("wf", "rejected").unwrap();
    let task = world.poll().unwrap();
    let rejection = reject(&task.messages[0]);
    say(&mut world, &task, vec![rejection]);
    assert!(world.runs[&run_id].first_workflow_task_at.is_some());
    world.update("wf", "accepted").unwrap();
    let task = world.poll().unwrap();
    let request = &task.messages[0];
    say(&mut world, &task, vec![accept(request), complete(request)]);
    assert!(world.runs[&run_id].first_workflow_task_at.is_none());
    world.pass(100.0);
    assert!(world.poll().is_none());
}

#[test]
fn a_deadline_that_meets_a_speculative_first_task_makes_it_real() {
    let mut world = World::new(1);
    let run_id = world
        .start("wf", |request| {
            request.workflow_start_delay = Some(std::time::Duration::from_secs(3));
        })
        .unwrap();
    world.pass(2.0);
    world.update("wf", "u").unwrap();
    world.pass(1.5);
    assert_eq!(last_types(&world, &run_id, 1), ["WorkflowTaskScheduled"]);
    let task = world.poll().unwrap();
    assert_eq!(task.messages.len(), 1);
}

#[test]
fn an_update_id_is_free_for_every_run() {
    let (mut world, _) = idle();
    let first = world.update("wf", "u").unwrap();
    let task = world.poll().unwrap();
    let request = &task.messages[0];
    let messages = vec![accept(request), complete(request)];
    let commands = vec![place(&messages[0].id), place(&messages[1].id), done(None)];
    world
        .respond(&task, commands, |answer| answer.messages = messages)
        .unwrap();
    assert_eq!(world.outcome(first), Ok(success()));
    world.start("wf", |_| {}).unwrap();
    world.update("wf", "u").unwrap();
    assert_eq!(world.poll().unwrap().messages.len(), 1);
}

fn with_start(
    workflow_id: &str,
    update_id: &str,
    policy: WorkflowIdConflictPolicy,
) -> ExecuteMultiOperationRequest {
    use ExecuteMultiOperationRequestOperationOperation as Operation;
    let start = StartWorkflowExecutionRequest {
        workflow_id: workflow_id.to_owned(),
        workflow_type: Some(fermata_proto::common::WorkflowType {
            name: "Flow".to_owned(),
        }),
        task_queue: Some(queue(QUEUE)),
        request_id: "with-start".to_owned(),
        workflow_id_conflict_policy: policy,
        ..StartWorkflowExecutionRequest::default()
    };
    let update = update_request(workflow_id, update_id, Stage::Completed);
    ExecuteMultiOperationRequest {
        namespace: "default".to_owned(),
        operations: [
            Operation::StartWorkflow(start),
            Operation::UpdateWorkflow(update),
        ]
        .map(|operation| ExecuteMultiOperationRequestOperation {
            operation: Some(operation),
        })
        .into(),
        ..ExecuteMultiOperationRequest::default()
    }
}

fn send_with_start(
    world: &mut World,
    request: ExecuteMultiOperationRequest,
) -> Result<usize, Rejection> {
    let default = namespace("default").unwrap();
    world.send_update(
        default,
        "wf",
        Request::ExecuteMultiOperation(Box::new(request)),
    )
}

/// A caller whose first answer was lost asks again, with the same request id, under a policy that would refuse a stranger.
#[test]
fn a_repeated_update_with_start_joins_what_it_began() {
    let mut world = World::new(1);
    let request = with_start("wf", "u", WorkflowIdConflictPolicy::Fail);
    let first = send_with_start(&mut world, request.clone()).unwrap();
    let again = send_with_start(&mut world, request).unwrap();
    assert_eq!(world.runs.len(), 1);
    let task = world.poll().unwrap();
    assert_eq!(task.messages.len(), 1);
    let update = &task.messages[0];
    say(&mut world, &task, vec![accept(update), complete(update)]);
    for (caller, started) in [(first, true), (again, false)] {
        let Ok(Response::ExecuteMultiOperation(response)) = world.update_answer(caller) else {
            panic!("no answer");
        };
        let Some(ExecuteMultiOperationResponseResponseResponse::StartWorkflow(start)) =
            &response.responses[0].response
        else {
            panic!("the start comes first");
        };
        assert_eq!(start.started, started);
    }
}

#[test]
fn a_refused_update_starts_nothing() {
    let mut world = World::new(1);
    Arc::make_mut(&mut world.limits).updates_in_flight_bytes_max = 10;
    let request = with_start("wf", "u", WorkflowIdConflictPolicy::Fail);
    let refused = send_with_start(&mut world, request).unwrap_err();
    assert_eq!(refused.kind, RejectionKind::ResourceExhausted);
    let Some(ErrorDetail::MultiOperationExecution(detail)) = refused.detail.as_deref() else {
        panic!("no detail: {refused:?}");
    };
    let codes: Vec<i32> = detail.statuses.iter().map(|status| status.code).collect();
    assert_eq!(codes, [10, 8]);
    assert!(world.runs.is_empty());
}

/// The run closes before a worker accepts the update: it goes to a new one. If that ends in the same way, the caller may try again.
#[test]
fn an_update_with_start_whose_run_closes_starts_another_once() {
    let (mut world, run_id) = idle();
    let request = with_start("wf", "u", WorkflowIdConflictPolicy::UseExisting);
    let caller = send_with_start(&mut world, request).unwrap();
    let task = world.poll().unwrap();
    world.complete_task(&task, vec![done(None)]).unwrap();
    assert_eq!(world.runs.len(), 2);
    let task = world.poll().unwrap();
    assert_ne!(task.workflow_execution.as_ref().unwrap().run_id, run_id);
    assert_eq!(task.messages.len(), 1);
    let update = &task.messages[0];
    say(&mut world, &task, vec![accept(update), complete(update)]);
    let Ok(Response::ExecuteMultiOperation(response)) = world.update_answer(caller) else {
        panic!("no answer");
    };
    let Some(ExecuteMultiOperationResponseResponseResponse::StartWorkflow(start)) =
        &response.responses[0].response
    else {
        panic!("the start comes first");
    };
    assert!(start.started);
}

#[test]
fn an_update_with_start_is_not_asked_for_ever() {
    let (mut world, _) = idle();
    let mut request = with_start("wf", "u", WorkflowIdConflictPolicy::UseExisting);
    if let Some(ExecuteMultiOperationRequestOperationOperation::StartWorkflow(start)) =
        &mut request.operations[0].operation
    {
        start.workflow_id_reuse_policy = WorkflowIdReusePolicy::RejectDuplicate;
    }
    let caller = send_with_start(&mut world, request).unwrap();
    world.terminate("wf").unwrap();
    let refused = world.update_answer(caller).unwrap_err();
    assert_eq!(refused.kind, RejectionKind::AlreadyExists);
    assert_eq!(world.runs.len(), 1);
}
