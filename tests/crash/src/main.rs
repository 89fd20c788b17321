//! `crash-worker <nats url>`: hosts all workflows and activities of the crash test, in both of its namespaces.
//!
//! It does not listen for signals: the test ends it by SIGKILL.

mod work;

use std::time::Duration;

use anyhow::Context;
use fermata_worker::{Client, ClientOptions, Worker, WorkerOptions};
use tracing_subscriber::EnvFilter;

/// The broker may be down when this starts, and a namespace may have come a moment ago.
const CONNECT_MAX: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
    let servers = std::env::args()
        .nth(1)
        .context("give the URL of NATS as the only argument")?;
    let client = Client::connect_with(ClientOptions {
        servers,
        wait: CONNECT_MAX,
        ..ClientOptions::default()
    })
    .await
    .context("connect to Fermata")?;
    let elsewhere = client
        .namespace(work::ELSEWHERE)
        .context("find the other namespace")?;
    let options = WorkerOptions {
        // Some workflows leave the cache between their steps and are replayed from the start.
        cached_workflows_max: 300,
        sticky_timeout: Duration::from_secs(2),
        workflow_pollers: 8,
        activity_pollers: 8,
        ..WorkerOptions::default()
    };
    let workers = [client, elsewhere]
        .map(|client| work::host(Worker::new(&client, work::QUEUE).options(options.clone())));
    futures::future::try_join_all(workers.map(Worker::run))
        .await
        .context("run the workers")?;
    Ok(())
}
