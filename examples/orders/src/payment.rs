//! The payment service: charges cards, refunds, and is sometimes down.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fermata_worker::{Activity, ActivityContext, ActivityResult, ApplicationError, Worker};

use crate::order::{Payment, PaymentInfo};

pub const VALIDATE_PAYMENT: Activity<PaymentInfo, Payment> = Activity::named("validate_payment");
pub const REFUND_PAYMENT: Activity<Payment, ()> = Activity::named("refund_payment");

/// Cards that the provider declines, for trying out.
const DECLINED: &str = "declined";

/// The provider does not answer. An ordinary error: the step is tried again.
#[derive(Debug, thiserror::Error)]
#[error("the payment service is down")]
pub struct PaymentServiceDown;

/// A stand-in for the provider's API.
#[derive(Debug, Default)]
pub struct PaymentService {
    /// While this file exists, the service is down.
    pub outage_file: Option<PathBuf>,
    /// How long it takes to answer.
    pub answers_after: Duration,
}

impl PaymentService {
    fn check_up(&self) -> Result<(), PaymentServiceDown> {
        match &self.outage_file {
            Some(file) if file.exists() => Err(PaymentServiceDown),
            _ => Ok(()),
        }
    }

    async fn validate(
        &self,
        ctx: ActivityContext,
        payment: PaymentInfo,
    ) -> ActivityResult<Payment> {
        self.check_up()?;
        tokio::time::sleep(self.answers_after).await;
        if payment.card_token == DECLINED {
            // Trying again would not help: the workflow is told at once.
            return Err(ApplicationError::new("the card was declined")
                .with_type("CardDeclined")
                .non_retryable()
                .into());
        }
        // An attempt may be repeated although it succeeded, if the worker dies before it can say so. The provider must
        // know a repeat when it sees one: the workflow id is the same in every attempt.
        let info = ctx.info();
        tracing::info!(
            order = info.workflow_id,
            attempt = info.attempt,
            amount_cents = payment.amount_cents,
            "payment validated"
        );
        Ok(Payment {
            payment_id: format!("payment-{}", info.workflow_id),
            amount_cents: payment.amount_cents,
        })
    }

    async fn refund(&self, ctx: ActivityContext, payment: Payment) -> ActivityResult<()> {
        self.check_up()?;
        tracing::info!(
            order = ctx.info().workflow_id,
            payment = payment.payment_id,
            "payment refunded"
        );
        Ok(())
    }
}

/// Activities that need something (a client, a connection pool) are closures that hold it.
pub fn host(worker: Worker, service: PaymentService) -> Worker {
    let service = Arc::new(service);
    let refunding = service.clone();
    worker
        .activity_as(VALIDATE_PAYMENT, move |ctx, payment| {
            let service = service.clone();
            async move { service.validate(ctx, payment).await }
        })
        .activity_as(REFUND_PAYMENT, move |ctx, payment| {
            let service = refunding.clone();
            async move { service.refund(ctx, payment).await }
        })
}
