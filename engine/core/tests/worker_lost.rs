//! What becomes of a lost worker's tasks, each as a short story.

mod support;

use std::time::Duration;

use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::event::HistoryEventAttributes as Event;
use fermata_proto::failure::FailureFailureInfo;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use support::client::*;
use support::world::World;

const SILENT: Duration = Duration::from_secs(5);

/// A run whose activity `a` is on its queue.
fn with_activity(policy: Option<RetryPolicy>) -> (World, String) {
    let mut world = World::new(1);
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    let command = activity("a", |attributes| {
        attributes.start_to_close_timeout = Some(Duration::from_secs(3_600));
        attributes.retry_policy = policy;
    });
    world.complete_task(&task, vec![command]).unwrap();
    (world, run_id)
}

fn complete(world: &mut World, task: &PollActivityTaskQueueResponse) -> Result<(), Rejection> {
    let request = RespondActivityTaskCompletedRequest {
        task_token: task.task_token.clone(),
        ..Default::default()
    };
    let complete = CompleteActivity {
        request,
        sticky_queue: None,
    };
    let request = Request::RespondActivityTaskCompleted(Box::new(complete));
    world.ask_owner("wf", request).map(drop)
}

#[test]
fn an_activity_of_a_lost_worker_is_tried_again_at_once_and_the_old_token_is_stale() {
    let (mut world, run_id) = with_activity(None);
    world.worker_id = "one".to_owned();
    let stale = world.poll_activity().unwrap();
    world.pass(1.0);
    world.lose_worker("one", SILENT);
    world.pass(0.0);
    world.worker_id = "two".to_owned();
    let again = world.poll_activity().expect("the next attempt is there");
    assert_eq!(again.attempt, 2);
    assert_eq!(
        complete(&mut world, &stale).unwrap_err().kind,
        RejectionKind::NotFound
    );
    complete(&mut world, &again).unwrap();
    let completed = |event: &&String| *event == "ActivityTaskCompleted";
    assert_eq!(
        world.event_types(&run_id).iter().filter(completed).count(),
        1
    );
    let started = world.histories[&run_id]
        .iter()
        .find_map(|event| match event.attributes.as_ref()? {
            Event::ActivityTaskStarted(started) => Some(started.clone()),
            _ => None,
        })
        .unwrap();
    assert_eq!(started.attempt, 2);
    match started.last_failure.clone().unwrap().failure_info {
        Some(FailureFailureInfo::TimeoutFailureInfo(info)) => {
            assert_eq!(info.timeout_type, TimeoutType::Heartbeat);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_loss_of_one_worker_leaves_others_alone() {
    let (mut world, _) = with_activity(None);
    world.worker_id = "one".to_owned();
    let task = world.poll_activity().unwrap();
    world.lose_worker("two", SILENT);
    world.pass(1.0);
    complete(&mut world, &task).unwrap();
}

#[test]
fn a_detached_activity_outlives_its_worker_and_is_completed_by_its_token_once() {
    let (mut world, run_id) = with_activity(None);
    world.worker_id = "one".to_owned();
    let task = world.poll_activity().unwrap();
    let detach = Request::DetachActivity(Box::new(DetachActivity {
        task_token: task.task_token.clone(),
    }));
    world.ask_owner("wf", detach.clone()).unwrap();
    world.ask_owner("wf", detach.clone()).unwrap();
    assert!(world.runs[&run_id].claimants().is_empty());
    world.lose_worker("one", SILENT);
    world.pass(60.0);
    complete(&mut world, &task).unwrap();
    for refused in [
        complete(&mut world, &task).unwrap_err(),
        world.ask_owner("wf", detach).unwrap_err(),
    ] {
        assert_eq!(refused.kind, RejectionKind::NotFound);
    }
}

#[test]
fn a_detached_activity_still_times_out() {
    let (mut world, run_id) = with_activity(None);
    world.worker_id = "one".to_owned();
    let task = world.poll_activity().unwrap();
    let detach = Request::DetachActivity(Box::new(DetachActivity {
        task_token: task.task_token.clone(),
    }));
    world.ask_owner("wf", detach).unwrap();
    world.pass(3_602.0);
    assert_eq!(world.poll_activity().unwrap().attempt, 2);
    assert_eq!(world.runs[&run_id].claimants(), ["one"].into());
}

#[test]
fn a_worker_that_does_not_announce_itself_holds_nothing() {
    let (mut world, run_id) = with_activity(None);
    world.poll_activity().unwrap();
    assert!(world.runs[&run_id].claimants().is_empty());
}

#[test]
fn the_last_attempt_of_a_lost_worker_closes_the_activity() {
    let policy = RetryPolicy {
        maximum_attempts: 1,
        ..RetryPolicy::default()
    };
    let (mut world, run_id) = with_activity(Some(policy));
    world.worker_id = "one".to_owned();
    world.poll_activity().unwrap();
    world.lose_worker("one", SILENT);
    let closed = world.histories[&run_id]
        .iter()
        .find_map(|event| match event.attributes.as_ref()? {
            Event::ActivityTaskTimedOut(closed) => Some(closed.clone()),
            _ => None,
        })
        .expect("it has timed out");
    assert_eq!(closed.retry_state, RetryState::MaximumAttemptsReached);
}

#[test]
fn an_activity_that_kills_every_worker_is_slowed_down() {
    let (mut world, _) = with_activity(None);
    // Backoffs of 1, 2, 4 s are over when the worker is found lost; the one of 8 s is not.
    for attempt in 1..=3 {
        world.worker_id = format!("worker {attempt}");
        assert_eq!(world.poll_activity().unwrap().attempt, attempt);
        world.lose_worker(&world.worker_id.clone(), SILENT);
        world.pass(0.0);
    }
    world.worker_id = "worker 4".to_owned();
    assert_eq!(world.poll_activity().unwrap().attempt, 4);
    world.lose_worker("worker 4", SILENT);
    world.pass(2.9);
    assert!(world.poll_activity().is_none());
    world.pass(0.2);
    assert_eq!(world.poll_activity().unwrap().attempt, 5);
}

#[test]
fn a_workflow_task_of_a_lost_worker_goes_to_another() {
    let mut world = World::new(1);
    let run_id = world.start("wf", |_| {}).unwrap();
    world.worker_id = "one".to_owned();
    let stale = world.poll().unwrap();
    world.lose_worker("one", SILENT);
    world.worker_id = "two".to_owned();
    let again = world.poll().expect("the next attempt is there");
    assert_eq!(
        world
            .complete_task(&stale, vec![done(None)])
            .unwrap_err()
            .kind,
        RejectionKind::NotFound
    );
    // A transient attempt is held by its worker as well.
    assert_eq!(world.runs[&run_id].claimants(), ["two"].into());
    world.complete_task(&again, vec![done(None)]).unwrap();
}

#[test]
fn what_a_worker_takes_along_with_a_completion_is_held_by_it() {
    let mut world = World::new(1);
    let run_id = world.start("wf", |_| {}).unwrap();
    world.worker_id = "one".to_owned();
    let task = world.poll().unwrap();
    let command = activity("a", |attributes| attributes.request_eager_execution = true);
    world.complete_task(&task, vec![command]).unwrap();
    assert_eq!(world.runs[&run_id].claimants(), ["one"].into());
    world.lose_worker("one", SILENT);
    world.pass(0.0);
    world.worker_id = "two".to_owned();
    let again = world.poll_activity().unwrap();
    assert_eq!(again.attempt, 2);
    assert_eq!(world.runs[&run_id].claimants(), ["two"].into());
}
