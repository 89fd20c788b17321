//! Rules of schedules, each as a short story. What the reference server says of them is played in tests/wire.

mod support;

use std::time::Duration;

use fermata_core::Reply;
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::failure::Failure;
use fermata_proto::rpc::*;
use fermata_proto::schedule::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;
use support::client::*;
use support::world::World;

const HOUR: Duration = Duration::from_secs(3_600);

fn every(interval: Duration, overlap_policy: ScheduleOverlapPolicy) -> Schedule {
    Schedule {
        spec: Some(ScheduleSpec {
            interval: vec![IntervalSpec {
                interval: Some(interval),
                phase: None,
            }],
            ..ScheduleSpec::default()
        }),
        action: Some(ScheduleAction {
            action: Some(ScheduleActionAction::StartWorkflow(
                NewWorkflowExecutionInfo {
                    workflow_id: "action".to_owned(),
                    workflow_type: Some(WorkflowType {
                        name: "Flow".to_owned(),
                    }),
                    task_queue: Some(TaskQueue {
                        name: QUEUE.to_owned(),
                        ..TaskQueue::default()
                    }),
                    ..NewWorkflowExecutionInfo::default()
                },
            )),
        }),
        policies: Some(SchedulePolicies {
            overlap_policy,
            ..SchedulePolicies::default()
        }),
        state: None,
    }
}

fn ask(world: &mut World, request: Request) -> Asked {
    world.ask_owner(&workflow_id("sched").0, request)
}

fn create(world: &mut World, schedule: Schedule) -> Asked {
    let request = CreateScheduleRequest {
        namespace: "default".to_owned(),
        schedule_id: "sched".to_owned(),
        schedule: Some(schedule),
        request_id: world.new_id(),
        ..CreateScheduleRequest::default()
    };
    ask(world, Request::CreateSchedule(Box::new(request)))
}

fn patch(world: &mut World, patch: SchedulePatch) {
    let request = PatchScheduleRequest {
        schedule_id: "sched".to_owned(),
        patch: Some(patch),
        request_id: world.new_id(),
        ..PatchScheduleRequest::default()
    };
    ask(world, Request::PatchSchedule(Box::new(request))).unwrap();
}

fn trigger(world: &mut World) {
    let trigger_immediately = Some(TriggerImmediatelyRequest::default());
    patch(
        world,
        SchedulePatch {
            trigger_immediately,
            ..SchedulePatch::default()
        },
    );
}

fn describe(world: &mut World) -> (Schedule, ScheduleInfo) {
    let request = DescribeScheduleRequest {
        schedule_id: "sched".to_owned(),
        ..DescribeScheduleRequest::default()
    };
    match ask(world, Request::DescribeSchedule(Box::new(request))).unwrap() {
        Reply::Response(Response::DescribeSchedule(described)) => {
            (described.schedule.unwrap(), described.info.unwrap())
        }
        other => panic!("describe was answered by {other:?}"),
    }
}

/// Actions taken, running, waiting and skipped.
fn counts(world: &mut World) -> (i64, usize, i64, i64) {
    let (_, info) = describe(world);
    (
        info.action_count,
        info.running_workflows.len(),
        info.buffer_size,
        info.overlap_skipped,
    )
}

fn pass(world: &mut World, time: Duration) {
    world.advance(world.now + time);
}

fn done() -> Command {
    Command::new(CompleteWorkflowExecutionCommandAttributes::default())
}

fn finish(world: &mut World, command: Command) -> String {
    let task = world.poll().expect("an action has begun");
    world.complete_task(&task, vec![command]).unwrap();
    task.workflow_execution.unwrap().workflow_id
}

#[test]
fn it_acts_at_the_times_of_its_spec_and_skips_while_an_action_runs() {
    let mut world = World::new(1);
    create(&mut world, every(HOUR, ScheduleOverlapPolicy::Unspecified)).unwrap();
    pass(&mut world, HOUR);
    assert_eq!(counts(&mut world), (1, 1, 0, 0));
    pass(&mut world, HOUR * 2);
    assert_eq!(counts(&mut world), (1, 1, 0, 2));
    assert_eq!(finish(&mut world, done()), "action-2026-01-01T01:00:00Z");
    assert_eq!(counts(&mut world), (1, 0, 0, 2));
    pass(&mut world, HOUR);
    assert_eq!(finish(&mut world, done()), "action-2026-01-01T04:00:00Z");
    let (_, info) = describe(&mut world);
    let statuses: Vec<_> = info
        .recent_actions
        .iter()
        .map(|action| action.start_workflow_status)
        .collect();
    assert_eq!(statuses, [WorkflowExecutionStatus::Completed; 2]);
}

