//! Resets that have to read history back, and schedules that outlive their owners.

use std::time::Duration;

use fermata_proto::common::WorkflowType;
use fermata_proto::enums::ScheduleOverlapPolicy;
use fermata_proto::rpc::{Request, Response};
use fermata_proto::schedule::*;
use fermata_proto::service::*;

use crate::world::*;

async fn reset(world: &World, workflow_id: &str, run_id: &str, event_id: i64) -> String {
    let request = ResetWorkflowExecutionRequest {
        workflow_execution: execution(workflow_id, run_id),
        workflow_task_finish_event_id: event_id,
        request_id: format!("reset-{event_id}"),
        reason: "try again".to_owned(),
        ..ResetWorkflowExecutionRequest::default()
    };
    let request = Request::ResetWorkflowExecution(Box::new(request));
    match world.ok(workflow_id, request).await {
        Response::ResetWorkflowExecution(reset) => reset.run_id,
        other => panic!("{other:?}"),
    }
}

/// Ten tasks with a marker each, and a signal before every other one: longer than some chunks of history.
async fn long_workflow(world: &World, workflow_id: &str) -> String {
    let run_id = world.start_workflow(workflow_id).await;
    for number in 0..10 {
        let task = world.workflow_task().await;
        world.complete(&task, vec![marker(40_000)]).await;
        let name = format!("signal-{number}");
        world.signal(workflow_id, &name).await.unwrap();
    }
    run_id
}

/// The cache holds next to nothing: the history up to the point lies in full chunks, and the runs are not loaded.
#[tokio::test(start_paused = true)]
async fn a_reset_finds_history_that_only_the_state_store_holds() {
    let mut world = World::empty(7);
    world.cache_bytes_max = 1;
    let engine = world.start("one").await;
    let base = long_workflow(&world, "order").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = world.history("order").await;
    // The fifth task: each takes its Scheduled, Started, Completed, a marker and the signal behind it.
    let point = before
        .iter()
        .filter(|event| kinds(std::slice::from_ref(*event)) == ["WorkflowTaskStarted"])
        .nth(4)
        .unwrap()
        .event_id;
    let run_id = reset(&world, "order", "", point + 1).await;
    assert_ne!(run_id, base);
    let after = world.history("order").await;
    let kept = usize::try_from(point).unwrap();
    assert_eq!(after[..kept], before[..kept]);
    let behind = kinds(&after[kept..]);
    let signals = vec!["WorkflowExecutionSignaled".to_owned(); 6];
    assert_eq!(behind[0], "WorkflowTaskFailed");
    assert_eq!(behind[1..7], signals);
    assert_eq!(behind[7..], ["WorkflowTaskScheduled"]);

    // The new run is stored in the same batches, so that it can be reset again, also by the next owner.
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.broker.crash("one");
    drop(engine);
    let second = world.start("two").await;
    assert_eq!(world.history("order").await, after);
    reset(&world, "order", &run_id, 4).await;
    let first_task = kinds(&world.history("order").await);
    assert_eq!(first_task[..4].last().unwrap(), "WorkflowTaskFailed");
    let task = world.workflow_task().await;
    world.complete(&task, vec![done()]).await;
    second.shutdown().await;
}

/// The whole reset lies in the log when the owner dies.
#[tokio::test(start_paused = true)]
async fn a_reset_that_no_checkpoint_has_seen_is_replayed() {
    let (mut world, engine) = World::with_engine().await;
    let run_id = world.start_workflow("order").await;
    let task = world.workflow_task().await;
    world.complete(&task, vec![activity("a")]).await;
    let again = reset(&world, "order", &run_id, 4).await;
    let after = world.history("order").await;
    world.broker.crash("one");
    drop(engine);
    let second = world.start("two").await;
    assert_eq!(world.history("order").await, after);
    let description = world.describe("order").await;
    let info = description.workflow_execution_info.unwrap();
    assert_eq!(info.execution.unwrap().run_id, again);
    let task = world.workflow_task().await;
    world.complete(&task, vec![done()]).await;
    second.shutdown().await;
}

async fn describe_schedule(world: &World) -> ScheduleInfo {
    let request = DescribeScheduleRequest {
        schedule_id: "nightly".to_owned(),
        ..DescribeScheduleRequest::default()
    };
    let request = Request::DescribeSchedule(Box::new(request));
    match world.ok(workflow_id("nightly").as_str(), request).await {
        Response::DescribeSchedule(described) => described.info.unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn create_schedule(world: &World) {
    let interval = Some(Duration::from_secs(600));
    let schedule = Schedule {
        spec: Some(ScheduleSpec {
            interval: vec![IntervalSpec {
                interval,
                phase: None,
            }],
            ..ScheduleSpec::default()
        }),
        action: Some(ScheduleAction {
            action: Some(ScheduleActionAction::StartWorkflow(
                NewWorkflowExecutionInfo {
                    workflow_id: "report".to_owned(),
                    workflow_type: Some(WorkflowType {
                        name: "Flow".to_owned(),
                    }),
                    task_queue: Some(queue("tq")),
                    ..NewWorkflowExecutionInfo::default()
                },
            )),
        }),
        ..Schedule::default()
    };
    let request = CreateScheduleRequest {
        schedule_id: "nightly".to_owned(),
        schedule: Some(schedule),
        request_id: "create".to_owned(),
        ..CreateScheduleRequest::default()
    };
    let request = Request::CreateSchedule(Box::new(request));
    world.ok(workflow_id("nightly").as_str(), request).await;
}

#[tokio::test(start_paused = true)]
async fn a_schedule_goes_on_at_the_next_owner_and_hears_of_the_end_there() {
    let (mut world, engine) = World::with_engine().await;
    create_schedule(&world).await;
    // In the state store, and idle.
    tokio::time::sleep(Duration::from_secs(5)).await;
    engine.shutdown().await;
    let second = world.start("two").await;
    let task = world.workflow_task().await;
    assert_eq!(describe_schedule(&world).await.running_workflows.len(), 1);
    // The next owner finds only the log.
    world.broker.crash("two");
    drop(second);
    let third = world.start("three").await;
    world.complete(&task, vec![done()]).await;
    for _ in 0..100 {
        if describe_schedule(&world).await.running_workflows.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let info = describe_schedule(&world).await;
    assert_eq!((info.action_count, info.running_workflows.len()), (1, 0));
    world.workflow_task().await;
    third.shutdown().await;
}

/// Whoever triggers an action and then looks sees it, although the workflow starts in another partition.
#[tokio::test(start_paused = true)]
async fn a_triggered_action_is_in_the_next_description() {
    let (world, engine) = World::with_engine().await;
    create_schedule(&world).await;
    let request = PatchScheduleRequest {
        schedule_id: "nightly".to_owned(),
        patch: Some(SchedulePatch {
            trigger_immediately: Some(TriggerImmediatelyRequest {
                overlap_policy: ScheduleOverlapPolicy::AllowAll,
                ..TriggerImmediatelyRequest::default()
            }),
            ..SchedulePatch::default()
        }),
        ..PatchScheduleRequest::default()
    };
    for count in 1..=5 {
        let request = Request::PatchSchedule(Box::new(request.clone()));
        world.ok(workflow_id("nightly").as_str(), request).await;
        let info = describe_schedule(&world).await;
        assert_eq!(
            (info.recent_actions.len(), info.action_count),
            (count, count as i64)
        );
        // The next action has a name of its own: it is that of the second.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    engine.shutdown().await;
}
