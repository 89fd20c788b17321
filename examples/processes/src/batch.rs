//! The month's bills: a child workflow for each customer, a few at a time.
//!
//! A child has a history of its own: it can be looked at, retried and cancelled by itself, and the batch's own history stays
//! short. For millions, let `bill_customers` continue as new after each thousand.

use std::time::Duration;

use fermata_worker::{
    ActivityContext, ActivityResult, ApplicationError, WorkflowContext, WorkflowResult,
};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

pub const QUEUE: &str = "billing";

/// How long one attempt of a step may take.
const STEP: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batch {
    pub bills: Vec<Bill>,
    /// How many children run at a time.
    pub at_once: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bill {
    pub customer: String,
    pub cents: u64,
    /// For trying out: the card is declined.
    #[serde(default)]
    pub is_declined: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub billed_cents: u64,
    /// Customers, and why they could not be billed.
    pub failed: Vec<(String, String)>,
}

pub async fn bill_customers(ctx: WorkflowContext, batch: Batch) -> WorkflowResult<Report> {
    let children = batch.bills.into_iter().map(|bill| {
        let customer = bill.customer.clone();
        let id = format!("{}/{customer}", ctx.info().workflow_id);
        let child = ctx.child(bill_customer, bill).id(id);
        async move { (customer, child.await) }
    });
    // No more than `at_once` are started before the first of them has ended.
    let mut ended = stream::iter(children).buffered(batch.at_once.max(1));
    let mut report = Report::default();
    while let Some((customer, outcome)) = ended.next().await {
        match outcome {
            Ok(cents) => report.billed_cents += cents,
            // The whole batch was cancelled: its children were too.
            Err(error) if ctx.is_cancel_requested() => return Err(error),
            Err(error) => report.failed.push((customer, error.message().into_owned())),
        }
    }
    Ok(report)
}

pub async fn bill_customer(ctx: WorkflowContext, bill: Bill) -> WorkflowResult<u64> {
    let cents = ctx
        .activity(charge, bill.clone())
        .start_to_close(STEP)
        .await?;
    ctx.activity(send_receipt, (bill.customer, cents))
        .start_to_close(STEP)
        .await?;
    Ok(cents)
}

pub async fn charge(_ctx: ActivityContext, bill: Bill) -> ActivityResult<u64> {
    if bill.is_declined {
        return Err(ApplicationError::new("the card was declined")
            .with_type("CardDeclined")
            .non_retryable()
            .into());
    }
    Ok(bill.cents)
}

pub async fn send_receipt(
    _ctx: ActivityContext,
    (customer, cents): (String, u64),
) -> ActivityResult<()> {
    tracing::info!("receipt to {customer}: {cents} cents");
    Ok(())
}
