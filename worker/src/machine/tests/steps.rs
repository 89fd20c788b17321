//! Activities, timers, conditions, tasks: the plain path.

use std::cell::RefCell;
use std::rc::Rc;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};

use super::script::*;
use crate::error::{ApplicationError, WorkflowError};
use crate::payload::from_payloads;
use crate::workflow::WorkflowContext;
use crate::{Activity, ContinueAsNew};

const CHARGE: Activity<i32, i32> = Activity::named("charge");
const SHIP: Activity<i32, i32> = Activity::named("ship");

#[test]
fn steps_follow_each_other_and_the_result_completes_the_workflow() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let charged = ctx.activity(CHARGE, 1).start_to_close(SECOND).await?;
        ctx.sleep(SECOND).await?;
        ctx.activity(SHIP, charged).start_to_close(SECOND).await
    }));
    assert_eq!(shorts(&script.task()), ["ScheduleActivityTask charge"]);
    script.complete_activity(0, &7);
    assert_eq!(shorts(&script.task()), ["StartTimer 2"]);
    script.fire_timer("2");
    assert_eq!(shorts(&script.task()), ["ScheduleActivityTask ship"]);
    script.complete_activity(1, &8);
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution 8"]);
    script.check_replay();
}

#[test]
fn steps_side_by_side_are_asked_for_in_one_task_and_end_in_any_order() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let mut all: FuturesUnordered<_> = (0..3)
            .map(|n| ctx.activity(CHARGE, n).start_to_close(SECOND).start())
            .collect();
        let mut order = Vec::new();
        while let Some(result) = all.next().await {
            order.push(result?);
        }
        Ok(order)
    }));
    assert_eq!(script.task().len(), 3);
    script.complete_activity(2, &2);
    script.complete_activity(0, &0);
    assert!(script.task().is_empty());
    script.complete_activity(1, &1);
    assert_eq!(
        shorts(&script.task()),
        ["CompleteWorkflowExecution [2,0,1]"]
    );
    script.check_replay();
}

#[test]
fn the_first_of_two_wins_and_a_dropped_timer_is_cancelled() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let mut charge = ctx.activity(CHARGE, 1).start_to_close(SECOND).start();
        let mut timer = ctx.sleep(SECOND);
        let text = crate::select! {
            charged = charge => format!("charged {}", charged?),
            _ = timer => "too late".to_owned(),
        };
        drop(timer);
        ctx.activity(SHIP, 1).start_to_close(SECOND).await?;
        Ok(text)
    }));
    assert_eq!(
        shorts(&script.task()),
        ["ScheduleActivityTask charge", "StartTimer 2"]
    );
    script.complete_activity(0, &7);
    assert_eq!(
        shorts(&script.task()),
        ["CancelTimer 2", "ScheduleActivityTask ship"]
    );
    script.complete_activity(1, &8);
    assert_eq!(
        shorts(&script.task()),
        [r#"CompleteWorkflowExecution "charged 7""#]
    );
    script.check_replay();
}

#[test]
fn what_is_taken_back_in_the_same_task_is_never_sent() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        drop(ctx.sleep(SECOND));
        let charge = ctx.activity(CHARGE, 1).start_to_close(SECOND).start();
        charge.cancel();
        assert!(charge.await.unwrap_err().is_cancelled());
        ctx.sleep(SECOND).await
    }));
    assert_eq!(shorts(&script.task()), ["StartTimer 3"]);
    script.check_replay();
}

#[test]
fn a_failed_activity_fails_the_workflow_with_its_cause_or_is_handled() {
    let run = |handled: bool| {
        let mut script = Script::of(code(move |ctx: WorkflowContext| async move {
            match ctx.activity(CHARGE, 1).start_to_close(SECOND).await {
                Err(error) if handled => {
                    assert_eq!(error.error_type(), Some("CardExpired"));
                    Ok(0)
                }
                result => result,
            }
        }));
        script.task();
        script.fail_activity(0, "CardExpired");
        let commands = script.task();
        script.check_replay();
        commands
    };
    assert_eq!(shorts(&run(true)), ["CompleteWorkflowExecution 0"]);
    let failed = run(false);
    assert_eq!(
        shorts(&failed),
        ["FailWorkflowExecution activity charge failed"]
    );
    let Some(fermata_proto::command::CommandAttributes::FailWorkflowExecution(attributes)) =
        &failed[0].attributes
    else {
        panic!("no failure");
    };
    let failure = attributes.failure.clone().unwrap();
    assert_eq!(failure.cause.unwrap().message, "broken");
}

