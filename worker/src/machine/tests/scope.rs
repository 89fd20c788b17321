//! Cancellation scopes and sagas.

use super::script::*;
use crate::error::{ApplicationError, WorkflowError};
use crate::workflow::{Saga, SagaError, WorkflowContext};
use crate::{Activity, WorkflowResult};

const SEARCH: Activity<i32, i32> = Activity::named("search");
const BOOK: Activity<i32, i32> = Activity::named("book");
const UNBOOK: Activity<i32, ()> = Activity::named("unbook");

#[test]
fn a_scope_is_cancelled_with_all_within_it_and_nothing_else() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let outer = ctx.scope();
        let inner = outer.scope();
        let kept = outer.shielded_scope();
        let search =
            |of: &WorkflowContext, n| of.activity(SEARCH, n).start_to_close(SECOND).start();
        let in_outer = search(&outer, 1);
        let in_inner = inner.sleep(SECOND * 9);
        let in_kept = kept.sleep(SECOND * 5);
        let beside = ctx.sleep(SECOND);
        beside.await?;
        outer.cancel();
        assert!(in_outer.await.unwrap_err().is_cancelled());
        assert!(in_inner.await.unwrap_err().is_cancelled());
        assert!(inner.sleep(SECOND).await.unwrap_err().is_cancelled());
        assert!(inner.wait_until(|| false).await.unwrap_err().is_cancelled());
        inner.cancelled().await;
        assert!(inner.is_cancelled() && !kept.is_cancelled() && !ctx.is_cancel_requested());
        in_kept.await
    }));
    assert_eq!(
        shorts(&script.task()),
        [
            "ScheduleActivityTask search",
            "StartTimer 2",
            "StartTimer 3",
            "StartTimer 4"
        ]
    );
    script.fire_timer("4");
    let commands = script.task();
    assert_eq!(
        shorts(&commands),
        ["RequestCancelActivityTask 5", "CancelTimer 2"]
    );
    script.fire_timer("3");
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution"]);
    script.check_replay();
}

#[test]
fn a_waiter_in_a_scope_wakes_when_another_task_cancels_it() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let scope = ctx.scope();
        let waiting = scope.context();
        let waiter = ctx.spawn(async move { waiting.wait_until(|| false).await.is_err() });
        let listening = scope.context();
        let listener =
            ctx.spawn(async move { listening.signal::<i32>("never").wait().await.is_err() });
        ctx.sleep(SECOND).await?;
        scope.cancel();
        Ok((waiter.await, listener.await))
    }));
    script.task();
    script.fire_timer("1");
    assert_eq!(
        shorts(&script.task()),
        ["CompleteWorkflowExecution [true,true]"]
    );
    script.check_replay();
}

#[test]
fn a_scope_goes_down_with_the_workflow_and_a_shielded_one_does_not() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let scope = ctx.scope();
        let shielded = ctx.shielded_scope();
        let timer = scope.sleep(SECOND);
        let undo = shielded.sleep(SECOND);
        assert!(timer.await.unwrap_err().is_cancelled());
        undo.await
    }));
    script.task();
    script.request_cancel();
    assert_eq!(shorts(&script.task()), ["CancelTimer 1"]);
    script.fire_timer("2");
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution"]);
    script.check_replay();
}

async fn journey(ctx: WorkflowContext) -> WorkflowResult<()> {
    let mut saga = Saga::new(&ctx);
    for stop in 1..=2 {
        let booking = ctx.activity(BOOK, stop).start_to_close(SECOND).await?;
        saga.add(format!("unbook {stop}"), move |ctx| async move {
            ctx.activity(UNBOOK, booking).start_to_close(SECOND).await
        });
    }
    let cause = ApplicationError::new("sold out").with_type("SoldOut");
    let error = saga.undo(WorkflowError::from(cause)).await;
    Err(error)
}

fn booked() -> Script {
    let mut script = Script::of(code(journey));
    script.task();
    script.complete_activity(0, &1);
    script.task();
    script.complete_activity(1, &2);
    assert_eq!(shorts(&script.task()), ["ScheduleActivityTask unbook"]);
    script
}

#[test]
fn a_saga_undoes_in_reverse_order_and_gives_the_cause() {
    let mut script = booked();
    script.complete_activity(2, &());
    assert_eq!(shorts(&script.task()), ["ScheduleActivityTask unbook"]);
    script.complete_activity(3, &());
    assert_eq!(shorts(&script.task()), ["FailWorkflowExecution sold out"]);
    script.check_replay();
}

#[test]
fn a_compensation_that_fails_does_not_stop_the_others_and_is_told() {
    let mut script = booked();
    script.fail_activity(2, "Stuck");
    assert_eq!(shorts(&script.task()), ["ScheduleActivityTask unbook"]);
    script.complete_activity(3, &());
    let commands = script.task();
    let text = short(&commands[0]);
    assert!(
        text.contains("because of \"sold out\": unbook 2 failed (activity unbook failed: broken)"),
        "{text}"
    );
    script.check_replay();
    let _: fn(&SagaError) -> &[(String, WorkflowError)] = SagaError::failures;
}
