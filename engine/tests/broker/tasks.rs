//! Task queues, sticky queues, visibility records.

use std::time::Duration;

use bytes::Bytes;
use fermata_engine::broker::StateWrite;
use fermata_proto::ids::{NamespaceId, Partition};
use fermata_proto::rpc::TaskReference;
use fermata_proto::subjects::{self, TaskKind};
use futures::StreamExt;

use crate::World;

const P: Partition = Partition(1);

fn namespace() -> NamespaceId {
    "4f6a".into()
}

fn task(workflow_id: &str) -> TaskReference {
    TaskReference {
        namespace_id: namespace(),
        workflow_id: workflow_id.into(),
        run_id: format!("run of {workflow_id}"),
        scheduled_event_id: 2,
        attempt: 1,
        stamp: 0,
        query_id: None,
    }
}

pub async fn a_task_goes_to_one_poller_once(world: &dyn World) {
    let broker = world.connect("one").await;
    let kind = TaskKind::Workflow;
    for workflow_id in ["a", "b", "c"] {
        broker
            .dispatch(
                kind,
                &namespace(),
                "orders",
                &task(workflow_id),
                workflow_id,
            )
            .await
            .unwrap();
    }
    let mut polled = Vec::new();
    while let Some(task) = world.poll(kind, &namespace(), "orders").await {
        polled.push(task);
    }
    assert_eq!(polled, [task("a"), task("b"), task("c")]);
}

pub async fn a_repeated_message_id_is_one_task(world: &dyn World) {
    let broker = world.connect("one").await;
    let other = world.connect("two").await;
    let kind = TaskKind::Activity;
    for (broker, message_id) in [
        (&broker, "x"),
        (&other, "x"),
        (&broker, "x"),
        (&broker, "y"),
    ] {
        broker
            .dispatch(kind, &namespace(), "q", &task("a"), message_id)
            .await
            .unwrap();
        // Two connections have no order among them.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.poll(kind, &namespace(), "q").await, Some(task("a")));
    assert_eq!(world.poll(kind, &namespace(), "q").await, Some(task("a")));
    assert_eq!(world.poll(kind, &namespace(), "q").await, None);
    // Also after the task was taken.
    broker
        .dispatch(kind, &namespace(), "q", &task("a"), "x")
        .await
        .unwrap();
    assert_eq!(world.poll(kind, &namespace(), "q").await, None);
}

/// Acknowledgements of dispatches at the same time are looked at in another order than they came in: that is no loss.
pub async fn tasks_dispatched_at_the_same_time_are_none_lost(world: &dyn World) {
    const DISPATCHERS: usize = 16;
    const TASKS: usize = 200;
    let broker = world.connect("one").await;
    let mut lost = broker.tasks_lost().await.unwrap();
    let dispatching = (0..DISPATCHERS).map(|dispatcher| {
        let broker = broker.clone();
        tokio::spawn(async move {
            for number in 0..TASKS {
                let id = format!("{dispatcher}-{number}");
                broker
                    .dispatch(TaskKind::Activity, &namespace(), "many", &task(&id), &id)
                    .await
                    .unwrap();
            }
        })
    });
    for done in futures::future::join_all(dispatching.collect::<Vec<_>>()).await {
        done.unwrap();
    }
    let told = tokio::time::timeout(Duration::from_secs(3), lost.next()).await;
    assert!(told.is_err(), "tasks were said to be lost");
}

pub async fn queues_and_kinds_are_apart(world: &dyn World) {
    let broker = world.connect("one").await;
    let strange = "a queue.with * and >";
    for (kind, queue, id) in [
        (TaskKind::Workflow, "q", "a"),
        (TaskKind::Activity, "q", "b"),
        (TaskKind::Activity, strange, "c"),
    ] {
        broker
            .dispatch(kind, &namespace(), queue, &task(id), id)
            .await
            .unwrap();
    }
    let poll = async |kind, queue| world.poll(kind, &namespace(), queue).await;
    assert_eq!(poll(TaskKind::Workflow, strange).await, None);
    assert_eq!(poll(TaskKind::Activity, strange).await, Some(task("c")));
    assert_eq!(poll(TaskKind::Activity, "q").await, Some(task("b")));
    assert_eq!(poll(TaskKind::Activity, "q").await, None);
    assert_eq!(poll(TaskKind::Workflow, "q").await, Some(task("a")));
    let other_namespace = NamespaceId::from("other");
    assert_eq!(
        world.poll(TaskKind::Workflow, &other_namespace, "q").await,
        None
    );
}

pub async fn a_sticky_task_is_heard_by_its_listener(world: &dyn World) {
    let broker = world.connect("one").await;
    let mut unheard = broker.unheard(P).await.unwrap();
    let mut listener = world.listen(&namespace(), "worker-1:abc").await;
    for workflow_id in ["a", "b"] {
        broker
            .dispatch_sticky(P, "worker-1:abc", &task(workflow_id))
            .await
            .unwrap();
    }
    let second = Duration::from_secs(1);
    assert_eq!(listener.next().await, Some(task("a")));
    assert_eq!(listener.next().await, Some(task("b")));
    tokio::time::timeout(second, unheard.next())
        .await
        .expect_err("a task that was heard does not come back");
}

pub async fn a_sticky_task_that_nobody_hears_comes_back(world: &dyn World) {
    let broker = world.connect("one").await;
    let other_partition = Partition(9);
    let mut unheard = broker.unheard(P).await.unwrap();
    let mut unheard_elsewhere = broker.unheard(other_partition).await.unwrap();
    for workflow_id in ["a", "b"] {
        broker
            .dispatch_sticky(P, "gone", &task(workflow_id))
            .await
            .unwrap();
    }
    broker
        .dispatch_sticky(other_partition, "gone", &task("c"))
        .await
        .unwrap();
    assert_eq!(unheard.next().await, Some(task("a")));
    assert_eq!(unheard.next().await, Some(task("b")));
    assert_eq!(unheard_elsewhere.next().await, Some(task("c")));
    // A listener that goes is gone at once.
    let listener = world.listen(&namespace(), "gone").await;
    drop(listener);
    tokio::time::sleep(Duration::from_millis(200)).await;
    broker.dispatch_sticky(P, "gone", &task("d")).await.unwrap();
    assert_eq!(unheard.next().await, Some(task("d")));
}

pub async fn visibility_records_are_taken(world: &dyn World) {
    let broker = world.connect("one").await;
    let write = |run_id: String| StateWrite {
        subject: subjects::visibility(&namespace(), &run_id),
        record: Some(Bytes::from_static(b"record")),
        ttl: Some(Duration::from_secs(60)),
    };
    broker.publish_visibility(vec![]).await.unwrap();
    broker
        .publish_visibility(vec![write("a".into())])
        .await
        .unwrap();
    let many = (0..2_500).map(|n| write(n.to_string())).collect();
    broker.publish_visibility(many).await.unwrap();
    let deletion = StateWrite {
        record: None,
        ..write("a".into())
    };
    broker.publish_visibility(vec![deletion]).await.unwrap();
}
