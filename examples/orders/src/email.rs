//! Mail to customers.

use fermata_worker::{Activity, ActivityContext, ActivityResult, Worker};

use crate::order::Confirmation;

pub const SEND_CONFIRMATION_EMAIL: Activity<Confirmation, ()> =
    Activity::named("send_confirmation_email");

async fn send_confirmation_email(
    ctx: ActivityContext,
    confirmation: Confirmation,
) -> ActivityResult<()> {
    tracing::info!(
        order = ctx.info().workflow_id,
        to = confirmation.customer_email,
        tracking_number = confirmation.tracking_number,
        "confirmation sent"
    );
    Ok(())
}

pub fn host(worker: Worker) -> Worker {
    worker.activity_as(SEND_CONFIRMATION_EMAIL, send_confirmation_email)
}
