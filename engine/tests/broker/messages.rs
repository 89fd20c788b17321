//! Requests.

use std::time::Duration;

use fermata_engine::broker::{Broker, Incoming};
use fermata_proto::ids::Partition;
use fermata_proto::rpc::{Answer, Call, Rejection, RejectionKind, Request, Response};
use futures::StreamExt;
use futures::future::join_all;

use crate::World;

const P: Partition = Partition(1);
const PATIENCE: Duration = Duration::from_secs(5);

fn call(workflow_id: &str) -> Call {
    Call {
        namespace_id: "ns".into(),
        workflow_id: workflow_id.into(),
        wait_ms: 1_000,
        request: Request::TerminateWorkflowExecution(Box::default()),
    }
}

/// Answers everything with `answer` from now on.
async fn serve(broker: &dyn Broker, answer: impl Fn(Call) -> Answer + Send + 'static) {
    let mut requests = broker.serve(P).await.unwrap();
    tokio::spawn(async move {
        while let Some(Incoming { call, reply }) = requests.next().await {
            reply(answer(call));
        }
    });
}

pub async fn a_request_is_answered(world: &dyn World) {
    let (one, two) = (world.connect("one").await, world.connect("two").await);
    serve(&*one, |request| {
        assert_eq!(request, call("a"));
        Ok(Response::Done)
    })
    .await;
    for broker in [&one, &two] {
        let answer = broker.request(P, &call("a"), PATIENCE).await.unwrap();
        assert_eq!(answer, Ok(Response::Done));
    }
}

pub async fn a_refusal_is_an_answer(world: &dyn World) {
    let broker = world.connect("one").await;
    let refusal = || Rejection::not_found("no such workflow");
    serve(&*broker, move |_| Err(refusal())).await;
    let answer = broker.request(P, &call("a"), PATIENCE).await.unwrap();
    assert_eq!(answer, Err(refusal()));
    assert_eq!(refusal().kind, RejectionKind::NotFound);
}

pub async fn a_request_to_nobody_fails_at_once(world: &dyn World) {
    let broker = world.connect("one").await;
    let began = tokio::time::Instant::now();
    broker.request(P, &call("a"), PATIENCE).await.unwrap_err();
    assert!(began.elapsed() < PATIENCE / 2);
    // Nor is there anybody after the stream of requests was dropped.
    let requests = broker.serve(P).await.unwrap();
    drop(requests);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = tokio::time::Instant::now();
    broker.request(P, &call("a"), PATIENCE).await.unwrap_err();
    assert!(began.elapsed() < PATIENCE / 2);
}

pub async fn a_request_that_is_not_answered_ends_in_time(world: &dyn World) {
    let broker = world.connect("one").await;
    let mut requests = broker.serve(P).await.unwrap();
    let began = tokio::time::Instant::now();
    let patience = Duration::from_millis(700);
    let call = call("a");
    let (asked, received) = tokio::join!(broker.request(P, &call, patience), requests.next());
    asked.unwrap_err();
    assert!(began.elapsed() >= patience);
    // Answered too late: nobody minds.
    (received.unwrap().reply)(Ok(Response::Done));
}

pub async fn requests_wait_for_a_slow_server(world: &dyn World) {
    let (one, two) = (world.connect("one").await, world.connect("two").await);
    let mut requests = one.serve(P).await.unwrap();
    let calls: Vec<_> = (0..2_000).map(|n| call(&n.to_string())).collect();
    let asking = join_all(calls.iter().map(|call| two.request(P, call, PATIENCE)));
    let answering = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut waiting = Vec::new();
        while waiting.len() < calls.len() {
            waiting.push(requests.next().await.unwrap());
        }
        // Two thousand callers at once have no order among them.
        let mut received: Vec<_> = waiting
            .iter()
            .map(|request| request.call.workflow_id.0.parse::<usize>().unwrap())
            .collect();
        received.sort_unstable();
        assert!(received.into_iter().eq(0..calls.len()));
        // All in one go, as after a commit.
        for request in waiting {
            (request.reply)(Ok(Response::Done));
        }
    };
    let (answers, ()) = tokio::join!(asking, answering);
    for answer in answers {
        assert_eq!(answer.unwrap(), Ok(Response::Done));
    }
}
