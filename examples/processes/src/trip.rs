//! A trip is booked as a whole or not at all: a saga.
//!
//! Three partners, no transaction over them. What was booked is cancelled in reverse order when a later part fails, and also
//! when somebody cancels the workflow in the middle.

use std::fmt;
use std::time::Duration;

use fermata_worker::{
    ActivityCancellation, ActivityContext, ActivityResult, ApplicationError, Saga, WorkflowContext,
    WorkflowResult,
};
use serde::{Deserialize, Serialize};

pub const QUEUE: &str = "trips";

/// How long one attempt of a step may take.
const STEP: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trip {
    pub traveller: String,
    pub city: String,
    /// What is not to be had, for trying out.
    #[serde(default)]
    pub sold_out: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Flight,
    Hotel,
    Car,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flight => "flight",
            Self::Hotel => "hotel",
            Self::Car => "car",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    pub part: Part,
    /// Chosen by us: it names the booking in all attempts, whatever the partner's answers come to.
    pub reference: String,
}

pub async fn book_trip(ctx: WorkflowContext, trip: Trip) -> WorkflowResult<Vec<Booking>> {
    let mut saga = Saga::new(&ctx);
    let mut bookings = Vec::new();
    for part in [Part::Flight, Part::Hotel, Part::Car] {
        let booking = Booking {
            part,
            reference: format!("{}-{part}", ctx.info().workflow_id),
        };
        // Before the step: an attempt that timed out may have booked, and to cancel nothing does no harm.
        let booked = booking.clone();
        saga.add(format!("cancel the {part}"), move |ctx| async move {
            ctx.activity(cancel, booked).start_to_close(STEP).await
        });
        let step = ctx
            .activity(book, (trip.clone(), booking.clone()))
            .start_to_close(STEP)
            .attempts_max(5)
            .on_cancel(ActivityCancellation::WaitCompleted);
        if let Err(error) = step.await {
            return Err(saga.undo(error).await);
        }
        bookings.push(booking);
    }
    Ok(bookings)
}

pub async fn book(_ctx: ActivityContext, (trip, booking): (Trip, Booking)) -> ActivityResult<()> {
    if trip.sold_out == Some(booking.part) {
        tracing::info!("the {} is sold out", booking.part);
        // Trying again would not help.
        return Err(
            ApplicationError::new(format!("no {} in {}", booking.part, trip.city))
                .with_type("SoldOut")
                .non_retryable()
                .into(),
        );
    }
    tracing::info!("booked the {}: {}", booking.part, booking.reference);
    Ok(())
}

/// Compensations are activities too: tried until they succeed, so that nothing is left behind.
pub async fn cancel(_ctx: ActivityContext, booking: Booking) -> ActivityResult<()> {
    tracing::info!("cancelled the {}: {}", booking.part, booking.reference);
    Ok(())
}
