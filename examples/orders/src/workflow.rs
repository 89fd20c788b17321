//! The way of an order, as a workflow.
//!
//! This code survives crashes of any machine: every step that has ended is in the event history, and a worker that takes
//! over goes on exactly there. That is why it must be deterministic: time comes from `ctx.now()`, and everything that
//! touches the world outside happens in activities.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fermata_worker::{
    ActivityCancellation, RetryPolicy, Saga, Workflow, WorkflowContext, WorkflowResult,
};

use crate::email::SEND_CONFIRMATION_EMAIL;
use crate::inventory::{RELEASE_INVENTORY, RESERVE_INVENTORY};
use crate::order::{Address, Confirmation, Order, Receipt, ShipmentRequest, Status};
use crate::payment::{REFUND_PAYMENT, VALIDATE_PAYMENT};
use crate::shipping::SHIP_ORDER;
use crate::{EMAIL_QUEUE, INVENTORY_QUEUE, PAYMENT_QUEUE, SHIPPING_QUEUE};

/// The workflow by name, for whoever starts one.
pub const PROCESS_ORDER: Workflow<Order, Receipt> = Workflow::named("ProcessOrder");

/// Signal with an [`Address`]: send the goods there instead. Heeded until the order is handed to shipping.
pub const CHANGE_ADDRESS: &str = "change_address";

/// Query for the [`Status`].
pub const STATUS: &str = "status";

/// How long one attempt of a step may take.
const STEP: Duration = Duration::from_secs(10);

const WAIT: ActivityCancellation = ActivityCancellation::WaitCompleted;

/// What signals change and queries see while the workflow runs.
struct State {
    status: Status,
    address: Address,
}

pub async fn process_order(ctx: WorkflowContext, order: Order) -> WorkflowResult<Receipt> {
    let state = Rc::new(RefCell::new(State {
        status: Status::ValidatingPayment,
        address: order.address.clone(),
    }));

    let asked = state.clone();
    ctx.on_query(STATUS, move |()| asked.borrow().status);

    let changed = state.clone();
    ctx.on_signal(CHANGE_ADDRESS, move |address: Address| {
        changed.borrow_mut().address = address;
    });

    // What has been done so far, and how to undo it.
    let mut saga = Saga::new(&ctx);
    match fulfil(&ctx, &order, &state, &mut saga).await {
        Ok(receipt) => {
            state.borrow_mut().status = Status::Completed;
            Ok(receipt)
        }
        Err(error) => {
            state.borrow_mut().status = Status::Undoing;
            // Gives the goods and the money back, the last step first; also when the reason is a cancelled workflow.
            let error = saga.undo(error).await;
            state.borrow_mut().status = Status::Undone;
            Err(error)
        }
    }
}

/// The steps of an order that goes well. A step that fails is repeated as its retry policy says; when it is given up, or
/// the workflow is cancelled, the error comes out here.
///
/// If the workflow is cancelled while a step runs, it waits for what comes of the step (`WAIT`): what was done must be known
/// in order to be undone.
async fn fulfil(
    ctx: &WorkflowContext,
    order: &Order,
    state: &RefCell<State>,
    saga: &mut Saga,
) -> WorkflowResult<Receipt> {
    let payment = ctx
        .activity(VALIDATE_PAYMENT, order.payment.clone())
        .queue(PAYMENT_QUEUE)
        .start_to_close(STEP)
        .on_cancel(WAIT)
        // No bound on attempts: while the payment service is down, orders wait for it.
        .retry(RetryPolicy {
            initial_interval: Some(Duration::from_millis(500)),
            backoff_coefficient: 2.0,
            maximum_interval: Some(Duration::from_secs(5)),
            ..RetryPolicy::default()
        })
        .await?;
    let paid = payment.clone();
    saga.add("refund the payment", move |ctx| async move {
        let refund = ctx.activity(REFUND_PAYMENT, paid);
        refund.queue(PAYMENT_QUEUE).start_to_close(STEP).await
    });

    state.borrow_mut().status = Status::ReservingInventory;
    let reservation = ctx
        .activity(RESERVE_INVENTORY, order.items.clone())
        .queue(INVENTORY_QUEUE)
        .start_to_close(STEP)
        .on_cancel(WAIT)
        .await?;
    let reserved = reservation.clone();
    saga.add("release the inventory", move |ctx| async move {
        let release = ctx.activity(RELEASE_INVENTORY, reserved);
        release.queue(INVENTORY_QUEUE).start_to_close(STEP).await
    });

    // The address is read as late as possible: a signal may have changed it.
    let address = {
        let mut state = state.borrow_mut();
        state.status = Status::Shipping;
        state.address.clone()
    };
    let request = ShipmentRequest {
        reservation_id: reservation.reservation_id,
        address: address.clone(),
    };
    let shipment = ctx
        .activity(SHIP_ORDER, request)
        .queue(SHIPPING_QUEUE)
        .start_to_close(STEP)
        .on_cancel(WAIT)
        .attempts_max(5)
        .await?;

    state.borrow_mut().status = Status::Confirming;
    let confirmation = Confirmation {
        customer_email: order.customer_email.clone(),
        order_id: order.id.clone(),
        tracking_number: shipment.tracking_number.clone(),
    };
    // The goods are on their way: from here on nothing is undone, so a mail that cannot be sent must not fail the order,
    // and neither must a cancel request that comes too late.
    let confirmed = ctx
        .shielded()
        .activity(SEND_CONFIRMATION_EMAIL, confirmation)
        .queue(EMAIL_QUEUE)
        .start_to_close(STEP)
        .attempts_max(5)
        .await;
    if let Err(error) = confirmed {
        tracing::warn!(order_id = order.id, %error, "order shipped without a confirmation");
    }

    Ok(Receipt {
        order_id: order.id.clone(),
        payment_id: payment.payment_id,
        tracking_number: shipment.tracking_number,
        address,
    })
}
