//! What operators do to pending activities, each as a short story.

mod support;

use std::time::Duration;

use fermata_core::Reply;
use fermata_proto::activity::ActivityOptions;
use fermata_proto::common::RetryPolicy;
use fermata_proto::enums::PendingActivityState;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::wire::FieldMask;
use fermata_proto::workflow::PendingActivityInfo;
use support::client::*;
use support::world::World;

const ID: &str = "a";

/// A workflow whose activity is on its queue.
fn scheduled() -> World {
    let mut world = World::new(1);
    world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world
        .complete_task(&task, vec![activity(ID, |_| {})])
        .unwrap();
    world
}

fn pending(world: &World) -> PendingActivityInfo {
    let default = support::world::namespace("default").unwrap();
    let view = world.view(&default.id, "wf", "");
    let described = fermata_core::describe::describe(&view, "", world.now).unwrap();
    described.pending_activities[0].clone()
}

fn pause(world: &mut World) {
    let request = PauseActivityRequest {
        execution: Some(current("wf")),
        identity: "operator".to_owned(),
        reason: "look first".to_owned(),
        activity: Some(PauseActivityRequestActivity::Id(ID.to_owned())),
        ..PauseActivityRequest::default()
    };
    let request = Request::PauseActivity(Box::new(request));
    world.ask_owner("wf", request).unwrap();
}

fn unpause(world: &mut World) {
    let request = UnpauseActivityRequest {
        execution: Some(current("wf")),
        activity: Some(UnpauseActivityRequestActivity::UnpauseAll(true)),
        ..UnpauseActivityRequest::default()
    };
    let request = Request::UnpauseActivity(Box::new(request));
    world.ask_owner("wf", request).unwrap();
    world.pass(0.0);
}

fn reset(world: &mut World) {
    let request = ResetActivityRequest {
        execution: Some(current("wf")),
        activity: Some(ResetActivityRequestActivity::MatchAll(true)),
        ..ResetActivityRequest::default()
    };
    let request = Request::ResetActivity(Box::new(request));
    world.ask_owner("wf", request).unwrap();
    world.pass(0.0);
}

fn fail(world: &mut World, task: &PollActivityTaskQueueResponse) {
    let request = RespondActivityTaskFailedRequest {
        task_token: task.task_token.clone(),
        failure: Some(application_failure(false)),
        ..RespondActivityTaskFailedRequest::default()
    };
    let request = Request::RespondActivityTaskFailed(Box::new(request));
    world.ask_owner("wf", request).unwrap();
}

#[test]
fn a_paused_activity_is_not_handed_out_until_it_goes_on() {
    let mut world = scheduled();
    pause(&mut world);
    pause(&mut world);
    assert!(world.poll_activity().is_none(), "its reference is stale");
    let shown = pending(&world);
    assert_eq!(shown.state, PendingActivityState::Paused);
    assert!(shown.pause_info.is_some());
    world.pass(3_600.0);
    assert!(world.poll_activity().is_none());
    unpause(&mut world);
    assert_eq!(world.poll_activity().unwrap().attempt, 1);
    assert!(pending(&world).pause_info.is_none());
}

#[test]
fn one_that_runs_ends_its_attempt_and_waits_then() {
    let mut world = scheduled();
    let task = world.poll_activity().unwrap();
    pause(&mut world);
    assert_eq!(pending(&world).state, PendingActivityState::PauseRequested);
    fail(&mut world, &task);
    world.pass(3_600.0);
    assert!(world.poll_activity().is_none());
    assert_eq!(pending(&world).state, PendingActivityState::Paused);
    unpause(&mut world);
    assert_eq!(world.poll_activity().unwrap().attempt, 2);
}

#[test]
fn a_reset_begins_with_the_first_attempt_or_makes_the_one_that_runs_the_first() {
    let mut world = scheduled();
    for _ in 0..3 {
        let task = world.poll_activity().unwrap();
        fail(&mut world, &task);
        world.pass(100.0);
    }
    assert_eq!(pending(&world).attempt, 4);
    reset(&mut world);
    let task = world.poll_activity().unwrap();
    assert_eq!(task.attempt, 1);
    fail(&mut world, &task);
    world.pass(100.0);
    let task = world.poll_activity().unwrap();
    fail(&mut world, &task);
    world.pass(100.0);
    let task = world.poll_activity().unwrap();
    assert_eq!(task.attempt, 3);
    reset(&mut world);
    assert_eq!(pending(&world).attempt, 1);
    fail(&mut world, &task);
    world.pass(100.0);
    assert_eq!(world.poll_activity().unwrap().attempt, 2);
}

/// The attempt that runs goes on to heartbeat; only the next one is not told of it.
#[test]
fn heartbeats_that_are_reset_are_forgotten_with_the_next_attempt() {
    let mut world = scheduled();
    let task = world.poll_activity().unwrap();
    let beat = |world: &mut World| {
        let request = RecordActivityTaskHeartbeatRequest {
            task_token: task.task_token.clone(),
            details: Some(payload_of(8)),
            ..RecordActivityTaskHeartbeatRequest::default()
        };
        let request = Request::RecordActivityTaskHeartbeat(Box::new(request));
        match world.ask_owner("wf", request).unwrap() {
            Reply::Response(Response::RecordActivityTaskHeartbeat(response)) => *response,
            other => panic!("{other:?}"),
        }
    };
    assert!(!beat(&mut world).activity_reset);
    let request = ResetActivityRequest {
        execution: Some(current("wf")),
        activity: Some(ResetActivityRequestActivity::MatchAll(true)),
        reset_heartbeat: true,
        ..ResetActivityRequest::default()
    };
    let request = Request::ResetActivity(Box::new(request));
    world.ask_owner("wf", request).unwrap();
    assert!(beat(&mut world).activity_reset);
    assert!(pending(&world).heartbeat_details.is_some());
    fail(&mut world, &task);
    world.pass(100.0);
    let next = world.poll_activity().unwrap();
    assert!(next.heartbeat_details.is_none());
}

