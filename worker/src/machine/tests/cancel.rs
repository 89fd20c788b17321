//! Cancelling steps, and the workflow.

use super::script::*;
use crate::machine::ActivityCancellation;
use crate::workflow::WorkflowContext;
use crate::{Activity, WorkflowError};

const CHARGE: Activity<i32, i32> = Activity::named("charge");
const REFUND: Activity<i32, i32> = Activity::named("refund");

#[test]
fn a_cancelled_workflow_cancels_its_steps_and_ends_as_canceled() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.activity(CHARGE, 1).start_to_close(SECOND).await
    }));
    script.task();
    script.request_cancel();
    assert_eq!(
        shorts(&script.task()),
        ["RequestCancelActivityTask 5", "CancelWorkflowExecution"]
    );
    script.check_replay();
}

#[test]
fn a_shielded_context_undoes_what_was_done() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let error = ctx.sleep(SECOND).await.unwrap_err();
        assert!(error.is_cancelled());
        // An ordinary step is cancelled from the start now.
        let refused = ctx.activity(CHARGE, 1).start_to_close(SECOND).await;
        assert!(refused.unwrap_err().is_cancelled());
        let shielded = ctx.shielded();
        shielded.activity(REFUND, 1).start_to_close(SECOND).await?;
        Err::<(), WorkflowError>(error)
    }));
    script.task();
    script.request_cancel();
    assert_eq!(
        shorts(&script.task()),
        ["CancelTimer 1", "ScheduleActivityTask refund"]
    );
    script.complete_activity(0, &0);
    assert_eq!(shorts(&script.task()), ["CancelWorkflowExecution"]);
    script.check_replay();
}

#[test]
fn a_step_that_ends_before_the_cancel_is_seen_is_not_cancelled() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let charged = ctx.activity(CHARGE, 1).start_to_close(SECOND).await?;
        Ok((charged, ctx.is_cancel_requested()))
    }));
    script.task();
    script.request_cancel();
    script.complete_activity(0, &7);
    assert_eq!(
        shorts(&script.task()),
        ["CompleteWorkflowExecution [7,true]"]
    );
    script.check_replay();
}

#[test]
fn waiting_for_the_cancellation_takes_what_the_activity_says() {
    let run = |completes: bool| {
        let mut script = Script::of(code(|ctx: WorkflowContext| async move {
            let charge = ctx
                .activity(CHARGE, 1)
                .start_to_close(SECOND)
                .on_cancel(ActivityCancellation::WaitCompleted)
                .start();
            ctx.sleep(SECOND).await?;
            charge.cancel();
            charge.await
        }));
        script.task();
        script.fire_timer("2");
        assert_eq!(shorts(&script.task()), ["RequestCancelActivityTask 5"]);
        if completes {
            script.complete_activity(0, &7);
        } else {
            script.activity_canceled(0);
        }
        let commands = script.task();
        script.check_replay();
        shorts(&commands)
    };
    assert_eq!(run(true), ["CompleteWorkflowExecution 7"]);
    // Nobody asked the workflow itself to cancel: it has failed.
    assert_eq!(run(false), ["FailWorkflowExecution activity charge failed"]);
}

#[test]
fn an_abandoned_activity_is_not_asked_to_stop_and_its_end_is_ignored() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let charge = ctx
            .activity(CHARGE, 1)
            .start_to_close(SECOND)
            .on_cancel(ActivityCancellation::Abandon)
            .start();
        ctx.sleep(SECOND).await?;
        charge.cancel();
        assert!(charge.await.unwrap_err().is_cancelled());
        ctx.sleep(SECOND).await
    }));
    script.task();
    script.fire_timer("2");
    assert_eq!(shorts(&script.task()), ["StartTimer 3"]);
    script.complete_activity(0, &7);
    assert!(script.task().is_empty());
    script.fire_timer("3");
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution"]);
    script.check_replay();
}

#[test]
fn code_may_wait_for_the_request_itself() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        Ok(ctx.cancelled().await)
    }));
    script.task();
    script.request_cancel();
    assert_eq!(
        shorts(&script.task()),
        [r#"CompleteWorkflowExecution "enough""#]
    );
    script.check_replay();
}
