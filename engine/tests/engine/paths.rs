//! What a workflow goes through, with engines that come and go.

use std::time::Duration;

use fermata_proto::rpc::{RejectionKind, Request};
use fermata_proto::service::*;
use fermata_proto::subjects;

use crate::world::*;

const STEP: [&str; 11] = [
    "WorkflowExecutionStarted",
    "WorkflowTaskScheduled",
    "WorkflowTaskStarted",
    "WorkflowTaskCompleted",
    "ActivityTaskScheduled",
    "ActivityTaskStarted",
    "ActivityTaskCompleted",
    "WorkflowTaskScheduled",
    "WorkflowTaskStarted",
    "WorkflowTaskCompleted",
    "WorkflowExecutionCompleted",
];

#[tokio::test(start_paused = true)]
async fn a_workflow_with_an_activity_runs_to_its_end() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let task = world.workflow_task().await;
    assert_eq!(task.history.as_ref().unwrap().events.len(), 3);
    world.complete(&task, vec![activity("a")]).await;
    let activity_task = world.activity_task().await;
    world.complete_activity(&activity_task).await;
    let task = world.workflow_task().await;
    world.complete(&task, vec![done()]).await;
    assert_eq!(kinds(&world.history("order").await), STEP);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_fires_when_it_is_due_and_not_before() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let task = world.workflow_task().await;
    let began = tokio::time::Instant::now();
    world.complete(&task, vec![timer("t", 3_600)]).await;
    let task = world.workflow_task().await;
    let took = began.elapsed();
    assert!((3_600..3_602).contains(&took.as_secs()), "{took:?}");
    let events = task.history.unwrap().events;
    assert!(kinds(&events).contains(&"TimerFired".to_owned()));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn starting_twice_with_one_request_id_gives_one_run() {
    let (world, engine) = World::with_engine().await;
    let first = world.start_workflow("order").await;
    assert_eq!(world.start_workflow("order").await, first);
    assert_eq!(world.history("order").await.len(), 2);
    engine.shutdown().await;
}

/// A crash leaves some of the log behind the last checkpoint; what was answered is all there.
#[tokio::test(start_paused = true)]
async fn after_a_crash_the_next_owner_goes_on_where_the_last_one_stopped() {
    let (mut world, engine) = World::with_engine().await;
    for number in 0..20 {
        world.start_workflow(&format!("order-{number}")).await;
    }
    // Half of it is in the state store, half only in the log.
    tokio::time::sleep(Duration::from_secs(5)).await;
    for number in 0..20 {
        world
            .signal(&format!("order-{number}"), "go")
            .await
            .unwrap();
    }
    let before = world.describe("order-3").await;
    let history = world.history("order-3").await;
    world.broker.crash("one");
    drop(engine);
    let second = world.start("two").await;
    assert_eq!(world.describe("order-3").await, before);
    assert_eq!(world.history("order-3").await, history);
    for _ in 0..20 {
        let task = world.workflow_task().await;
        world.complete(&task, vec![done()]).await;
    }
    for number in 0..20 {
        let events = world.history(&format!("order-{number}")).await;
        assert_eq!(
            kinds(&events),
            [
                "WorkflowExecutionStarted",
                "WorkflowTaskScheduled",
                "WorkflowExecutionSignaled",
                "WorkflowTaskStarted",
                "WorkflowTaskCompleted",
                "WorkflowExecutionCompleted",
            ]
        );
    }
    second.shutdown().await;
}

