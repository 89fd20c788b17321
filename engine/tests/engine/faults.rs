//! What the broker can do to an owner: nothing that was answered is lost, nothing happens twice.

use std::time::Duration;

use fermata_engine::broker::{Broker, StateWrite};
use fermata_engine::simulated::Faults;
use fermata_proto::codec;
use fermata_proto::ids::Partition;
use fermata_proto::rpc::{RejectionKind, Request, Response, TerminateWorkflow};
use fermata_proto::service::*;

use crate::world::*;

async fn log_length(world: &World) -> u64 {
    let reader = world.broker.connect("reader");
    let mut all = 0;
    for partition in 0..PARTITIONS {
        reader.open(Partition(partition)).await.unwrap();
        all += reader.log_last(Partition(partition)).await.unwrap().0;
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_is_resolved_from_the_log() {
    let (world, engine) = World::with_engine().await;
    world.broker.set_faults(Faults {
        acknowledgement_lost: 1.0,
        ..Faults::none()
    });
    let before = log_length(&world).await;
    let run_id = world.start_workflow("order").await;
    assert!(engine.not_ready().is_empty(), "{:?}", engine.not_ready());
    assert_eq!(log_length(&world).await, before + 1, "it is written once");
    world.broker.set_faults(Faults::none());
    assert_eq!(world.start_workflow("order").await, run_id);
    assert_eq!(world.history("order").await.len(), 2);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_append_that_was_lost_on_the_way_is_sent_again() {
    let (world, engine) = World::with_engine().await;
    world.broker.set_faults(Faults {
        append_lost: 0.7,
        ..Faults::none()
    });
    for number in 0..10 {
        world.start_workflow(&format!("order-{number}")).await;
    }
    world.broker.set_faults(Faults::none());
    for number in 0..10 {
        assert_eq!(world.history(&format!("order-{number}")).await.len(), 2);
    }
    engine.shutdown().await;
}

/// Somebody else's record in the log: the owner stops at once, and takes the partition again from the log, since it is
/// still the one that should have it.
#[tokio::test(start_paused = true)]
async fn a_foreign_record_makes_the_owner_step_down_and_take_over_anew() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let partition = world.partition("order");
    let intruder = world.broker.connect("intruder");
    intruder.open(partition).await.unwrap();
    let last = intruder.log_last(partition).await.unwrap();
    let takeover = fermata_engine::record::LogRecord::Takeover(fermata_engine::record::Takeover {
        owner: "intruder".to_owned(),
        epoch: 100,
        ..Default::default()
    });
    intruder
        .append(partition, last, codec::encode(&takeover))
        .await
        .await
        .unwrap();
    world.signal("order", "go").await.unwrap();
    assert_eq!(
        kinds(&world.history("order").await),
        [
            "WorkflowExecutionStarted",
            "WorkflowTaskScheduled",
            "WorkflowExecutionSignaled"
        ]
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let subject = fermata_proto::subjects::checkpoint(partition);
    let record = intruder.load(partition, &subject).await.unwrap().unwrap();
    let checkpoint: fermata_engine::record::Checkpoint =
        fermata_engine::record::unseal(&record).unwrap();
    assert_eq!(checkpoint.epoch, 101);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_callers_and_loses_nothing() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    world.broker.set_faults(Faults {
        disk_full: true,
        ..Faults::none()
    });
    let call = fermata_proto::rpc::Call {
        namespace_id: world.namespace.clone(),
        workflow_id: "order".into(),
        wait_ms: 5_000,
        request: Request::TerminateWorkflowExecution(Box::new(TerminateWorkflow {
            request: TerminateWorkflowExecutionRequest {
                workflow_execution: execution("order", ""),
                ..TerminateWorkflowExecutionRequest::default()
            },
            sender: None,
        })),
    };
    let refused = world
        .broker
        .call(world.partition("order"), &call, Duration::from_secs(5))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind, RejectionKind::Unavailable);
    assert!(refused.message.contains("refused"), "{}", refused.message);
    world.broker.set_faults(Faults::none());
    world.signal("order", "go").await.unwrap();
    assert_eq!(world.history("order").await.len(), 3);
    engine.shutdown().await;
}

/// Everything at once, and a crash in the middle: all workflows end, each with one history.
#[tokio::test(start_paused = true)]
async fn under_rough_weather_every_workflow_ends_once() {
    let (mut world, engine) = World::with_engine().await;
    world.broker.set_faults(Faults::rough());
    for number in 0..30 {
        world.start_workflow(&format!("order-{number}")).await;
    }
    let mut engine = engine;
    let mut closed = 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(3_600);
    for step in 0.. {
        if closed == 30 {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{closed} of 30 are closed"
        );
        if step == 10 {
            world.broker.crash("one");
            drop(engine);
            engine = world.start("two").await;
        }
        let task = world.workflow_task().await;
        let workflow_id = task.workflow_execution.clone().unwrap().workflow_id;
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            commands: vec![done()],
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        let request = Request::RespondWorkflowTaskCompleted(Box::new(request));
        // NOT_FOUND: an earlier try, whose answer was lost, has done it.
        match world.call(&workflow_id, request).await {
            Ok(Response::RespondWorkflowTaskCompleted(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(rejection) => assert_eq!(rejection.kind, RejectionKind::NotFound),
        }
        closed = 0;
        for number in 0..30 {
            let info = world.describe(&format!("order-{number}")).await;
            let status = info.workflow_execution_info.unwrap().status;
            closed +=
                usize::from(status == fermata_proto::enums::WorkflowExecutionStatus::Completed);
        }
    }
    for number in 0..30 {
        let events = kinds(&world.history(&format!("order-{number}")).await);
        let ends = events
            .iter()
            .filter(|kind| *kind == "WorkflowExecutionCompleted");
        assert_eq!(ends.count(), 1, "{events:?}");
    }
    engine.shutdown().await;
}

/// What nats-server 2.15.1 may do when it is killed and rebuilds a stream from its files: a record comes back that was replaced
/// under its subject by one that has been deleted.
#[tokio::test(start_paused = true)]
async fn a_closed_run_stays_closed_when_the_broker_brings_its_open_record_back() {
    let (mut world, engine) = World::with_engine().await;
    let run_id = world.start_workflow("order").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let partition = world.partition("order");
    let store = world.broker.connect("store");
    let subject = fermata_proto::subjects::run(partition, &run_id);
    let open = store.load(partition, &subject).await.unwrap();
    assert!(open.is_some(), "a checkpoint has written the open run");
    let terminate = Request::TerminateWorkflowExecution(Box::new(TerminateWorkflow {
        request: TerminateWorkflowExecutionRequest {
            workflow_execution: execution("order", ""),
            ..TerminateWorkflowExecutionRequest::default()
        },
        sender: None,
    }));
    world.ok("order", terminate.clone()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    engine.shutdown().await;
    store.open(partition).await.unwrap();
    assert_eq!(store.load(partition, &subject).await.unwrap(), None);
    let back = StateWrite {
        subject: subject.clone(),
        record: open,
        ttl: None,
    };
    store.store(partition, vec![back]).await.unwrap();

    let engine = world.start("two").await;
    let events = world.history("order").await;
    assert_eq!(
        kinds(&events).last().map(String::as_str),
        Some("WorkflowExecutionTerminated")
    );
    let again = world.call("order", terminate).await.unwrap_err();
    assert_eq!(again.kind, RejectionKind::NotFound);
    assert_eq!(store.load(partition, &subject).await.unwrap(), None);
    engine.shutdown().await;
}