#[test]
fn an_error_of_the_code_fails_the_workflow_and_a_panic_only_the_task() {
    let mut failing = Script::of(code(|_| async {
        Err::<(), _>(ApplicationError::new("no").with_type("No").into())
    }));
    assert_eq!(shorts(&failing.task()), ["FailWorkflowExecution no"]);
    let mut panicking = Script::of(code(|ctx: WorkflowContext| async move {
        if ctx.history_length() > 0 {
            panic!("at {}", 3);
        }
        Ok(())
    }));
    let failure = panicking.try_task().unwrap_err();
    assert_eq!(failure.to_string(), "the workflow code panicked: at 3");
    let mut refusing = Script::of(code(|_| async {
        Err::<(), _>(WorkflowError::task_failed("wait for a fix"))
    }));
    assert_eq!(
        refusing.try_task().unwrap_err().to_string(),
        "wait for a fix"
    );
}

#[test]
fn an_activity_without_a_time_out_fails_the_task_with_a_hint() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.activity(CHARGE, 1).await
    }));
    let failure = script.try_task().unwrap_err().to_string();
    assert!(failure.contains("set start_to_close"), "{failure}");
}

#[test]
fn conditions_are_looked_at_again_whenever_the_code_has_moved() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let count = Rc::new(RefCell::new(0));
        for _ in 0..2 {
            let (task_ctx, count) = (ctx.clone(), count.clone());
            ctx.spawn(async move {
                task_ctx
                    .activity(CHARGE, 1)
                    .start_to_close(SECOND)
                    .await
                    .unwrap();
                *count.borrow_mut() += 1;
            });
        }
        ctx.wait_until(|| *count.borrow() == 2).await?;
        // True at once: needs no further event.
        ctx.wait_until(|| *count.borrow() > 1).await?;
        let count = *count.borrow();
        Ok(count)
    }));
    assert_eq!(script.task().len(), 2);
    script.complete_activity(0, &0);
    assert!(script.task().is_empty());
    script.complete_activity(1, &0);
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution 2"]);
    script.check_replay();
}

#[test]
fn waiting_with_a_bound_gives_up_when_the_timer_fires() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.wait_until_timeout(SECOND, || false).await
    }));
    assert_eq!(shorts(&script.task()), ["StartTimer 1"]);
    script.fire_timer("1");
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution false"]);
    script.check_replay();
}

#[test]
fn time_and_randomness_are_the_same_in_a_replay() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let (before, random, uuid) = (ctx.now(), ctx.random(), ctx.uuid());
        ctx.sleep(SECOND).await?;
        Ok((before, random, uuid, ctx.now(), ctx.random_u64()))
    }));
    script.task();
    script.fire_timer("1");
    let commands = script.task();
    assert!(shorts(&commands)[0].contains("3000000000"), "{commands:?}");
    script.check_replay();
}

#[test]
fn tasks_that_failed_or_timed_out_leave_no_trace() {
    let definition = code(|ctx: WorkflowContext| async move {
        ctx.sleep(SECOND).await?;
        Ok(())
    });
    let mut script = Script::of(definition);
    script.event(fermata_proto::event::WorkflowTaskScheduledEventAttributes::default());
    script.event(fermata_proto::event::WorkflowTaskStartedEventAttributes::default());
    script.event(fermata_proto::event::WorkflowTaskFailedEventAttributes::default());
    assert_eq!(shorts(&script.task()), ["StartTimer 1"]);
    script.fire_timer("1");
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution"]);
    script.check_replay();
}

#[test]
fn continue_as_new_closes_the_run_with_the_next_input() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.upsert_memo("kept", &"yes")?;
        ctx.upsert_memo("gone", &"no")?;
        ctx.upsert_memo("gone", &None::<String>)?;
        assert_eq!(ctx.memo("kept")?, Some("yes".to_owned()));
        let next: ContinueAsNew = ctx.continue_as_new(&41);
        Err::<(), _>(next.into())
    }));
    let commands = script.task();
    let Some(fermata_proto::command::CommandAttributes::ContinueAsNewWorkflowExecution(next)) =
        &commands[3].attributes
    else {
        panic!("{commands:?}");
    };
    assert_eq!(from_payloads::<i32>(next.input.as_ref()).unwrap(), 41);
    assert_eq!(next.workflow_type.as_ref().unwrap().name, "test");
    assert_eq!(next.task_queue.as_ref().unwrap().name, "queue");
    let memo = &next.memo.as_ref().unwrap().fields;
    assert_eq!(memo.keys().collect::<Vec<_>>(), ["kept"]);
    script.check_replay();
}

#[test]
fn a_dropped_run_leaves_nothing_behind() {
    let held = std::sync::Arc::new(());
    let in_code = held.clone();
    let mut script = Script::of(code(move |ctx: WorkflowContext| {
        let held = in_code.clone();
        async move {
            // A handler that holds a context that holds the handler.
            let (own, for_query) = (ctx.clone(), held.clone());
            ctx.on_query("now", move |()| {
                let _ = &for_query;
                own.now()
            });
            let never = ctx.sleep(SECOND);
            futures::future::pending::<()>().await;
            let _ = (held, never.now_or_never());
            Ok(())
        }
    }));
    script.task();
    drop(script);
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
}