#[test]
fn a_pause_by_another_request_is_refused() {
    let mut world = scheduled();
    pause(&mut world);
    let request = PauseActivityRequest {
        execution: Some(current("wf")),
        activity: Some(PauseActivityRequestActivity::Id(ID.to_owned())),
        request_id: "another".to_owned(),
        ..PauseActivityRequest::default()
    };
    let request = Request::PauseActivity(Box::new(request));
    let refused = world.ask_owner("wf", request).unwrap_err();
    assert_eq!(refused.kind, RejectionKind::FailedPrecondition);
    assert_eq!(refused.message, "activity is already paused");
}

#[test]
fn going_on_ends_a_backoff() {
    let mut world = scheduled();
    for _ in 0..5 {
        let task = world.poll_activity().unwrap();
        fail(&mut world, &task);
        world.pass(100.0);
    }
    let task = world.poll_activity().unwrap();
    fail(&mut world, &task);
    pause(&mut world);
    unpause(&mut world);
    assert_eq!(world.poll_activity().unwrap().attempt, 7);
}

/// Attempts that begin anew are no reason for the worker to stop what it does.
#[test]
fn going_on_with_new_attempts_says_nothing_to_the_worker() {
    let mut world = scheduled();
    let task = world.poll_activity().unwrap();
    fail(&mut world, &task);
    world.pass(100.0);
    let task = world.poll_activity().unwrap();
    pause(&mut world);
    let request = UnpauseActivityRequest {
        execution: Some(current("wf")),
        activity: Some(UnpauseActivityRequestActivity::UnpauseAll(true)),
        reset_attempts: true,
        ..UnpauseActivityRequest::default()
    };
    let request = Request::UnpauseActivity(Box::new(request));
    world.ask_owner("wf", request).unwrap();
    let request = RecordActivityTaskHeartbeatRequest {
        task_token: task.task_token.clone(),
        ..RecordActivityTaskHeartbeatRequest::default()
    };
    let request = Request::RecordActivityTaskHeartbeat(Box::new(request));
    let Reply::Response(Response::RecordActivityTaskHeartbeat(beat)) =
        world.ask_owner("wf", request).unwrap()
    else {
        panic!("a heartbeat is answered");
    };
    assert!(!beat.activity_reset && !beat.activity_paused);
    fail(&mut world, &task);
    world.pass(100.0);
    assert_eq!(world.poll_activity().unwrap().attempt, 2);
}

fn update(world: &mut World, change: impl FnOnce(&mut UpdateActivityOptionsRequest)) -> Asked {
    let mut request = UpdateActivityOptionsRequest {
        execution: Some(current("wf")),
        activity: Some(UpdateActivityOptionsRequestActivity::Id(ID.to_owned())),
        ..UpdateActivityOptionsRequest::default()
    };
    change(&mut request);
    let answer = world.ask_owner("wf", Request::UpdateActivityOptions(Box::new(request)));
    world.pass(0.0);
    answer
}

#[test]
fn options_change_by_the_mask_and_can_be_restored() {
    let mut world = scheduled();
    let before = pending(&world).activity_options.unwrap();
    let answer = update(&mut world, |request| {
        request.activity_options = Some(ActivityOptions {
            task_queue: Some(queue("elsewhere")),
            heartbeat_timeout: Some(Duration::from_secs(9)),
            retry_policy: Some(RetryPolicy {
                maximum_attempts: 7,
                ..RetryPolicy::default()
            }),
            ..ActivityOptions::default()
        });
        let paths = ["task_queue.name", "retryPolicy.maximumAttempts"];
        request.update_mask = Some(FieldMask {
            paths: paths.map(str::to_owned).to_vec(),
        });
    });
    let Ok(Reply::Response(Response::UpdateActivityOptions(answer))) = answer else {
        panic!("{answer:?}");
    };
    let options = answer.activity_options.unwrap();
    assert_eq!(options.task_queue.unwrap().name, "elsewhere");
    let policy = options.retry_policy.unwrap();
    assert_eq!(policy.maximum_attempts, 7);
    assert!(policy.initial_interval.is_some(), "the rest stays");
    assert_eq!(options.heartbeat_timeout, before.heartbeat_timeout);
    assert_eq!(world.activity_tasks.last().unwrap().1, "elsewhere");
    update(&mut world, |request| request.restore_original = true).unwrap();
    assert_eq!(pending(&world).activity_options.unwrap(), before);
    assert_eq!(world.activity_tasks.last().unwrap().1, QUEUE);
    assert!(world.poll_activity().is_some());
    let nothing = update(&mut world, |_| {}).unwrap_err();
    assert_eq!(nothing.kind, RejectionKind::InvalidArgument);
}

#[test]
fn what_is_not_pending_is_not_found() {
    let mut world = scheduled();
    let request = PauseActivityRequest {
        execution: Some(current("wf")),
        activity: Some(PauseActivityRequestActivity::Id("other".to_owned())),
        ..PauseActivityRequest::default()
    };
    let refused = world.ask_owner("wf", Request::PauseActivity(Box::new(request)));
    assert_eq!(refused.unwrap_err().kind, RejectionKind::NotFound);
}
