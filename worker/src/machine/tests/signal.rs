//! Signals and queries.

use std::cell::RefCell;
use std::rc::Rc;

use super::script::*;
use crate::payload::from_payloads;
use crate::workflow::WorkflowContext;

#[test]
fn signals_come_in_order_those_included_that_came_first() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let mut numbers = ctx.signal::<i32>("number");
        let mut all = Vec::new();
        while all.len() < 3 {
            all.push(numbers.wait().await?);
        }
        Ok(all)
    }));
    script.signal("number", &1);
    assert!(script.task().is_empty());
    script.signal("number", &"not a number");
    script.signal("other", &9);
    script.signal("number", &2);
    script.signal("number", &3);
    assert_eq!(
        shorts(&script.task()),
        ["CompleteWorkflowExecution [1,2,3]"]
    );
    script.check_replay();
}

#[test]
fn a_handler_changes_state_that_conditions_and_queries_see() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        let address = Rc::new(RefCell::new("old".to_owned()));
        let (changed, asked) = (address.clone(), address.clone());
        ctx.on_signal("move", move |to: String| *changed.borrow_mut() = to);
        ctx.on_query("address", move |()| asked.borrow().clone());
        ctx.wait_until(|| *address.borrow() == "new").await?;
        Ok(())
    }));
    script.task();
    let before: String = from_payloads(script.query("address").unwrap().as_ref()).unwrap();
    script.signal("move", &"new");
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution"]);
    let after: String = from_payloads(script.query("address").unwrap().as_ref()).unwrap();
    assert_eq!((&*before, &*after), ("old", "new"));
    script.check_replay();
}

#[test]
fn an_unknown_query_names_the_known_ones_and_a_panic_is_an_answer() {
    let mut script = Script::of(code(|ctx: WorkflowContext| async move {
        ctx.on_query("bad", |()| -> i32 { panic!("cannot say") });
        let own = ctx.clone();
        ctx.on_query("greedy", move |()| own.random());
        futures::future::pending::<()>().await;
        Ok(())
    }));
    script.task();
    let unknown = script.query("good").unwrap_err();
    assert!(
        unknown.message.contains("[bad, greedy]"),
        "{}",
        unknown.message
    );
    let panicked = script.query("bad").unwrap_err();
    assert!(panicked.message.contains("cannot say"));
    let greedy = script.query("greedy").unwrap_err();
    assert!(greedy.message.contains("only looks"), "{}", greedy.message);
}
