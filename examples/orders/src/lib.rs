//! An online shop's orders: validate the payment, reserve the goods, ship, confirm.
//!
//! - [`workflow`] is the order's way from start to end. Read it first: it is the whole business process.
//! - [`payment`], [`inventory`], [`shipping`] and [`email`] are the activities. Each speaks to one outside system, has a
//!   task queue of its own, and so can run on machines of its own, as many as it needs.
//! - [`order`] is what they pass around.
//!
//! The binary `orders-worker` hosts one of these roles, or all of them.
//!
//! Starting an order takes a client:
//!
//! ```no_run
//! # use fermata_example_orders::{order::Order, workflow::PROCESS_ORDER, ORDERS_QUEUE};
//! # async fn start(order: Order) -> anyhow::Result<()> {
//! let client = fermata_worker::Client::connect("nats://127.0.0.1:4222").await?;
//! let id = format!("order-{}", order.id);
//! let handle = client.start(PROCESS_ORDER, order).queue(ORDERS_QUEUE).id(id).await?;
//! let receipt = handle.result().await?;
//! # Ok(())
//! # }
//! ```

pub mod email;
pub mod inventory;
pub mod order;
pub mod payment;
pub mod shipping;
pub mod workflow;

/// Where orders wait for a worker of the workflow.
pub const ORDERS_QUEUE: &str = "orders";
pub const PAYMENT_QUEUE: &str = "payment-queue";
pub const INVENTORY_QUEUE: &str = "inventory-queue";
pub const SHIPPING_QUEUE: &str = "shipping-queue";
pub const EMAIL_QUEUE: &str = "email-queue";