#[test]
fn what_is_due_waits_for_the_end_of_the_chain_of_runs() {
    let mut world = World::new(1);
    create(&mut world, every(HOUR, ScheduleOverlapPolicy::BufferOne)).unwrap();
    pass(&mut world, HOUR * 3);
    assert_eq!(counts(&mut world), (1, 1, 1, 1));
    let go_on = Command::new(ContinueAsNewWorkflowExecutionCommandAttributes::default());
    finish(&mut world, go_on);
    pass(&mut world, Duration::from_secs(5));
    assert_eq!(counts(&mut world), (1, 1, 1, 1), "the chain has not ended");
    finish(&mut world, done());
    assert_eq!(counts(&mut world), (2, 1, 0, 1));
}

#[test]
fn a_reset_action_counts_as_running_until_its_new_run_ends() {
    let mut world = World::new(1);
    create(&mut world, every(HOUR * 100, ScheduleOverlapPolicy::Skip)).unwrap();
    trigger(&mut world);
    let task = world.poll().unwrap();
    let execution = task.workflow_execution.clone().unwrap();
    let timer = Command::new(StartTimerCommandAttributes {
        timer_id: "t".to_owned(),
        start_to_fire_timeout: Some(HOUR),
    });
    world.complete_task(&task, vec![timer]).unwrap();
    let reset = ResetWorkflowExecutionRequest {
        workflow_execution: Some(execution.clone()),
        request_id: world.new_id(),
        workflow_task_finish_event_id: 4,
        ..ResetWorkflowExecutionRequest::default()
    };
    let request = Request::ResetWorkflowExecution(Box::new(reset));
    world.ask_owner(&execution.workflow_id, request).unwrap();
    assert_eq!(counts(&mut world), (1, 1, 0, 0));
    finish(&mut world, done());
    assert_eq!(counts(&mut world), (1, 0, 0, 0));
}

#[test]
fn an_owner_that_was_away_catches_up_within_the_window_only() {
    let mut world = World::new(1);
    let mut schedule = every(HOUR, ScheduleOverlapPolicy::AllowAll);
    let policies = schedule.policies.as_mut().unwrap();
    policies.catchup_window = Some(HOUR * 3);
    create(&mut world, schedule).unwrap();
    // Nobody looks for ten hours and a half.
    world.now = world.now + HOUR * 10 + HOUR / 2;
    let now = world.now;
    world.advance(now);
    let (_, info) = describe(&mut world);
    assert_eq!((info.action_count, info.missed_catchup_window), (3, 7));
}

#[test]
fn more_than_a_decision_takes_is_caught_up_with_in_several() {
    let mut world = World::new(1);
    let second = Duration::from_secs(1);
    let mut schedule = every(second, ScheduleOverlapPolicy::Skip);
    schedule.policies.as_mut().unwrap().catchup_window = Some(Duration::from_secs(60));
    create(&mut world, schedule).unwrap();
    world.now = world.now + second * 2_500;
    for _ in 0..3 {
        trigger(&mut world);
    }
    let (_, info) = describe(&mut world);
    assert_eq!(info.missed_catchup_window, 2_500 - 61);
    assert_eq!(info.action_count, 1);
}

#[test]
fn a_backfill_takes_its_times_one_by_one_on_a_paused_schedule_too() {
    let mut world = World::new(1);
    let mut schedule = every(HOUR, ScheduleOverlapPolicy::Skip);
    schedule.state = Some(ScheduleState {
        paused: true,
        ..ScheduleState::default()
    });
    create(&mut world, schedule).unwrap();
    pass(&mut world, HOUR * 3);
    assert_eq!(counts(&mut world), (0, 0, 0, 0), "it is paused");
    let ten = Timestamp::from_millis(1_577_872_800_000);
    let backfill = BackfillRequest {
        start_time: Some(ten),
        end_time: Some(ten + HOUR * 24),
        overlap_policy: ScheduleOverlapPolicy::BufferAll,
    };
    patch(
        &mut world,
        SchedulePatch {
            backfill_request: vec![backfill],
            ..SchedulePatch::default()
        },
    );
    pass(&mut world, Duration::from_secs(1));
    assert_eq!(finish(&mut world, done()), "action-2020-01-01T10:00:00Z");
    for _ in 0..24 {
        finish(&mut world, done());
    }
    assert_eq!(counts(&mut world), (25, 0, 0, 0));
    assert!(world.poll().is_none());
}

#[test]
fn it_stops_when_its_actions_are_used_up_and_goes_on_after_an_update() {
    let mut world = World::new(1);
    let mut schedule = every(HOUR, ScheduleOverlapPolicy::AllowAll);
    schedule.state = Some(ScheduleState {
        limited_actions: true,
        remaining_actions: 2,
        ..ScheduleState::default()
    });
    create(&mut world, schedule.clone()).unwrap();
    pass(&mut world, HOUR * 5);
    let (described, info) = describe(&mut world);
    assert_eq!((info.action_count, info.future_action_times.len()), (2, 0));
    assert_eq!(described.state.unwrap().remaining_actions, 0);
    let request = UpdateScheduleRequest {
        schedule_id: "sched".to_owned(),
        schedule: Some(schedule),
        request_id: world.new_id(),
        ..UpdateScheduleRequest::default()
    };
    ask(&mut world, Request::UpdateSchedule(Box::new(request))).unwrap();
    pass(&mut world, HOUR);
    assert_eq!(counts(&mut world).0, 3, "what was missed is not made good");
}

