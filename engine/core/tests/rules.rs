//! Rules that no recorded transcript shows, each as a short story.

mod support;

use std::sync::Arc;
use std::time::Duration;

use fermata_core::{Limits, Reply};
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::event::HistoryEventAttributes as Event;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use support::client::*;
use support::world::World;

fn child(workflow_id: &str) -> Command {
    Command::new(StartChildWorkflowExecutionCommandAttributes {
        workflow_id: workflow_id.to_owned(),
        workflow_type: Some(WorkflowType {
            name: "Flow".to_owned(),
        }),
        ..StartChildWorkflowExecutionCommandAttributes::default()
    })
}

fn delete(world: &mut World, workflow_id: &str) {
    let request = DeleteWorkflowExecutionRequest {
        workflow_execution: Some(current(workflow_id)),
        ..DeleteWorkflowExecutionRequest::default()
    };
    world
        .ask_owner(
            workflow_id,
            Request::DeleteWorkflowExecution(Box::new(request)),
        )
        .unwrap();
}

#[test]
fn the_parent_of_a_deleted_child_hears_of_its_end() {
    let mut world = World::new(1);
    let parent = world.start("parent", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world.complete_task(&task, vec![child("child")]).unwrap();
    let child_run = world
        .current
        .iter()
        .find(|((_, id), _)| id == "child")
        .unwrap()
        .1
        .clone();
    delete(&mut world, "child");
    assert!(!world.runs.contains_key(&child_run), "the child is gone");
    assert_eq!(
        world.event_types(&parent)[4..],
        [
            "StartChildWorkflowExecutionInitiated",
            "ChildWorkflowExecutionStarted",
            "WorkflowTaskScheduled",
            "ChildWorkflowExecutionTerminated",
        ]
    );
}

/// Its first answer was lost, and the child has gone on to its next run, or has ended, when the parent asks again.
#[test]
fn a_repeated_start_of_a_child_finds_the_chain_that_it_began() {
    let mut world = World::new(1);
    let parent = world.start("parent", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world.complete_task(&task, vec![child("child")]).unwrap();
    let current_child = |world: &World| {
        let mut current = world.current.iter();
        current
            .find(|((_, id), _)| id == "child")
            .unwrap()
            .1
            .clone()
    };
    let first_run = current_child(&world);
    let started = world.runs[&first_run].started.clone();
    let repeat = StartChildWorkflow {
        start: StartWorkflowExecutionRequest {
            workflow_id: "child".to_owned(),
            workflow_type: started.workflow_type.clone(),
            task_queue: started.task_queue.clone(),
            request_id: format!("{parent}:5:0"),
            ..StartWorkflowExecutionRequest::default()
        },
        parent: ExternalSender {
            namespace_id: started.parent_workflow_namespace_id.as_str().into(),
            namespace: started.parent_workflow_namespace.clone(),
            workflow_id: "parent".to_owned(),
            run_id: parent,
            former_run_ids: Vec::new(),
            initiated_event_id: started.parent_initiated_event_id,
            child_workflow_only: false,
        },
        ..StartChildWorkflow::default()
    };
    let next_run = Command::new(ContinueAsNewWorkflowExecutionCommandAttributes::default());
    for command in [next_run, done(None)] {
        // A run that continues at once is held back a little.
        world.pass(2.0);
        // The child's task, not the parent's.
        let task = loop {
            let task = world.poll().unwrap();
            if task.workflow_execution.as_ref().unwrap().workflow_id == "child" {
                break task;
            }
        };
        world.complete_task(&task, vec![command]).unwrap();
        let request = Request::StartChildWorkflow(Box::new(repeat.clone()));
        let last_run = current_child(&world);
        let Ok(Reply::Response(Response::StartWorkflowExecution(response))) =
            world.ask_owner("child", request)
        else {
            panic!("a repeated start of a child is refused");
        };
        assert_eq!(response.run_id, first_run);
        assert_eq!(current_child(&world), last_run, "nothing was begun");
        assert_ne!(last_run, first_run);
    }
}

#[test]
fn a_deleted_workflow_id_is_free_whatever_the_policy() {
    let mut world = World::new(1);
    let first = world.start("wf", |_| {}).unwrap();
    delete(&mut world, "wf");
    let second = world
        .start("wf", |request| {
            request.workflow_id_reuse_policy = WorkflowIdReusePolicy::RejectDuplicate
        })
        .unwrap();
    assert_ne!(first, second);
}

#[test]
fn requests_without_an_id_are_never_taken_for_repeats() {
    let mut world = World::new(1);
    let run_id = world
        .start("wf", |request| request.request_id.clear())
        .unwrap();
    let again = world
        .start("wf", |request| request.request_id.clear())
        .unwrap_err();
    assert_eq!(again.kind, RejectionKind::AlreadyExists);
    for _ in 0..2 {
        let request = SignalWorkflowExecutionRequest {
            workflow_execution: Some(current("wf")),
            signal_name: "go".to_owned(),
            ..SignalWorkflowExecutionRequest::default()
        };
        let signal = SignalWorkflow {
            request,
            sender: None,
        };
        world
            .ask_owner("wf", Request::SignalWorkflowExecution(Box::new(signal)))
            .unwrap();
    }
    assert_eq!(world.runs[&run_id].signals, 2);
}

#[test]
fn a_buffered_request_id_gets_the_id_of_its_event() {
    let mut world = World::new(1);
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    let attached = world.start("wf", |request| {
        request.request_id = "attached".to_owned();
        request.workflow_id_conflict_policy = WorkflowIdConflictPolicy::UseExisting;
        request.on_conflict_options = Some(fermata_proto::workflow::OnConflictOptions {
            attach_request_id: true,
            ..Default::default()
        });
    });
    assert_eq!(attached.unwrap(), run_id);
    assert_eq!(world.runs[&run_id].request_ids["attached"].event_id, 0);
    world.complete_task(&task, vec![]).unwrap();
    assert_eq!(world.runs[&run_id].request_ids["attached"].event_id, 5);
}

#[test]
fn builds_that_worked_on_a_run_are_listed_once() {
    let mut world = World::new(1);
    let run_id = world.start("wf", |_| {}).unwrap();
    for build in ["one", "two", "one", ""] {
        let task = world.poll().unwrap();
        world
            .respond(&task, vec![], |request| {
                request.worker_version_stamp = Some(WorkerVersionStamp {
                    build_id: build.to_owned(),
                    use_versioning: false,
                });
            })
            .unwrap();
        world.signal("wf", None).unwrap();
    }
    let list = &world.runs[&run_id].search_attributes.indexed_fields["BuildIds"];
    assert_eq!(
        &list.data[..],
        br#"["unversioned","unversioned:one","unversioned:two"]"#
    );
}

/// A world with small blobs, an activity started in it, and its token.
fn with_activity() -> (World, String, bytes::Bytes) {
    let mut world = World::new(1);
    world.limits = Arc::new(Limits {
        blob_bytes_max: 1_000,
        ..Limits::default()
    });
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world
        .complete_task(&task, vec![activity("a", |_| {})])
        .unwrap();
    let token = world.poll_activity().unwrap().task_token;
    (world, run_id, token)
}

#[track_caller]
fn assert_failed_for_good(world: &World, run_id: &str, text: &str) {
    let failed = world.histories[run_id]
        .iter()
        .find_map(|event| match &event.attributes {
            Some(Event::ActivityTaskFailed(failed)) => Some(failed.clone()),
            _ => None,
        });
    let failed = failed.expect("the activity failed");
    assert_eq!(failed.failure.as_ref().unwrap().message, text);
    assert_eq!(failed.retry_state, RetryState::NonRetryableFailure);
}

#[test]
fn an_activity_result_that_is_too_large_fails_the_activity() {
    let (mut world, run_id, task_token) = with_activity();
    let request = RespondActivityTaskCompletedRequest {
        task_token,
        result: Some(payload_of(1_001)),
        ..RespondActivityTaskCompletedRequest::default()
    };
    let complete = CompleteActivity {
        request,
        sticky_queue: None,
    };
    world
        .ask_owner(
            "wf",
            Request::RespondActivityTaskCompleted(Box::new(complete)),
        )
        .unwrap();
    assert_failed_for_good(&world, &run_id, "Complete result exceeds size limit.");
}

#[test]
fn a_heartbeat_that_is_too_large_fails_the_activity_and_stops_the_worker() {
    let (mut world, run_id, task_token) = with_activity();
    let request = RecordActivityTaskHeartbeatRequest {
        task_token,
        details: Some(payload_of(1_001)),
        ..RecordActivityTaskHeartbeatRequest::default()
    };
    let answer = world
        .ask_owner(
            "wf",
            Request::RecordActivityTaskHeartbeat(Box::new(request)),
        )
        .unwrap();
    match answer {
        Reply::Response(Response::RecordActivityTaskHeartbeat(response)) => {
            assert!(response.cancel_requested)
        }
        other => panic!("{other:?}"),
    }
    assert_failed_for_good(&world, &run_id, "Heartbeat details exceed size limit.");
}

#[test]
fn the_same_claim_gets_the_same_task_and_another_none() {
    let mut world = World::new(1);
    let run_id = world.start("wf", |_| {}).unwrap();
    let (task, queue) = world.workflow_tasks.remove(0);
    let claim = |claim_id: &str| {
        Request::ClaimWorkflowTask(Box::new(ClaimTask {
            task: task.clone(),
            task_queue: queue.clone(),
            claim_id: claim_id.to_owned(),
            ..ClaimTask::default()
        }))
    };
    let first = world.ask_owner("wf", claim("one")).unwrap();
    let repeated = world.ask_owner("wf", claim("one")).unwrap();
    assert_eq!(first, repeated);
    assert_eq!(
        world.ask_owner("wf", claim("two")).unwrap_err().kind,
        RejectionKind::NotFound
    );
    assert_eq!(world.event_types(&run_id).len(), 3);
}

#[test]
fn a_completed_activity_hands_the_next_task_to_its_sticky_worker() {
    let mut world = World::new(1);
    world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world
        .respond(&task, vec![activity("a", |_| {})], |request| {
            request.sticky_attributes = Some(fermata_proto::taskqueue::StickyExecutionAttributes {
                worker_task_queue: Some(queue(STICKY)),
                schedule_to_start_timeout: Some(Duration::from_secs(5)),
            });
        })
        .unwrap();
    let task_token = world.poll_activity().unwrap().task_token;
    let request = RespondActivityTaskCompletedRequest {
        task_token,
        ..Default::default()
    };
    let complete = CompleteActivity {
        request,
        sticky_queue: Some(STICKY.to_owned()),
    };
    let answer = world
        .ask_owner(
            "wf",
            Request::RespondActivityTaskCompleted(Box::new(complete)),
        )
        .unwrap();
    let Reply::ActivityCompleted {
        workflow_task: Some(handout),
    } = answer
    else {
        panic!("{answer:?}")
    };
    assert!(world.workflow_tasks.is_empty(), "the task lies on no queue");
    let task = world.complete(*handout);
    let first = task.history.as_ref().unwrap().events[0].event_id;
    assert_eq!(
        first, 4,
        "a sticky worker gets what came after its last task"
    );
    world.complete_task(&task, vec![done(None)]).unwrap();
}

#[test]
fn a_cron_workflow_runs_on_schedule_until_its_chain_expires() {
    let mut world = World::new(1);
    world
        .start("wf", |request| {
            request.cron_schedule = "@every 10s".to_owned();
            request.workflow_execution_timeout = Some(Duration::from_secs(35));
        })
        .unwrap();
    let mut begun = Vec::new();
    for _ in 0..200 {
        world.pass(0.5);
        if let Some(task) = world.poll() {
            begun.push(world.now.as_millis());
            // A run that ends in the very moment it was due is not run again.

            world.complete_task(&task, vec![done(None)]).unwrap();
        }
    }
    assert!(world.runs.values().all(|run| !run.is_open()));
    let between: Vec<i64> = begun
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / 1_000)
        .collect();
    assert_eq!(between, [10, 10, 10], "{begun:?}");
}

#[test]
fn a_worker_may_hold_a_workflow_task_for_half_an_hour() {
    let mut world = World::new(1);
    let run_id = world.start("wf", |_| {}).unwrap();
    let mut beats = 0;
    let refused = loop {
        let task = world.poll().expect("each beat brings a new task");
        world.pass(8.0);
        let answer = world.respond(&task, vec![], |request| {
            request.force_create_new_workflow_task = true;
        });
        match answer {
            Ok(_) => beats += 1,
            Err(rejection) => break rejection,
        }
        assert!(beats < 1_000, "it never ends");
    };
    assert_eq!(refused.kind, RejectionKind::NotFound);
    assert_eq!(refused.message, "workflow task heartbeat timeout");
    assert_eq!(beats, 30 * 60 / 8);
    let last = world.event_types(&run_id).last().cloned();
    assert_eq!(last.as_deref(), Some("WorkflowTaskTimedOut"));
    assert_eq!(world.poll().expect("another attempt").attempt, 2);
}

#[test]
fn a_task_with_something_to_do_does_not_count_as_held() {
    let mut world = World::new(1);
    world.start("wf", |_| {}).unwrap();
    for beat in 0..300 {
        let task = world.poll().unwrap();
        world.pass(8.0);
        let commands = if beat % 100 == 99 {
            vec![timer(&beat.to_string(), 1e6)]
        } else {
            vec![]
        };
        world
            .respond(&task, commands, |request| {
                request.force_create_new_workflow_task = true
            })
            .unwrap();
    }
}

#[test]
fn extreme_values_are_survived() {
    let longest = Some(Duration::MAX);
    let policy = Some(RetryPolicy {
        initial_interval: longest,
        backoff_coefficient: f64::MAX,
        ..RetryPolicy::default()
    });
    let mut world = World::new(1);
    let no_number = world.start("wf", |request| {
        request.retry_policy = Some(RetryPolicy {
            backoff_coefficient: f64::NAN,
            ..RetryPolicy::default()
        });
    });
    assert_eq!(no_number.unwrap_err().kind, RejectionKind::InvalidArgument);
    let run_id = world
        .start("wf", |request| {
            request.workflow_execution_timeout = longest;
            request.workflow_run_timeout = longest;
            request.workflow_task_timeout = longest;
            request.retry_policy.clone_from(&policy);
            let odd = Payload::default();
            request.search_attributes = Some(SearchAttributes {
                indexed_fields: [("BuildIds".to_owned(), odd)].into(),
            });
        })
        .unwrap();
    let task = world.poll().unwrap();
    let commands = vec![
        Command::new(StartTimerCommandAttributes {
            timer_id: "t".to_owned(),
            start_to_fire_timeout: longest,
        }),
        activity("a", |attributes| {
            attributes.schedule_to_close_timeout = longest;
            attributes.start_to_close_timeout = longest;
            attributes.heartbeat_timeout = longest;
            attributes.retry_policy.clone_from(&policy);
        }),
    ];
    world
        .respond(&task, commands, |request| {
            request.worker_version_stamp = Some(WorkerVersionStamp {
                build_id: "b".to_owned(),
                use_versioning: false,
            });
        })
        .unwrap();
    let task_token = world.poll_activity().unwrap().task_token;
    let request = RespondActivityTaskFailedRequest {
        task_token,
        failure: Some(application_failure(false)),
        ..RespondActivityTaskFailedRequest::default()
    };
    let failed = Request::RespondActivityTaskFailed(Box::new(request));
    world.ask_owner("wf", failed).unwrap();
    let list = &world.runs[&run_id].search_attributes.indexed_fields["BuildIds"];
    assert_eq!(&list.data[..], br#"["unversioned","unversioned:b"]"#);
    world.pass(1e6);
    assert!(world.runs[&run_id].is_open());
}

#[test]
fn a_child_that_ends_oddly_is_refused() {
    let mut world = World::new(1);
    let parent = world.start("parent", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world.complete_task(&task, vec![child("child")]).unwrap();
    let closed = ChildWorkflowClosed {
        parent_run_id: parent.clone(),
        initiated_event_id: 5,
        close_event: (*world.histories[&parent][1]).clone(),
        ..ChildWorkflowClosed::default()
    };
    let before = world.event_types(&parent);
    let answer = world.ask_owner(
        "parent",
        Request::RecordChildWorkflowClosed(Box::new(closed)),
    );
    assert_eq!(answer.unwrap_err().kind, RejectionKind::InvalidArgument);
    assert_eq!(world.event_types(&parent), before);
}
