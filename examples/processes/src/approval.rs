//! An expense is paid when somebody approves it.
//!
//! The decision comes as a signal, from a web form or a chat bot by way of REST. Who does not answer in time is passed over for
//! the next in line.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fermata_worker::{ActivityContext, ActivityResult, WorkflowContext, WorkflowResult, select};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

pub const QUEUE: &str = "expenses";

/// Signal with a [`Decision`].
pub const DECIDE: &str = "decide";

/// Query for who is asked now.
pub const WAITING_FOR: &str = "waiting_for";

/// How long one attempt of a step may take.
const STEP: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Expense {
    pub what: String,
    pub cents: u64,
    /// Asked in this order.
    pub approvers: Vec<String>,
    /// How long each has; a day if not given.
    #[serde(default = "one_day")]
    pub deadline_seconds: u64,
}

pub const fn one_day() -> u64 {
    24 * 3600
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub by: String,
    pub is_approved: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Paid { approved_by: String },
    Rejected { by: String },
    Expired,
}

pub async fn approve_expense(ctx: WorkflowContext, expense: Expense) -> WorkflowResult<Outcome> {
    let waiting_for = Rc::new(RefCell::new(None));
    let asked = waiting_for.clone();
    ctx.on_query(WAITING_FOR, move |()| asked.borrow().clone());

    let mut decisions = ctx.signal::<Decision>(DECIDE);
    for approver in &expense.approvers {
        *waiting_for.borrow_mut() = Some(approver.clone());
        ctx.activity(ask, (approver.clone(), expense.clone()))
            .start_to_close(STEP)
            .await?;
        let deadline = Duration::from_secs(expense.deadline_seconds);
        let decision = select! {
            decision = decisions.select_next_some() => decision,
            late = ctx.sleep(deadline) => {
                late?;
                continue;
            }
        };
        *waiting_for.borrow_mut() = None;
        if !decision.is_approved {
            return Ok(Outcome::Rejected { by: decision.by });
        }
        ctx.activity(pay, expense.clone())
            .start_to_close(STEP)
            .await?;
        return Ok(Outcome::Paid {
            approved_by: decision.by,
        });
    }
    *waiting_for.borrow_mut() = None;
    Ok(Outcome::Expired)
}

pub async fn ask(
    _ctx: ActivityContext,
    (approver, expense): (String, Expense),
) -> ActivityResult<()> {
    tracing::info!(
        "mail to {approver}: approve {} for {} cents?",
        expense.what,
        expense.cents
    );
    Ok(())
}

pub async fn pay(_ctx: ActivityContext, expense: Expense) -> ActivityResult<()> {
    tracing::info!("paid {} cents for {}", expense.cents, expense.what);
    Ok(())
}
