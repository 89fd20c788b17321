//! Local activities: ends, markers, tasks that go on, long backoffs.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::command::{Command, CommandAttributes, RecordMarkerCommandAttributes};
use fermata_proto::enums::RetryState;
use futures::future::join_all;

use super::script::*;
use crate::error::ApplicationError;
use crate::machine::{Definition, LocalActivityResult, LocalActivityTask, TaskFailure};
use crate::payload::{from_payloads, to_payloads};
use crate::workflow::WorkflowContext;
use crate::{Activity, ActivityCancellation};

const DOUBLE: Activity<i32, i32> = Activity::named("double");
const CHARGE: Activity<i32, i32> = Activity::named("charge");

fn doubled(task: &LocalActivityTask) -> Option<LocalActivityResult> {
    let number: i32 = from_payloads(task.activity.input.as_ref()).unwrap();
    Some(LocalActivityResult::Completed(
        to_payloads(&(number * 2)).unwrap(),
    ))
}

fn failed() -> Box<fermata_proto::failure::Failure> {
    Box::new(ApplicationError::new("no").with_type("No").into_failure())
}

fn marker(command: &Command) -> &RecordMarkerCommandAttributes {
    match &command.attributes {
        Some(CommandAttributes::RecordMarker(marker)) => marker,
        other => panic!("no marker: {other:?}"),
    }
}

#[test]
fn an_end_is_a_marker_as_the_core_sdk_writes_it() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.local_activity(DOUBLE, 4).start_to_close(SECOND).await
    }));
    let commands = script.task_with(doubled);
    assert_eq!(
        shorts(&commands),
        [
            "RecordMarker core_local_activity",
            "CompleteWorkflowExecution 8"
        ]
    );
    let details: BTreeMap<&str, serde_json::Value> = marker(&commands[0])
        .details
        .iter()
        .map(|(name, payloads)| (&**name, from_payloads(Some(payloads)).unwrap()))
        .collect();
    assert_eq!(details["result"], serde_json::json!(8));
    assert_eq!(
        details["data"],
        serde_json::json!({
            "seq": 1,
            "attempt": 1,
            "activity_id": "1",
            "activity_type": "double",
            "complete_time": {"seconds": 3, "nanos": 500_000_000},
            "backoff": null,
            "original_schedule_time": {"seconds": 3, "nanos": 0},
        })
    );
    script.check_replay();
}

#[test]
fn many_run_beside_one_another_and_are_told_by_one_completion() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let calls = (0..100).map(|n| ctx.local_activity(DOUBLE, n).start_to_close(SECOND).start());
        let sum: i32 = join_all(calls).await.into_iter().flatten().sum();
        let more = ctx
            .local_activity(DOUBLE, sum)
            .start_to_close(SECOND)
            .await?;
        ctx.activity(CHARGE, more).start_to_close(SECOND).await
    }));
    let commands = script.task_with(doubled);
    assert_eq!(commands.len(), 102);
    assert_eq!(short(&commands[101]), "ScheduleActivityTask charge");
    script.complete_activity(0, &7);
    script.task();
    script.check_replay();
}

#[test]
fn a_task_that_ends_before_them_is_followed_by_one_that_hears_of_them() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let timer = ctx.sleep(SECOND * 9);
        let doubled = ctx.local_activity(DOUBLE, 1).start_to_close(SECOND).await?;
        timer.cancel();
        ctx.sleep(SECOND).await?;
        Ok(doubled)
    }));
    let commands = script.task_with(|_| None);
    assert_eq!(shorts(&commands), ["StartTimer 1"]);
    assert!(script.machine().waits_for_local_activities());
    script.begin_task();
    assert!(script.machine().local_activities_to_start().is_empty());
    script.end_local(2, LocalActivityResult::Completed(to_payloads(&5).unwrap()));
    let commands = script.finish_task();
    assert_eq!(
        shorts(&commands),
        [
            "RecordMarker core_local_activity",
            "CancelTimer 1",
            "StartTimer 3"
        ]
    );
    script.fire_timer("3");
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution 5"]);
    script.check_replay();
}

