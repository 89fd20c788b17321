//! Children and other workflows.

use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::*;
use fermata_proto::event::*;

use super::script::*;
use crate::payload::to_payloads;
use crate::workflow::WorkflowContext;
use crate::{ChildCancellation, Workflow};

const SHIPMENT: Workflow<i32, i32> = Workflow::named("shipment");

fn initiated(script: &Script) -> i64 {
    script.find(
        |a| {
            matches!(
                a,
                HistoryEventAttributes::StartChildWorkflowExecutionInitiated(_)
            )
        },
        0,
    )
}

fn start_child(script: &mut Script) {
    let initiated_event_id = initiated(script);
    script.event(ChildWorkflowExecutionStartedEventAttributes {
        initiated_event_id,
        workflow_execution: Some(WorkflowExecution {
            workflow_id: "child".to_owned(),
            run_id: "child-run".to_owned(),
        }),
        ..Default::default()
    });
}

fn complete_child(script: &mut Script) {
    let initiated_event_id = initiated(script);
    script.event(ChildWorkflowExecutionCompletedEventAttributes {
        initiated_event_id,
        result: to_payloads(&7).unwrap(),
        ..Default::default()
    });
}

#[test]
fn a_child_is_started_signalled_and_awaited() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let child = ctx.child(SHIPMENT, 1).id("child").start().await?;
        assert_eq!(child.run_id(), "child-run");
        child.signal("hurry", &1).await?;
        child.result().await
    }));
    assert_eq!(
        shorts(&script.task()),
        ["StartChildWorkflowExecution child"]
    );
    start_child(&mut script);
    assert_eq!(
        shorts(&script.task()),
        ["SignalExternalWorkflowExecution hurry"]
    );
    let signal = script.find(
        |a| {
            matches!(
                a,
                HistoryEventAttributes::SignalExternalWorkflowExecutionInitiated(_)
            )
        },
        0,
    );
    script.event(ExternalWorkflowExecutionSignaledEventAttributes {
        initiated_event_id: signal,
        ..Default::default()
    });
    complete_child(&mut script);
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution 7"]);
    script.check_replay();
}

#[test]
fn a_child_that_cannot_start_fails_its_step() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let error = ctx.child(SHIPMENT, 1).id("child").await.unwrap_err();
        Ok(error.error_type().map(str::to_owned))
    }));
    script.task();
    let initiated_event_id = initiated(&script);
    script.event(StartChildWorkflowExecutionFailedEventAttributes {
        initiated_event_id,
        cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
        ..Default::default()
    });
    assert_eq!(
        shorts(&script.task()),
        [r#"CompleteWorkflowExecution "WorkflowExecutionAlreadyStarted""#]
    );
    script.check_replay();
}

#[test]
fn a_cancelled_workflow_cancels_its_child_and_waits_for_it() {
    let run = |cancellation: ChildCancellation| {
        let mut script = Script::of(code(move |ctx: WorkflowContext| async move {
            ctx.child(SHIPMENT, 1)
                .id("child")
                .on_cancel(cancellation)
                .await
        }));
        script.task();
        start_child(&mut script);
        script.task();
        script.request_cancel();
        let commands = shorts(&script.task());
        if commands.len() == 1 && cancellation == ChildCancellation::WaitCompleted {
            let initiated_event_id = initiated(&script);
            script.event(ChildWorkflowExecutionCanceledEventAttributes {
                initiated_event_id,
                ..Default::default()
            });
            assert_eq!(shorts(&script.task()), ["CancelWorkflowExecution"]);
        }
        script.check_replay();
        commands
    };
    let cancel = "RequestCancelExternalWorkflowExecution child";
    assert_eq!(run(ChildCancellation::WaitCompleted), [cancel]);
    assert_eq!(
        run(ChildCancellation::TryCancel),
        [cancel, "CancelWorkflowExecution"]
    );
    assert_eq!(run(ChildCancellation::Abandon), ["CancelWorkflowExecution"]);
}

#[test]
fn a_child_without_an_id_gets_the_same_one_in_every_replay() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.child(SHIPMENT, 1).await
    }));
    script.task();
    script.check_replay();
}

#[test]
fn signalling_nobody_is_an_error_that_says_so() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let error = ctx.external("gone").signal("hello", &()).await.unwrap_err();
        assert_eq!(error.error_type(), Some("WorkflowNotFound"));
        ctx.external("other").cancel("enough").await
    }));
    script.task();
    let signal = i64::try_from(script.events.len()).unwrap();
    script.event(SignalExternalWorkflowExecutionFailedEventAttributes {
        initiated_event_id: signal,
        cause: SignalExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound,
        ..Default::default()
    });
    assert_eq!(
        shorts(&script.task()),
        ["RequestCancelExternalWorkflowExecution other"]
    );
    let cancel = i64::try_from(script.events.len()).unwrap();
    script.event(ExternalWorkflowExecutionCancelRequestedEventAttributes {
        initiated_event_id: cancel,
        ..Default::default()
    });
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution"]);
    script.check_replay();
}
