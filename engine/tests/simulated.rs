//! Faults of the simulated broker: each does what it says, and the same seed gives the same run.

use std::time::Duration;

use bytes::Bytes;
use fermata_engine::broker::{AppendError, Broker, Incoming, StateWrite};
use fermata_engine::simulated::{Faults, SimulatedBroker, SimulatedReplica};
use fermata_proto::ids::{Partition, StreamSequence};
use fermata_proto::rpc::{Call, Request, Response, TaskReference};
use fermata_proto::subjects::{self, TaskKind};
use futures::StreamExt;

const P: Partition = Partition(1);
const PATIENCE: Duration = Duration::from_secs(2);

fn record(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

fn put(run_id: &str, text: &str) -> StateWrite {
    StateWrite {
        subject: subjects::run(P, run_id),
        record: Some(record(text)),
        ttl: None,
    }
}

fn call(workflow_id: &str) -> Call {
    Call {
        namespace_id: "ns".into(),
        workflow_id: workflow_id.into(),
        wait_ms: 1_000,
        request: Request::TerminateWorkflowExecution(Box::default()),
    }
}

fn task(run_id: &str) -> TaskReference {
    TaskReference {
        namespace_id: "ns".into(),
        run_id: run_id.to_owned(),
        ..TaskReference::default()
    }
}

async fn opened(broker: &SimulatedBroker, name: &str) -> SimulatedReplica {
    let replica = broker.connect(name);
    replica.open(P).await.unwrap();
    replica
}

async fn log_len(replica: &SimulatedReplica) -> usize {
    replica.read_log(P, StreamSequence(1)).await.unwrap().len()
}

/// Dispatches a task by its run id and lets it arrive.
async fn dispatch(replica: &SimulatedReplica, id: &str) {
    let (kind, namespace) = (TaskKind::Workflow, "ns".into());
    let sent = replica.dispatch(kind, &namespace, "q", &task(id), id).await;
    sent.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn serve(replica: &SimulatedReplica) {
    let mut requests = replica.serve(P).await.unwrap();
    tokio::spawn(async move {
        while let Some(Incoming { reply, .. }) = requests.next().await {
            reply(Ok(Response::Done));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_leaves_the_record_and_a_lost_append_does_not() {
    let broker = SimulatedBroker::new(1);
    let replica = opened(&broker, "one").await;
    for (faults, length) in [
        (
            Faults {
                acknowledgement_lost: 1.0,
                ..Faults::none()
            },
            1,
        ),
        (
            Faults {
                append_lost: 1.0,
                ..Faults::none()
            },
            1,
        ),
    ] {
        broker.set_faults(faults);
        let expected = replica.log_last(P).await.unwrap();
        let outcome = replica.append(P, expected, record("a")).await.await;
        assert!(
            matches!(outcome, Err(AppendError::Ambiguous { .. })),
            "{outcome:?}"
        );
        assert_eq!(log_len(&replica).await, length);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_writes_and_keeps_what_there_is() {
    let broker = SimulatedBroker::new(1);
    let replica = opened(&broker, "one").await;
    let first = StreamSequence(0);
    replica.append(P, first, record("a")).await.await.unwrap();
    broker.set_faults(Faults {
        disk_full: true,
        ..Faults::none()
    });
    let outcome = replica.append(P, first.next(), record("b")).await.await;
    assert!(matches!(outcome, Err(AppendError::Refused { .. })));
    replica.store(P, vec![put("a", "x")]).await.unwrap_err();
    assert!(replica.trouble().is_some());
    broker.set_faults(Faults::none());
    assert!(replica.trouble().is_none());
    replica
        .append(P, first.next(), record("b"))
        .await
        .await
        .unwrap();
    replica.store(P, vec![put("a", "x")]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_was_away_comes_back_with_its_files_and_without_tasks() {
    let broker = SimulatedBroker::new(1);
    let replica = opened(&broker, "one").await;
    let mut lost = replica.tasks_lost().await.unwrap();
    serve(&replica).await;
    let first = StreamSequence(0);
    replica.append(P, first, record("a")).await.await.unwrap();
    replica.store(P, vec![put("a", "x")]).await.unwrap();
    dispatch(&replica, "a").await;
    assert_eq!(broker.tasks_waiting(), 1);

    let under_way = replica.append(P, first.next(), record("b")).await;
    broker.go_down();
    assert!(matches!(
        under_way.await,
        Err(AppendError::Ambiguous { .. })
    ));
    let outcome = replica.append(P, first.next(), record("b")).await.await;
    assert!(matches!(outcome, Err(AppendError::Refused { .. })));
    replica.log_last(P).await.unwrap_err();
    broker.call(P, &call("a"), PATIENCE).await.unwrap_err();
    assert!(replica.trouble().is_some());

    broker.come_back();
    lost.next().await.unwrap();
    assert_eq!(broker.tasks_waiting(), 0);
    assert_eq!(log_len(&replica).await, 1);
    let subject = subjects::run(P, "a");
    assert_eq!(replica.load(P, &subject).await.unwrap().unwrap(), "x");
    let answer = broker.call(P, &call("a"), PATIENCE).await.unwrap();
    assert_eq!(answer, Ok(Response::Done));
    // The same message id is taken again.
    dispatch(&replica, "a").await;
    let polled = broker
        .poll_task(TaskKind::Workflow, &"ns".into(), "q")
        .await;
    assert_eq!(polled, task("a"));
}

#[tokio::test(start_paused = true)]
async fn a_crashed_replica_serves_no_more_and_hears_nothing() {
    let broker = SimulatedBroker::new(1);
    let (one, two) = (opened(&broker, "one").await, opened(&broker, "two").await);
    serve(&one).await;
    broker.call(P, &call("a"), PATIENCE).await.unwrap().unwrap();
    let under_way = one.append(P, StreamSequence(0), record("a")).await;
    broker.crash("one");
    assert!(matches!(
        under_way.await,
        Err(AppendError::Ambiguous { .. })
    ));
    one.log_last(P).await.unwrap_err();
    let failure = broker.call(P, &call("a"), PATIENCE).await.unwrap_err();
    assert_eq!(failure.reason, "no responders");
    // Another goes on, and so does a new handle of the same replica.
    serve(&two).await;
    broker.call(P, &call("a"), PATIENCE).await.unwrap().unwrap();
    let again = opened(&broker, "one").await;
    let last = again.log_last(P).await.unwrap();
    again.append(P, last, record("b")).await.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_crashed_replica_had_sent_arrives_for_some_seeds_and_not_for_others() {
    let mut lengths = Vec::new();
    for seed in 0..40 {
        let broker = SimulatedBroker::new(seed);
        let one = opened(&broker, "one").await;
        drop(one.append(P, StreamSequence(0), record("a")).await);
        drop(one.append(P, StreamSequence(1), record("b")).await);
        broker.crash("one");
        let two = opened(&broker, "two").await;
        lengths.push(log_len(&two).await);
    }
    for length in 0..=2 {
        assert!(lengths.contains(&length), "{lengths:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_and_tasks_are_repeated_and_lost_as_asked() {
    let broker = SimulatedBroker::new(1);
    let replica = opened(&broker, "one").await;
    let mut requests = replica.serve(P).await.unwrap();
    broker.set_faults(Faults {
        request_repeated: 1.0,
        task_repeated: 1.0,
        ..Faults::none()
    });
    let call = call("a");
    let (answer, ()) = tokio::join!(broker.call(P, &call, PATIENCE), async {
        for _ in 0..2 {
            let Incoming { call, reply } = requests.next().await.unwrap();
            assert_eq!(call.workflow_id.0, "a");
            reply(Ok(Response::Done));
        }
    });
    assert_eq!(answer.unwrap(), Ok(Response::Done));
    dispatch(&replica, "a").await;
    assert_eq!(broker.tasks_waiting(), 2);

    broker.set_faults(Faults {
        request_lost: 1.0,
        task_lost: 1.0,
        ..Faults::none()
    });
    let failure = broker.call(P, &call, PATIENCE).await.unwrap_err();
    assert_eq!(failure.reason, "no answer in time");
    let mut lost = replica.tasks_lost().await.unwrap();
    dispatch(&replica, "b").await;
    assert_eq!(broker.tasks_waiting(), 2);
    lost.next().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn appends_keep_their_order_whatever_the_delays() {
    for seed in 0..20 {
        let broker = SimulatedBroker::new(seed);
        let replica = opened(&broker, "one").await;
        broker.set_faults(Faults {
            delay: Duration::ZERO..=Duration::from_millis(50),
            ..Faults::none()
        });
        let mut under_way = Vec::new();
        for expected in 0..20 {
            let record = record(&expected.to_string());
            under_way.push(replica.append(P, StreamSequence(expected), record).await);
        }
        for acknowledged in under_way {
            acknowledged.await.unwrap();
        }
    }
}

/// Two replicas and some clients, with everything that can go wrong by itself.
async fn rough_run(seed: u64) -> Vec<String> {
    let broker = SimulatedBroker::new(seed);
    broker.start_trace();
    broker.set_faults(Faults::rough());
    let mut replicas = Vec::new();
    for name in ["one", "two"] {
        let replica = broker.connect(name);
        while replica.open(P).await.is_err() {}
        if let Ok(mut requests) = replica.serve(P).await {
            tokio::spawn(async move {
                while let Some(Incoming { reply, .. }) = requests.next().await {
                    reply(Ok(Response::Done));
                }
            });
        }
        replicas.push(replica);
    }
    let clients = async {
        for n in 0..50 {
            let _ = broker.call(P, &call(&n.to_string()), PATIENCE).await;
        }
    };
    let owners = replicas.iter().map(|replica| async {
        for n in 0..50 {
            if let Ok(last) = replica.log_last(P).await {
                let one = replica.append(P, last, record("a")).await;
                let two = replica.append(P, last.next(), record("b")).await;
                let _ = (one.await, two.await);
            }
            let _ = replica.store(P, vec![put("a", "x")]).await;
            let id = n.to_string();
            let _ = replica
                .dispatch(TaskKind::Workflow, &"ns".into(), "q", &task(&id), &id)
                .await;
        }
    });
    tokio::join!(clients, futures::future::join_all(owners));
    broker.take_trace()
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let first = rough_run(7).await;
    assert!(first.len() > 200, "{}", first.len());
    assert_eq!(first, rough_run(7).await);
    assert_ne!(first, rough_run(8).await);
}
