//! `compat-worker <nats url> <task queue>`: activities in Rust for workflows in other languages.
//!
//! What they take and give is JSON, so that Python and TypeScript read it.

use anyhow::Context;
use fermata_worker::{ActivityContext, ActivityResult, ApplicationError, Client, Worker};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    item: String,
    quantity: u32,
    tags: Vec<String>,
    note: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Quote {
    item: String,
    cents: u64,
    by: String,
    tags: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
    let mut args = std::env::args().skip(1);
    let (servers, queue) = (args.next(), args.next());
    let servers = servers.context("give the URL of NATS as the first argument")?;
    let queue = queue.context("give the task queue as the second argument")?;
    let client = Client::connect(&servers)
        .await
        .context("connect to Fermata")?;
    Worker::new(&client, &queue)
        .activity(price)
        .activity(refuse)
        .activity(resume)
        .run()
        .await
        .context("run the worker")
}

async fn price(_ctx: ActivityContext, order: Order) -> ActivityResult<Quote> {
    Ok(Quote {
        cents: u64::from(order.quantity) * 250,
        by: format!("rust, note {:?}", order.note),
        item: order.item,
        tags: order.tags,
    })
}

/// Fails for good, with details.
async fn refuse(_ctx: ActivityContext, order: Order) -> ActivityResult<()> {
    let error = ApplicationError::new(format!("no {} today", order.item))
        .with_type("SoldOut")
        .with_details(&order)
        .non_retryable();
    Err(error.into())
}

/// Fails once after a heartbeat; the next attempt gives what the heartbeat told.
async fn resume(ctx: ActivityContext, step: u32) -> ActivityResult<String> {
    match ctx.heartbeat_details::<Order>()? {
        Some(order) => Ok(format!("{} at attempt {}", order.item, ctx.info().attempt)),
        None => {
            ctx.heartbeat(&Order {
                item: format!("step {step}"),
                quantity: step,
                tags: Vec::new(),
                note: None,
            });
            Err(ApplicationError::new("once").into())
        }
    }
}
