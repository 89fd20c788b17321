//! Updates.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use fermata_proto::event::WorkflowExecutionUpdateAdmittedEventAttributes;

use super::script::*;
use crate::error::{ApplicationError, WorkflowError, WorkflowResult};
use crate::machine::{Definition, TaskFailure};
use crate::workflow::WorkflowContext;

/// Sums up what `add` brings, after a timer each; `add` takes no negative numbers. Ends at ten.
fn cart() -> Definition {
    code(|ctx: WorkflowContext| async move {
        let total = Rc::new(Cell::new(0));
        let sum = total.clone();
        let add = move |ctx: WorkflowContext, amount: i64| {
            let sum = sum.clone();
            async move {
                ctx.sleep(SECOND).await?;
                sum.set(sum.get() + amount);
                if amount == 13 {
                    return Err(ApplicationError::new("unlucky").into());
                }
                Ok(format!("{} by {}", sum.get(), ctx.update_id().unwrap()))
            }
        };
        ctx.on_update("add", add).validator(|amount: &i64| {
            if *amount < 0 {
                return Err(ApplicationError::new("no negative amounts"));
            }
            Ok(())
        });
        ctx.wait_until(|| total.get() >= 10 && ctx.all_handlers_finished())
            .await?;
        Ok(total.get())
    })
}

#[test]
fn an_update_is_accepted_runs_beside_the_code_and_answers() {
    let mut script = Script::of(cart());
    assert!(script.task().is_empty());
    script.update("u1", "add", &4);
    let begun = ["ProtocolMessage u1/accept", "StartTimer 1"];
    assert_eq!(shorts(&script.task()), begun);
    assert_eq!(script.heard(), ["accept u1"]);
    // Another one while the first one waits.
    script.update("u2", "add", &13);
    let begun = ["ProtocolMessage u2/accept", "StartTimer 2"];
    assert_eq!(shorts(&script.task()), begun);
    script.fire_timer("1");
    assert_eq!(shorts(&script.task()), ["ProtocolMessage u1/complete"]);
    assert_eq!(script.heard(), ["complete u1: \"4 by u1\""]);
    script.fire_timer("2");
    let last = [
        "ProtocolMessage u2/complete",
        "CompleteWorkflowExecution 17",
    ];
    assert_eq!(shorts(&script.task()), last);
    assert_eq!(script.heard(), ["fail u2: unlucky"]);
    script.check_replay();
}

#[test]
fn a_refused_update_leaves_neither_command_nor_trace() {
    let mut script = Script::of(cart());
    script.task();
    script.update("u1", "add", &-1);
    script.vanishing_task();
    assert_eq!(script.heard(), ["reject u1: no negative amounts"]);
    script.update("u2", "add", &"no number");
    script.update("u3", "remove", &1);
    script.vanishing_task();
    let heard = script.heard();
    assert!(
        heard[0].starts_with("reject u2: read i64 from"),
        "{heard:?}"
    );
    assert_eq!(
        heard[1],
        "reject u3: unknown update \"remove\"; this workflow takes [add]"
    );
    // The cached run goes on where history does.
    script.update("u4", "add", &10);
    script.task();
    script.fire_timer("1");
    script.task();
    assert_eq!(script.heard(), ["complete u4: \"10 by u4\""]);
    script.check_replay();
}

#[test]
fn an_update_of_the_first_task_waits_for_its_handler() {
    let mut script = Script::of(cart());
    script.update("u1", "add", &10);
    assert_eq!(
        shorts(&script.task()),
        ["ProtocolMessage u1/accept", "StartTimer 1"]
    );
    script.fire_timer("1");
    script.task();
    script.check_replay();
}

