//! `liveness-worker <nats url> <identity> <time to live in ms>`: hosts the work of the liveness test. The test ends it by
//! SIGKILL.

#[path = "../steps.rs"]
mod steps;

use std::time::Duration;

use anyhow::Context;
use fermata_worker::{Client, ClientOptions, Worker, WorkerOptions};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, identity, ttl_ms] = &arguments[..] else {
        anyhow::bail!("give the URL of NATS, an identity and a time to live in milliseconds");
    };
    let client = Client::connect_with(ClientOptions {
        servers: servers.clone(),
        ..ClientOptions::default()
    })
    .await
    .context("connect to Fermata")?;
    let ttl_ms = ttl_ms.parse().context("read the time to live")?;
    let options = WorkerOptions {
        identity: Some(identity.clone()),
        liveness: Some(Duration::from_millis(ttl_ms)),
        // A paused worker keeps the tasks that it has asked for until the broker gives them to another.
        workflow_pollers: 2,
        activity_pollers: 2,
        ..WorkerOptions::default()
    };
    let worker = Worker::new(&client, steps::QUEUE).options(options);
    steps::host(worker).run().await.context("run the worker")
}
