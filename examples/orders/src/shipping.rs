//! The carrier: takes parcels to where it delivers.

use fermata_worker::{Activity, ActivityContext, ActivityResult, ApplicationError, Worker};

use crate::order::{Shipment, ShipmentRequest};

pub const SHIP_ORDER: Activity<ShipmentRequest, Shipment> = Activity::named("ship_order");

/// A country that nobody delivers to, for trying out.
const NOWHERE: &str = "nowhere";

async fn ship_order(ctx: ActivityContext, request: ShipmentRequest) -> ActivityResult<Shipment> {
    if request.address.country == NOWHERE {
        return Err(ApplicationError::new("no carrier delivers there")
            .with_type("Undeliverable")
            .non_retryable()
            .into());
    }
    tracing::info!(
        order = ctx.info().workflow_id,
        city = request.address.city,
        "order shipped"
    );
    Ok(Shipment {
        tracking_number: format!("track-{}", ctx.info().workflow_id),
    })
}

pub fn host(worker: Worker) -> Worker {
    worker.activity_as(SHIP_ORDER, ship_order)
}