#[test]
fn a_handler_begins_before_the_code_that_waits_and_sees_signals_of_its_task() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (by_signal, by_update) = (seen.clone(), seen.clone());
        ctx.on_signal("note", move |text: String| {
            by_signal.borrow_mut().push(text)
        });
        ctx.on_update("note", move |_, text: String| {
            by_update.borrow_mut().push(text);
            async { Ok(()) }
        });
        ctx.wait_until(|| seen.borrow().len() == 2).await?;
        Ok(seen.take())
    }));
    script.task();
    script.update("u1", "note", &"update");
    script.signal("note", &"signal");
    let closing = "CompleteWorkflowExecution [\"signal\",\"update\"]";
    let commands = [
        "ProtocolMessage u1/accept",
        "ProtocolMessage u1/complete",
        closing,
    ];
    assert_eq!(shorts(&script.task()), commands);
    assert_eq!(script.heard(), ["accept u1", "complete u1: "]);
    script.check_replay();
}

#[test]
fn a_validator_only_looks_and_its_panic_is_a_refusal() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let own = ctx.clone();
        let nothing = |_, ()| async { Ok(()) };
        ctx.on_update("greedy", nothing).validator(move |()| {
            own.random();
            Ok::<(), ApplicationError>(())
        });
        ctx.on_update("bad", nothing)
            .validator(|()| -> WorkflowResult<()> { panic!("cannot say") });
        futures::future::pending::<()>().await;
        Ok(())
    }));
    script.task();
    script.update("u1", "greedy", &());
    script.update("u2", "bad", &());
    assert!(script.task().is_empty());
    let heard = script.heard();
    assert!(heard[0].contains("only looks"), "{heard:?}");
    assert_eq!(heard[1], "reject u2: the validator panicked: cannot say");
    script.check_replay();
}

#[test]
fn a_handler_that_fails_the_task_fails_it_and_may_not_continue_as_new() {
    let definition = code(|ctx: WorkflowContext| async move {
        ctx.on_update("mend", |_, ()| async {
            Err::<(), _>(WorkflowError::task_failed("not yet"))
        });
        ctx.on_update("anew", |ctx: WorkflowContext, ()| async move {
            Err::<(), _>(ctx.continue_as_new(&()).into())
        });
        futures::future::pending::<()>().await;
        Ok(())
    });
    for (name, text) in [
        ("mend", "not yet"),
        ("anew", "only the workflow itself can"),
    ] {
        let mut script = Script::of(definition.clone());
        script.update("u1", name, &());
        let failure = script.try_task().unwrap_err();
        assert!(failure.to_string().contains(text), "{failure}");
    }
}

#[test]
fn an_update_that_a_reset_carries_over_comes_by_its_event() {
    let mut script = Script::of(cart());
    script.event(WorkflowExecutionUpdateAdmittedEventAttributes {
        request: Some(request("u1", "add", &10)),
        ..Default::default()
    });
    assert_eq!(
        shorts(&script.task()),
        ["ProtocolMessage u1/accept", "StartTimer 1"]
    );
    script.fire_timer("1");
    script.task();
    assert_eq!(script.heard(), ["complete u1: \"10 by u1\""]);
    script.check_replay();
}

#[test]
fn one_that_was_refused_after_a_reset_is_not_asked_again() {
    let mut script = Script::of(cart());
    script.event(WorkflowExecutionUpdateAdmittedEventAttributes {
        request: Some(request("u1", "add", &-1)),
        ..Default::default()
    });
    assert!(script.task().is_empty());
    assert_eq!(script.heard(), ["reject u1: no negative amounts"]);
    script.update("u2", "add", &10);
    script.task();
    assert_eq!(script.heard(), ["accept u2"]);
    script.check_replay();
}

#[test]
fn code_without_the_handler_does_not_replay_what_it_accepted() {
    let mut script = Script::of(cart());
    script.task();
    script.update("u1", "add", &1);
    script.task();
    script.fire_timer("1");
    script.task();
    let other = code(|ctx: WorkflowContext| async move {
        ctx.wait_until(|| false).await?;
        Ok(())
    });
    let replayed = machine(other).advance(&script.events, 0);
    let Err(TaskFailure::NonDeterminism(found)) = replayed else {
        panic!("it replayed");
    };
    assert!(found.to_string().contains("update accepted"), "{found}");
}
