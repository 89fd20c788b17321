//! History in pages, long polls, queries.

use std::time::Duration;

use bytes::Bytes;
use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::query::{WorkflowQuery, WorkflowQueryResult};
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::subjects::TaskKind;
use tokio::time::Instant;

use crate::world::*;

fn waiting(token: Bytes) -> GetWorkflowExecutionHistoryRequest {
    GetWorkflowExecutionHistoryRequest {
        wait_new_event: true,
        next_page_token: token,
        ..GetWorkflowExecutionHistoryRequest::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_hears_of_new_events_and_ends_with_the_run() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let (events, token) = world.page("order", waiting(Bytes::new())).await.unwrap();
    assert_eq!(events.len(), 2);
    let (signaled, polled) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            world.signal("order", "news").await
        },
        world.page("order", waiting(token)),
    );
    signaled.unwrap();
    let (events, token) = polled.unwrap();
    assert_eq!(kinds(&events), ["WorkflowExecutionSignaled"]);
    assert!(!token.is_empty());
    world.terminate("order").await;
    let (events, token) = world.page("order", waiting(token)).await.unwrap();
    assert_eq!(kinds(&events), ["WorkflowExecutionTerminated"]);
    assert!(token.is_empty());
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_closing_event_ends_empty_with_a_token_after_twenty_seconds() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let closing = |token: Bytes| GetWorkflowExecutionHistoryRequest {
        history_event_filter_type: HistoryEventFilterType::CloseEvent,
        ..waiting(token)
    };
    let began = Instant::now();
    let (events, token) = world.page("order", closing(Bytes::new())).await.unwrap();
    assert_eq!((events.len(), began.elapsed().as_secs()), (0, 20));
    let (_, polled) = tokio::join!(
        world.terminate("order"),
        world.page("order", closing(token))
    );
    let (events, token) = polled.unwrap();
    assert_eq!(kinds(&events), ["WorkflowExecutionTerminated"]);
    assert!(token.is_empty());
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_none_is_refused() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let refused = world
        .page("order", waiting(Bytes::from_static(b"rubbish")))
        .await
        .unwrap_err();
    assert_eq!(refused.message, "Invalid NextPageToken.");
    let unknown = world
        .page("nobody", waiting(Bytes::new()))
        .await
        .unwrap_err();
    assert_eq!(unknown.message, "workflow not found for ID: nobody");
    engine.shutdown().await;
}

/// Chunks in the store and a tail in memory read as one, forwards and backwards.
#[tokio::test(start_paused = true)]
async fn a_long_history_is_the_same_from_both_ends() {
    let (world, engine) = World::with_engine().await;
    let run_id = world.start_workflow("order").await;
    for step in 0..10 {
        let task = world.workflow_task().await;
        assert_eq!(
            task.history.unwrap().events.last().unwrap().event_id,
            task.started_event_id
        );
        let task = PollWorkflowTaskQueueResponse {
            history: None,
            ..task
        };
        world
            .complete(&task, vec![marker(30_000), timer(&format!("t{step}"), 2)])
            .await;
    }
    let forwards = world.history("order").await;
    let mut backwards = Vec::new();
    let mut token = Bytes::new();
    loop {
        let request = GetWorkflowExecutionHistoryReverseRequest {
            execution: execution("order", &run_id),
            maximum_page_size: 4,
            next_page_token: token,
            ..GetWorkflowExecutionHistoryReverseRequest::default()
        };
        let request = Request::GetWorkflowExecutionHistoryReverse(Box::new(request));
        let Response::GetWorkflowExecutionHistoryReverse(page) = world.ok("order", request).await
        else {
            panic!("another answer");
        };
        backwards.extend(page.history.unwrap().events);
        if page.next_page_token.is_empty() {
            break;
        }
        token = page.next_page_token;
    }
    backwards.reverse();
    assert!(forwards.len() > 40);
    assert_eq!(
        forwards.iter().map(|e| e.event_id).collect::<Vec<_>>(),
        backwards.iter().map(|e| e.event_id).collect::<Vec<_>>()
    );
    assert_eq!(forwards, backwards);
    engine.shutdown().await;
}

fn query(workflow_id: &str) -> Request {
    Request::QueryWorkflow(Box::new(QueryWorkflowRequest {
        execution: execution(workflow_id, ""),
        query: Some(WorkflowQuery {
            query_type: "state".to_owned(),
            ..WorkflowQuery::default()
        }),
        ..QueryWorkflowRequest::default()
    }))
}

fn answer(text: &'static str) -> Option<Payloads> {
    Some(Payloads {
        payloads: vec![Payload {
            data: Bytes::from_static(text.as_bytes()),
            ..Payload::default()
        }],
    })
}

#[tokio::test(start_paused = true)]
async fn a_query_to_an_idle_workflow_has_a_task_of_its_own() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let task = world.workflow_task().await;
    world.complete(&task, vec![timer("t", 100)]).await;
    let worker = async {
        let reference = world
            .broker
            .poll_task(TaskKind::Workflow, &world.namespace, "tq")
            .await;
        let task = world.claim_workflow_task(reference, "tq").await.unwrap();
        assert_eq!(task.query.unwrap().query_type, "state");
        assert_eq!(task.history.unwrap().events.len(), 5);
        let request = RespondQueryTaskCompletedRequest {
            task_token: task.task_token,
            completed_type: QueryResultType::Answered,
            query_result: answer("idle"),
            ..RespondQueryTaskCompletedRequest::default()
        };
        let request = Request::RespondQueryTaskCompleted(Box::new(request));
        world.ok("order", request).await;
    };
    let (answered, ()) = tokio::join!(world.ok("order", query("order")), worker);
    let Response::QueryWorkflow(response) = answered else {
        panic!("another answer");
    };
    assert_eq!(response.query_result, answer("idle"));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_query_comes_with_a_workflow_task_that_waits() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let worker = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let task = world.workflow_task().await;
        assert_eq!(task.queries.len(), 1);
        let result = WorkflowQueryResult {
            result_type: QueryResultType::Answered,
            answer: answer("fresh"),
            ..WorkflowQueryResult::default()
        };
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            query_results: task
                .queries
                .keys()
                .map(|id| (id.clone(), result.clone()))
                .collect(),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        world.complete_with(&task, request).await;
    };
    let (answered, ()) = tokio::join!(world.ok("order", query("order")), worker);
    let Response::QueryWorkflow(response) = answered else {
        panic!("another answer");
    };
    assert_eq!(response.query_result, answer("fresh"));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_query_that_no_worker_answers_ends_before_its_caller_does() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let refused = world.call("order", query("order")).await.unwrap_err();
    assert_eq!(refused.kind, RejectionKind::DeadlineExceeded);
    engine.shutdown().await;
}