#[test]
fn what_was_under_way_is_handed_out_again_by_a_replay() {
    let definition: Definition = code(|ctx: WorkflowContext| async move {
        ctx.local_activity(DOUBLE, 1).start_to_close(SECOND).await
    });
    let mut script = Script::of(definition.clone());
    script.task_with(|_| None);
    script.begin_task();
    let started = i64::try_from(script.events.len()).unwrap();
    let mut replay = machine(definition);
    replay.feed(&script.events, started).unwrap();
    assert_eq!(replay.local_activities_to_start().len(), 1);
}

#[test]
fn a_failure_carries_why_and_a_cancellation_is_one() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let call = ctx.local_activity(DOUBLE, 1).start_to_close(SECOND);
        let error = call.await.unwrap_err();
        assert_eq!(error.error_type(), Some("No"));
        let waiting = ctx
            .local_activity(DOUBLE, 1)
            .start_to_close(SECOND)
            .on_cancel(ActivityCancellation::WaitCompleted)
            .start();
        waiting.cancel();
        assert!(waiting.await.unwrap_err().is_cancelled());
        let dropped = ctx.local_activity(DOUBLE, 1).start_to_close(SECOND).start();
        dropped.cancel();
        assert!(dropped.await.unwrap_err().is_cancelled());
        Ok(())
    }));
    let commands = script.task_with(|task| {
        Some(match task.sequence {
            1 => LocalActivityResult::Failed(failed(), RetryState::MaximumAttemptsReached),
            _ => LocalActivityResult::Cancelled(None),
        })
    });
    assert_eq!(
        shorts(&commands),
        [
            "RecordMarker core_local_activity",
            "RecordMarker core_local_activity",
            "CompleteWorkflowExecution"
        ]
    );
    assert!(marker(&commands[0]).failure.is_some());
    script.check_replay();
}

#[test]
fn a_long_backoff_is_a_timer_and_then_another_local_activity() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.local_activity(DOUBLE, 4).start_to_close(SECOND).await
    }));
    let minutes = Duration::from_secs(300);
    let commands = script.task_with(|_| Some(LocalActivityResult::Backoff(failed(), minutes)));
    assert_eq!(
        shorts(&commands),
        ["RecordMarker core_local_activity", "StartTimer 2"]
    );
    script.fire_timer("2");
    let commands = script.task_with(|task| {
        assert_eq!(task.activity.attempt, 2);
        doubled(task)
    });
    assert_eq!(short(&commands[1]), "CompleteWorkflowExecution 8");
    script.check_replay();
}

#[test]
fn the_clock_goes_on_with_each_end() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let before = ctx.now();
        ctx.local_activity(DOUBLE, 4).start_to_close(SECOND).await?;
        Ok(ctx.now().since(before) == SECOND / 2)
    }));
    let commands = script.task_with(doubled);
    assert_eq!(short(&commands[1]), "CompleteWorkflowExecution true");
    script.check_replay();
}

#[test]
fn code_that_calls_another_or_none_is_told() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.local_activity(DOUBLE, 4).start_to_close(SECOND).await
    }));
    script.task_with(doubled);
    let replay = |definition: Definition| -> TaskFailure {
        machine(definition).advance(&script.events, 0).unwrap_err()
    };
    let failure = replay(code(|ctx: WorkflowContext| async move {
        ctx.local_activity(CHARGE, 4).start_to_close(SECOND).await
    }));
    let text = failure.to_string();
    assert!(
        text.contains("event 5 is RecordMarker (core_local_activity, id \"1 double\")")
            && text.contains("asks for a local activity (charge"),
        "{text}"
    );
    let failure = replay(code(|ctx: WorkflowContext| async move {
        ctx.sleep(SECOND).await
    }));
    assert!(
        matches!(failure, TaskFailure::NonDeterminism(_)),
        "{failure}"
    );
}
