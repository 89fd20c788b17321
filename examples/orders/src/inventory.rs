//! The warehouse: reserves goods and gives them back.

use fermata_worker::{Activity, ActivityContext, ActivityResult, ApplicationError, Worker};

use crate::order::{Item, Reservation};

pub const RESERVE_INVENTORY: Activity<Vec<Item>, Reservation> =
    Activity::named("reserve_inventory");
pub const RELEASE_INVENTORY: Activity<Reservation, ()> = Activity::named("release_inventory");

/// An article that is never there, for trying out.
const SOLD_OUT: &str = "sold-out";

/// An activity that needs nothing but its argument is a plain function.
async fn reserve_inventory(ctx: ActivityContext, items: Vec<Item>) -> ActivityResult<Reservation> {
    if let Some(item) = items.iter().find(|item| item.sku == SOLD_OUT) {
        return Err(ApplicationError::new("an article is sold out")
            .with_type("OutOfStock")
            .with_details(item)
            .non_retryable()
            .into());
    }
    tracing::info!(
        order = ctx.info().workflow_id,
        items = items.len(),
        "inventory reserved"
    );
    Ok(Reservation {
        reservation_id: format!("reservation-{}", ctx.info().workflow_id),
    })
}

async fn release_inventory(ctx: ActivityContext, reservation: Reservation) -> ActivityResult<()> {
    tracing::info!(
        order = ctx.info().workflow_id,
        reservation = reservation.reservation_id,
        "inventory released"
    );
    Ok(())
}

pub fn host(worker: Worker) -> Worker {
    worker
        .activity_as(RESERVE_INVENTORY, reserve_inventory)
        .activity_as(RELEASE_INVENTORY, release_inventory)
}