/// A timer that is armed in the state store alone fires at the next owner.
#[tokio::test(start_paused = true)]
async fn deadlines_outlive_their_owner() {
    let (mut world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    let task = world.workflow_task().await;
    world.complete(&task, vec![timer("t", 100)]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    engine.shutdown().await;
    let second = world.start("two").await;
    let task = world.workflow_task().await;
    world.complete(&task, vec![done()]).await;
    assert_eq!(
        kinds(&world.history("order").await).last().unwrap(),
        "WorkflowExecutionCompleted"
    );
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_replicas_share_the_partitions_and_a_third_takes_the_rest_of_one_that_leaves() {
    let (mut world, first) = World::with_engine().await;
    let second = world.start("two").await;
    world.start_workflow("a").await;
    world.start_workflow("b").await;
    world.start_workflow("c").await;
    first.shutdown().await;
    let third = world.start("three").await;
    for workflow_id in ["a", "b", "c"] {
        world.signal(workflow_id, "go").await.unwrap();
        assert_eq!(world.history(workflow_id).await.len(), 3);
    }
    second.shutdown().await;
    third.shutdown().await;
}

/// The cache holds next to nothing, so that every step finds its run in the state store.
#[tokio::test(start_paused = true)]
async fn runs_that_leave_memory_come_back_as_they_were() {
    let mut world = World::empty(11);
    world.cache_bytes_max = 1;
    let engine = world.start("one").await;
    world.start_workflow("order").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for step in 0..12 {
        let task = world.workflow_task().await;
        let commands = if step == 11 {
            vec![done()]
        } else {
            vec![marker(20_000), timer(&format!("t{step}"), 30)]
        };
        world.complete(&task, commands).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let events = world.history("order").await;
    let count = |kind: &str| kinds(&events).iter().filter(|one| *one == kind).count();
    assert_eq!(
        (count("MarkerRecorded"), count("TimerFired")),
        (11, 11),
        "{:?}",
        kinds(&events)
    );
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_runs_and_its_parent_hears_of_its_end() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("parent").await;
    let task = world.workflow_task().await;
    world.complete(&task, vec![child("its-child")]).await;
    let mut parent_events = Vec::new();
    for _ in 0..6 {
        let task = world.workflow_task().await;
        let is_child = task.workflow_type.as_ref().unwrap().name == "Child";
        parent_events = kinds(&world.history("parent").await);
        let heard = parent_events.contains(&"ChildWorkflowExecutionCompleted".to_owned());
        let commands = if is_child || heard {
            vec![done()]
        } else {
            Vec::new()
        };
        world.complete(&task, commands).await;
        if heard && !is_child {
            break;
        }
    }
    assert!(
        parent_events.contains(&"ChildWorkflowExecutionCompleted".to_owned()),
        "{parent_events:?}"
    );
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn lists_are_told_how_runs_stand() {
    let (world, engine) = World::with_engine().await;
    let run_id = world.start_workflow("order").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.terminate("order").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let subject = subjects::visibility(&world.namespace, &run_id);
    let records = world.broker.visibility();
    let (_, record) = records.iter().find(|(at, _)| *at == subject).unwrap();
    let record: fermata_proto::visibility::VisibilityRecord =
        fermata_proto::codec::decode(record).unwrap();
    assert_eq!(
        record.info.status,
        fermata_proto::enums::WorkflowExecutionStatus::Terminated
    );
    engine.shutdown().await;
}

/// A few changes do not wait for the checkpoint, which comes a second after the last one.
#[tokio::test(start_paused = true)]
async fn lists_follow_at_once_while_little_happens() {
    let (world, engine) = World::with_engine().await;
    for count in 1..=5 {
        let run_id = world.start_workflow(&format!("order-{count}")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let subject = subjects::visibility(&world.namespace, &run_id);
        let records = world.broker.visibility();
        assert!(records.iter().any(|(at, _)| *at == subject), "{count}");
        let request = Request::DeleteWorkflowExecution(Box::new(DeleteWorkflowExecutionRequest {
            workflow_execution: execution(&format!("order-{count}"), ""),
            ..DeleteWorkflowExecutionRequest::default()
        }));
        world.ok(&format!("order-{count}"), request).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let records = world.broker.visibility();
        let (_, record) = records.iter().find(|(at, _)| *at == subject).unwrap();
        let record: fermata_proto::visibility::VisibilityRecord =
            fermata_proto::codec::decode(record).unwrap();
        assert!(record.deleted, "{count}");
    }
    engine.shutdown().await;
}

/// The sticky queue's worker gets the new events only; when it is gone, the task goes to the normal queue with all of them.
#[tokio::test(start_paused = true)]
async fn sticky_tasks_find_their_worker_or_the_normal_queue() {
    use fermata_proto::taskqueue::StickyExecutionAttributes;
    use futures::StreamExt;

    let (world, engine) = World::with_engine().await;
    let mut sticky = world.broker.listen_sticky(&world.namespace, "mine");
    world.start_workflow("order").await;
    let task = world.workflow_task().await;
    let request = |task: &PollWorkflowTaskQueueResponse| RespondWorkflowTaskCompletedRequest {
        task_token: task.task_token.clone(),
        sticky_attributes: Some(StickyExecutionAttributes {
            worker_task_queue: Some(queue("mine")),
            schedule_to_start_timeout: Some(Duration::from_secs(10)),
        }),
        ..RespondWorkflowTaskCompletedRequest::default()
    };
    world.complete_with(&task, request(&task)).await;
    world.signal("order", "one").await.unwrap();
    let reference = sticky.next().await.unwrap();
    let task = world.claim_workflow_task(reference, "mine").await.unwrap();
    assert_eq!(
        kinds(&task.history.as_ref().unwrap().events),
        [
            "WorkflowTaskCompleted",
            "WorkflowExecutionSignaled",
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
        ]
    );
    world.complete_with(&task, request(&task)).await;
    drop(sticky);
    world.signal("order", "two").await.unwrap();
    let task = world.workflow_task().await;
    assert_eq!(task.history.unwrap().events.len(), 11);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn tasks_whose_stream_was_lost_are_dispatched_again() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("loaded").await;
    world.broker.lose_tasks();
    let task = world.workflow_task().await;
    world.complete(&task, vec![done()]).await;
    engine.shutdown().await;
}

/// Deleted before and after a checkpoint, and at the next owner: it is gone with all its records, and the id is free.
#[tokio::test(start_paused = true)]
async fn a_deleted_workflow_is_gone_for_good() {
    use fermata_engine::broker::Broker;
    use futures::StreamExt;

    let (mut world, engine) = World::with_engine().await;
    let delete = || {
        Request::DeleteWorkflowExecution(Box::new(DeleteWorkflowExecutionRequest {
            workflow_execution: execution("order", ""),
            ..DeleteWorkflowExecutionRequest::default()
        }))
    };
    for pause in [0, 5] {
        world.start_workflow("order").await;
        tokio::time::sleep(Duration::from_secs(pause)).await;
        world.ok("order", delete()).await;
        let gone = world.page("order", Default::default()).await.unwrap_err();
        assert_eq!(gone.kind, RejectionKind::NotFound);
    }
    world.broker.crash("one");
    drop(engine);
    let second = world.start("two").await;
    let gone = world.page("order", Default::default()).await.unwrap_err();
    assert_eq!(gone.kind, RejectionKind::NotFound);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let reader = world.broker.connect("reader");
    let partition = world.partition("order");
    let mut records = reader
        .scan(partition, &format!("fm.state.{partition}.>"))
        .await
        .unwrap();
    let mut left = Vec::new();
    while let Some(record) = records.next().await {
        left.push(record.unwrap().0);
    }
    assert_eq!(left, [subjects::checkpoint(partition)]);
    world.start_workflow("order").await;
    assert_eq!(world.history("order").await.len(), 2);
    second.shutdown().await;
}

/// The broker is away for a while, and with it the tasks in its memory: everything goes on when it is back.
#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_and_comes_back_loses_nothing() {
    let (world, engine) = World::with_engine().await;
    world.start_workflow("order").await;
    world.broker.go_down();
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.broker.come_back();
    let task = world.workflow_task().await;
    world.complete(&task, vec![done()]).await;
    assert_eq!(world.history("order").await.len(), 5);
    engine.shutdown().await;
}

/// One seed, one history: ids, order and times are the same.
#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run() {
    async fn run() -> Vec<String> {
        let mut world = World::empty(3);
        world.broker.start_trace();
        let engine = world.start("one").await;
        for number in 0..5 {
            world.start_workflow(&format!("order-{number}")).await;
            let task = world.workflow_task().await;
            world
                .complete(&task, vec![timer("t", 1), activity("a")])
                .await;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        engine.shutdown().await;
        world.broker.take_trace()
    }
    let first = run().await;
    assert!(first.len() > 50, "{}", first.len());
    assert_eq!(first, run().await);
}
