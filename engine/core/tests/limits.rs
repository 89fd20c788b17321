//! The bounds of a run, each reached: what is refused, what fails the task, what ends the workflow.

mod support;

use std::sync::Arc;

use fermata_core::Limits;
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::event::HistoryEventAttributes as Event;
use fermata_proto::query::{WorkflowQuery, WorkflowQueryResult};
use fermata_proto::rpc::{Rejection, RejectionKind};
use fermata_proto::service::*;
use support::client::*;
use support::world::World;

fn world(change: impl FnOnce(&mut Limits)) -> World {
    let mut world = World::new(1);
    let mut limits = Limits::default();
    change(&mut limits);
    world.limits = Arc::new(limits);
    world
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(
    answer: Result<T, Rejection>,
    kind: RejectionKind,
    text: &str,
) {
    let rejection = answer.expect_err("it is refused");
    assert_eq!((rejection.kind, rejection.message.as_str()), (kind, text));
}

#[test]
fn a_blob_that_is_too_large_is_refused_where_it_comes_in() {
    let mut world = world(|limits| limits.blob_bytes_max = 1_000);
    let text = "Blob data size exceeds limit.";
    let start = world.start("wf", |request| request.input = Some(payload_of(1_001)));
    assert_refused(start, RejectionKind::InvalidArgument, text);
    world
        .start("wf", |request| request.input = Some(payload_of(900)))
        .unwrap();
    let signal = world.signal("wf", Some(payload_of(1_001)));
    assert_refused(signal, RejectionKind::InvalidArgument, text);
}

#[test]
fn a_result_that_is_too_large_terminates_the_workflow() {
    let mut world = world(|limits| limits.blob_bytes_max = 1_000);
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    let answer = world.complete_task(&task, vec![done(Some(payload_of(1_001)))]);
    let text = "BadScheduleActivityAttributes: CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.";
    assert_refused(answer, RejectionKind::InvalidArgument, text);
    assert_eq!(
        world.event_types(&run_id)[3..],
        ["WorkflowTaskFailed", "WorkflowExecutionTerminated"]
    );
    match &world.histories[&run_id].last().unwrap().attributes {
        Some(Event::WorkflowExecutionTerminated(terminated)) => assert_eq!(terminated.reason, text),
        other => panic!("{other:?}"),
    }
}

fn priority(priority_key: i32) -> Option<Priority> {
    Some(Priority {
        priority_key,
        ..Priority::default()
    })
}

#[test]
fn a_priority_out_of_bounds_is_refused_where_it_comes_in() {
    let mut world = world(|_| {});
    let text = "priority key can't be negative";
    let start = world.start("wf", |request| request.priority = priority(-1));
    assert_refused(start, RejectionKind::InvalidArgument, text);
    world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    let command = activity("a", |attributes| attributes.priority = priority(-1));
    let answer = world.complete_task(&task, vec![command]);
    let text = "BadScheduleActivityAttributes: invalid priorities: priority key can't be negative";
    assert_refused(answer, RejectionKind::InvalidArgument, text);
}

#[test]
fn an_activity_takes_the_priority_of_its_workflow_unless_it_has_its_own() {
    let mut world = world(|_| {});
    world
        .start("wf", |request| request.priority = priority(2))
        .unwrap();
    let task = world.poll().unwrap();
    let own = activity("own", |attributes| attributes.priority = priority(5));
    let commands = vec![activity("none", |_| {}), own];
    world.complete_task(&task, commands).unwrap();
    let mut keys: Vec<_> = std::iter::from_fn(|| world.poll_activity())
        .map(|task| (task.activity_id, task.priority.unwrap().priority_key))
        .collect();
    keys.sort();
    assert_eq!(keys, [("none".to_owned(), 2), ("own".to_owned(), 5)]);
}

/// Of what a query task answers and of what comes with a completion.
#[test]
fn an_answer_to_a_query_that_is_too_large_fails_the_query() {
    let text = "Blob data size exceeds limit.";
    let mut world = world(|limits| limits.blob_bytes_max = 1_000);
    world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world.complete_task(&task, vec![]).unwrap();
    let namespace = support::world::namespace("default").unwrap();
    let request = QueryWorkflowRequest {
        execution: Some(current("wf")),
        query: Some(WorkflowQuery {
            query_type: "state".to_owned(),
            ..WorkflowQuery::default()
        }),
        ..QueryWorkflowRequest::default()
    };
    let query_id = world.ask(namespace, &request).unwrap().unwrap_err();
    let direct = world.poll().unwrap();
    let answer = RespondQueryTaskCompletedRequest {
        task_token: direct.task_token,
        completed_type: QueryResultType::Answered,
        query_result: Some(payload_of(1_001)),
        ..RespondQueryTaskCompletedRequest::default()
    };
    world.answer_query(&answer).unwrap();
    let refused = world.query_answers.remove(&query_id).unwrap().unwrap_err();
    assert_eq!(refused.message, text);
    assert!(refused.detail.is_some(), "it is a failure of the query");

    world.signal("wf", None).unwrap();
    let query_id = world.ask(namespace, &request).unwrap().unwrap_err();
    let task = world.poll().unwrap();
    assert!(task.queries.contains_key(&query_id));
    let result = WorkflowQueryResult {
        result_type: QueryResultType::Answered,
        answer: Some(payload_of(1_001)),
        ..WorkflowQueryResult::default()
    };
    let completion = RespondWorkflowTaskCompletedRequest {
        task_token: task.task_token.clone(),
        query_results: [(query_id.clone(), result)].into(),
        ..RespondWorkflowTaskCompletedRequest::default()
    };
    world.take_query_results(&task.task_token, &completion);
    let refused = world.query_answers.remove(&query_id).unwrap().unwrap_err();
    assert_eq!(refused.message, text);
}

#[test]
fn a_history_of_too_many_events_terminates_the_workflow() {
    let mut world = world(|limits| limits.history_events_max = 10);
    let run_id = world.start("wf", |_| {}).unwrap();
    for _ in 0..8 {
        world.signal("wf", None).unwrap();
    }
    assert!(world.runs[&run_id].is_open(), "ten events are allowed");
    world.signal("wf", None).unwrap();
    let run = &world.runs[&run_id];
    assert_eq!(run.status, WorkflowExecutionStatus::Terminated);
    assert_eq!(run.next_event_id, 13);
}

#[test]
fn a_history_of_too_many_bytes_terminates_the_workflow() {
    let mut world = world(|limits| limits.history_bytes_max = 20_000);
    let run_id = world.start("wf", |_| {}).unwrap();
    while world.runs[&run_id].is_open() {
        assert!(world.runs[&run_id].next_event_id < 30, "it never ends");
        world.signal("wf", Some(payload_of(1_000))).unwrap();
    }
    assert!(world.runs[&run_id].history_bytes > 20_000);
    let again = world.signal("wf", None);
    assert_refused(
        again,
        RejectionKind::NotFound,
        "workflow execution already completed",
    );
}

#[test]
fn long_histories_are_told_to_continue_as_new() {
    let mut world = world(|limits| {
        limits.history_events_suggest_continue_as_new = 5;
        limits.history_bytes_suggest_continue_as_new = 1_000_000;
    });
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world.complete_task(&task, vec![]).unwrap();
    world.signal("wf", None).unwrap();
    world.poll().unwrap();
    let suggested: Vec<_> = world.histories[&run_id]
        .iter()
        .filter_map(|event| match &event.attributes {
            Some(Event::WorkflowTaskStarted(a)) => Some((
                a.suggest_continue_as_new,
                a.suggest_continue_as_new_reasons.clone(),
            )),
            _ => None,
        })
        .collect();
    let reason = SuggestContinueAsNewReason::TooManyHistoryEvents;
    assert_eq!(suggested, [(false, vec![]), (true, vec![reason])]);
}

#[test]
fn a_full_buffer_fails_the_started_task() {
    let mut world = world(|limits| limits.buffered_events_max = 3);
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    for _ in 0..3 {
        world.signal("wf", None).unwrap();
    }
    assert_eq!(world.runs[&run_id].buffered.len(), 3);
    world.signal("wf", None).unwrap();
    assert_eq!(
        world.event_types(&run_id)[3..],
        [
            "WorkflowTaskFailed",
            "WorkflowExecutionSignaled",
            "WorkflowExecutionSignaled",
            "WorkflowExecutionSignaled",
            "WorkflowExecutionSignaled",
            "WorkflowTaskScheduled",
        ]
    );
    let late = world.complete_task(&task, vec![done(None)]);
    assert_refused(late, RejectionKind::NotFound, "Workflow task not found.");
    let next = world.poll().unwrap();
    world.complete_task(&next, vec![done(None)]).unwrap();
}

#[test]
fn a_buffer_of_too_many_bytes_fails_the_started_task() {
    let mut world = world(|limits| limits.buffered_bytes_max = 2_500);
    let run_id = world.start("wf", |_| {}).unwrap();
    world.poll().unwrap();
    world.signal("wf", Some(payload_of(1_000))).unwrap();
    world.signal("wf", Some(payload_of(1_000))).unwrap();
    assert_eq!(world.event_types(&run_id).len(), 3);
    world.signal("wf", Some(payload_of(1_000))).unwrap();
    assert_eq!(world.event_types(&run_id).len(), 8);
    assert_eq!(world.runs[&run_id].buffered_bytes, 0);
}

#[test]
fn pending_activities_are_limited() {
    let mut world = world(|limits| limits.pending_activities_max = 2);
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    let commands = ["a", "b", "c"].map(|id| activity(id, |_| {})).to_vec();
    let answer = world.complete_task(&task, commands);
    assert_refused(
        answer,
        RejectionKind::InvalidArgument,
        "PendingActivitiesLimitExceeded: the number of pending activities, 2, has reached the per-workflow limit of 2",
    );
    match &world.histories[&run_id].last().unwrap().attributes {
        Some(Event::WorkflowTaskFailed(failed)) => {
            assert_eq!(
                failed.cause,
                WorkflowTaskFailedCause::PendingActivitiesLimitExceeded
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(
        world.runs[&run_id].activities.is_empty(),
        "nothing of a bad completion stays"
    );
}

#[track_caller]
fn assert_third_fails(command: impl Fn(usize) -> Command, cause: WorkflowTaskFailedCause) {
    let mut world = world(|limits| {
        limits.pending_children_max = 2;
        limits.pending_signals_max = 2;
        limits.pending_cancel_requests_max = 2;
    });
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    let answer = world.complete_task(&task, (0..3).map(&command).collect());
    assert_eq!(answer.unwrap_err().kind, RejectionKind::InvalidArgument);
    match &world.histories[&run_id][3].attributes {
        Some(Event::WorkflowTaskFailed(failed)) => assert_eq!(failed.cause, cause),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        world.current.len(),
        1,
        "nothing of a bad completion is sent"
    );
    let task = world.poll().unwrap();
    world
        .complete_task(&task, (0..2).map(command).collect())
        .unwrap();
}

#[test]
fn pending_requests_to_others_are_limited() {
    assert_third_fails(
        |number| {
            Command::new(StartChildWorkflowExecutionCommandAttributes {
                workflow_id: format!("child{number}"),
                workflow_type: Some(WorkflowType {
                    name: "Flow".to_owned(),
                }),
                ..StartChildWorkflowExecutionCommandAttributes::default()
            })
        },
        WorkflowTaskFailedCause::PendingChildWorkflowsLimitExceeded,
    );
    assert_third_fails(
        |_| {
            Command::new(SignalExternalWorkflowExecutionCommandAttributes {
                execution: Some(current("other")),
                signal_name: "go".to_owned(),
                ..SignalExternalWorkflowExecutionCommandAttributes::default()
            })
        },
        WorkflowTaskFailedCause::PendingSignalsLimitExceeded,
    );
    assert_third_fails(
        |_| {
            Command::new(RequestCancelExternalWorkflowExecutionCommandAttributes {
                workflow_id: "other".to_owned(),
                ..RequestCancelExternalWorkflowExecutionCommandAttributes::default()
            })
        },
        WorkflowTaskFailedCause::PendingRequestCancelLimitExceeded,
    );
}

#[test]
fn summaries_are_limited() {
    let mut world = world(|limits| limits.summary_bytes_max = 10);
    let mut start = |bytes: usize| {
        world.start("wf", |request| {
            request.user_metadata = Some(fermata_proto::sdk::UserMetadata {
                summary: payload_of(bytes).payloads.pop(),
                ..Default::default()
            });
        })
    };
    // Two quotation marks belong to it.
    let text = "UserMetadata.Summary exceeds size limit (11/10)";
    assert_refused(start(9), RejectionKind::InvalidArgument, text);
    start(8).unwrap();
}

#[test]
fn names_and_search_attributes_are_limited() {
    let mut world = world(|limits| {
        limits.search_attributes_keys_max = 1;
        limits.search_attribute_bytes_max = 100;
    });
    let mut start = |fields: &[(&str, &str)]| {
        let indexed_fields = fields
            .iter()
            .map(|(name, json)| {
                let value = Payload {
                    metadata: [("encoding".to_owned(), "json/plain".into())].into(),
                    data: (*json).to_owned().into(),
                    ..Payload::default()
                };
                ((*name).to_owned(), value)
            })
            .collect();
        world
            .start("wf", |request| {
                request.search_attributes = Some(SearchAttributes { indexed_fields });
            })
            .map_err(|rejection| rejection.message)
    };
    let refused = |text: &str| Err(text.to_owned());
    assert_eq!(
        start(&[("Nothing", "1")]),
        refused("Namespace default has no mapping defined for search attribute Nothing")
    );
    assert_eq!(
        start(&[("WorkflowId", "1")]),
        refused("WorkflowId attribute can't be set in SearchAttributes")
    );
    assert_eq!(
        start(&[("BatcherUser", "1")]),
        refused("invalid value for search attribute BatcherUser of type Keyword: 1")
    );
    assert_eq!(
        start(&[("BatcherUser", "\"a\""), ("BuildIds", "[]")]),
        refused("number of search attributes 2 exceeds limit 1")
    );
    let long = format!("\"{}\"", "x".repeat(100));
    assert_eq!(
        start(&[("BatcherUser", &long)]),
        refused("search attribute BatcherUser value size 102 exceeds size limit 100")
    );
    let run_id = start(&[("BatcherUser", "\"ann\"")]).expect("it fits");
    let stored = &world.runs[&run_id].search_attributes.indexed_fields["BatcherUser"];
    assert_eq!(stored.metadata["type"], "Keyword", "the type is added");
}

#[test]
fn signals_of_a_run_are_limited() {
    let mut world = world(|limits| limits.signals_per_run_max = 2);
    world.start("wf", |_| {}).unwrap();
    world.signal("wf", None).unwrap();
    world.signal("wf", None).unwrap();
    let third = world.signal("wf", None);
    assert_refused(
        third,
        RejectionKind::InvalidArgument,
        "exceeded workflow execution limit for signal events: 2",
    );
}