#[test]
fn it_pauses_after_a_failure_and_tells_the_next_action_of_it() {
    let mut world = World::new(1);
    let mut schedule = every(HOUR, ScheduleOverlapPolicy::Skip);
    schedule.policies.as_mut().unwrap().pause_on_failure = true;
    create(&mut world, schedule).unwrap();
    pass(&mut world, HOUR);
    let fail = Command::new(FailWorkflowExecutionCommandAttributes {
        failure: Some(Failure {
            message: "gone wrong".to_owned(),
            ..Failure::default()
        }),
    });
    finish(&mut world, fail);
    let state = describe(&mut world).0.state.unwrap();
    assert!(state.paused);
    assert_eq!(
        state.notes,
        "paused due to workflow failure: action-2026-01-01T01:00:00Z: gone wrong"
    );
    pass(&mut world, HOUR * 2);
    trigger(&mut world);
    let task = world.poll().expect("a trigger acts on a paused schedule");
    let run_id = task.workflow_execution.unwrap().run_id;
    let failure = world.runs[&run_id].started.continued_failure.clone();
    assert_eq!(failure.unwrap().message, "gone wrong");
}

#[test]
fn the_running_action_makes_place_when_the_policy_says_so() {
    let mut world = World::new(1);
    create(
        &mut world,
        every(HOUR, ScheduleOverlapPolicy::TerminateOther),
    )
    .unwrap();
    pass(&mut world, HOUR * 2);
    assert_eq!(counts(&mut world), (2, 1, 0, 0));
    let (_, info) = describe(&mut world);
    assert_eq!(
        info.recent_actions[0].start_workflow_status,
        WorkflowExecutionStatus::Terminated
    );
}

#[test]
fn its_id_is_no_workflows_and_is_free_after_a_delete() {
    let mut world = World::new(1);
    create(&mut world, every(HOUR, ScheduleOverlapPolicy::Skip)).unwrap();
    let id = workflow_id("sched").0;
    assert_eq!(
        world.signal(&id, None).unwrap_err().kind,
        RejectionKind::NotFound
    );
    assert_eq!(
        world.start(&id, |_| {}).unwrap_err().kind,
        RejectionKind::AlreadyExists
    );
    let again = create(&mut world, every(HOUR, ScheduleOverlapPolicy::Skip));
    assert_eq!(again.unwrap_err().kind, RejectionKind::AlreadyExists);
    pass(&mut world, HOUR);
    let request = DeleteScheduleRequest {
        schedule_id: "sched".to_owned(),
        ..DeleteScheduleRequest::default()
    };
    ask(&mut world, Request::DeleteSchedule(Box::new(request))).unwrap();
    create(&mut world, every(HOUR, ScheduleOverlapPolicy::Skip)).unwrap();
    // The action of the deleted one goes on, and its end disturbs nobody.
    finish(&mut world, done());
    assert_eq!(counts(&mut world), (0, 0, 0, 0));
}

#[test]
fn the_same_patch_again_acts_once() {
    let mut world = World::new(1);
    create(&mut world, every(HOUR, ScheduleOverlapPolicy::AllowAll)).unwrap();
    let request = PatchScheduleRequest {
        schedule_id: "sched".to_owned(),
        patch: Some(SchedulePatch {
            trigger_immediately: Some(TriggerImmediatelyRequest::default()),
            ..SchedulePatch::default()
        }),
        request_id: world.new_id(),
        ..PatchScheduleRequest::default()
    };
    for _ in 0..2 {
        let again = Request::PatchSchedule(Box::new(request.clone()));
        ask(&mut world, again).unwrap();
    }
    assert_eq!(counts(&mut world).0, 1);
}

#[test]
fn what_ranges_leave_out_is_shown() {
    let mut world = World::new(1);
    let mut schedule = every(HOUR, ScheduleOverlapPolicy::Skip);
    let range = |start, end, step| Range { start, end, step };
    schedule.spec = Some(ScheduleSpec {
        structured_calendar: vec![StructuredCalendarSpec {
            second: vec![range(30, 0, 0)],
            minute: vec![range(10, 20, 0), range(30, 50, 5)],
            ..StructuredCalendarSpec::default()
        }],
        ..ScheduleSpec::default()
    });
    create(&mut world, schedule).unwrap();
    let (described, _) = describe(&mut world);
    let calendar = &described.spec.unwrap().structured_calendar[0];
    assert_eq!(calendar.second, [range(30, 30, 1)]);
    assert_eq!(calendar.minute, [range(10, 20, 1), range(30, 50, 5)]);
}
