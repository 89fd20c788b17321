//! Code that does not do what history says it did.

use fermata_proto::enums::WorkflowTaskFailedCause;
use fermata_proto::event::ActivityTaskScheduledEventAttributes;

use super::script::*;
use crate::Activity;
use crate::machine::{Definition, TaskFailure};
use crate::workflow::WorkflowContext;

const CHARGE: Activity<i32, i32> = Activity::named("charge");
const REFUND: Activity<i32, i32> = Activity::named("refund");

/// A history of one activity and one timer.
fn history() -> Script {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.activity(CHARGE, 1).start_to_close(SECOND).await?;
        ctx.sleep(SECOND).await
    }));
    script.task();
    script.complete_activity(0, &1);
    script.task();
    script.check_replay();
    script
}

/// The message without the advice.
fn said(failure: &TaskFailure) -> String {
    failure.to_string().split("; ").next().unwrap().to_owned()
}

fn replay(definition: Definition) -> TaskFailure {
    let script = history();
    let failure = super::script::machine(definition)
        .advance(&script.events, 0)
        .unwrap_err();
    assert!(failure.to_string().contains("ctx.patched"), "{failure}");
    assert_eq!(
        failure.cause(),
        WorkflowTaskFailedCause::NonDeterministicError
    );
    failure
}

#[test]
fn another_activity_is_told_with_event_and_command() {
    let failure = replay(code(|ctx: WorkflowContext| async move {
        ctx.activity(REFUND, 1).start_to_close(SECOND).await
    }));
    assert_eq!(
        said(&failure),
        r#"nondeterminism: history event 5 is ScheduleActivityTask (charge, id "1"), but replaying the workflow code asks for ScheduleActivityTask (refund, id "1") here"#
    );
}

#[test]
fn another_kind_of_step_is_told() {
    let failure = replay(code(|ctx: WorkflowContext| async move {
        ctx.sleep(SECOND).await
    }));
    assert!(
        failure.to_string().contains("asks for StartTimer"),
        "{failure}"
    );
}

#[test]
fn a_step_less_is_told() {
    let failure = replay(code(|ctx: WorkflowContext| async move {
        ctx.wait_until(|| false).await
    }));
    assert!(
        said(&failure).ends_with("asks for nothing more here"),
        "{failure}"
    );
}

#[test]
fn a_step_more_is_told() {
    let failure = replay(code(|ctx: WorkflowContext| async move {
        let second = ctx.activity(REFUND, 1).start_to_close(SECOND).start();
        ctx.activity(CHARGE, 1).start_to_close(SECOND).await?;
        second.await
    }));
    assert!(failure.to_string().contains("refund"), "{failure}");
    let script = history();
    let failure = super::script::machine(code(|ctx: WorkflowContext| async move {
        let charge = ctx.activity(CHARGE, 1).start_to_close(SECOND).start();
        let _second = ctx.activity(REFUND, 1).start_to_close(SECOND).start();
        charge.await
    }))
    .advance(&script.events, 0)
    .unwrap_err();
    assert_eq!(
        said(&failure),
        r#"nondeterminism: replaying the workflow code asks for ScheduleActivityTask (refund, id "2"), but history goes on without it at event 9"#
    );
}

#[test]
fn code_that_ends_too_early_is_told() {
    let failure = replay(code(|ctx: WorkflowContext| async move {
        ctx.activity(CHARGE, 1).start_to_close(SECOND).await
    }));
    assert!(
        failure
            .to_string()
            .contains("asks for CompleteWorkflowExecution"),
        "{failure}"
    );
}

#[test]
fn an_event_out_of_turn_is_a_gap() {
    let script = history();
    let mut machine = super::script::machine(code(|ctx: WorkflowContext| async move {
        ctx.activity(CHARGE, 1).start_to_close(SECOND).await
    }));
    let failure = machine.advance(&script.events[1..], 0).unwrap_err();
    assert!(matches!(
        failure,
        TaskFailure::Gap {
            expected: 1,
            found: 2
        }
    ));
}

#[test]
fn a_command_event_that_nobody_asked_for_is_told() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.wait_until(|| false).await
    }));
    script.task();
    script.event(ActivityTaskScheduledEventAttributes {
        activity_id: "7".to_owned(),
        activity_type: activity_type("stray"),
        ..Default::default()
    });
    let failure = script.try_task().unwrap_err();
    assert!(failure.to_string().contains("stray"), "{failure}");
}
