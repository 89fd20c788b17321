//! `orders-worker`: hosts the order workflow, the activities of one outside system, or everything.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use fermata_example_orders::payment::PaymentService;
use fermata_example_orders::{
    EMAIL_QUEUE, INVENTORY_QUEUE, ORDERS_QUEUE, PAYMENT_QUEUE, SHIPPING_QUEUE, email, inventory,
    payment, shipping, workflow,
};
use fermata_worker::{Client, ClientOptions, Worker, WorkerOptions};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Works on orders.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// What this process does.
    #[arg(long, value_enum, default_value_t = Role::All)]
    role: Role,
    /// NATS servers with commas between.
    #[arg(long, env = "FERMATA_NATS", default_value = "nats://127.0.0.1:4222")]
    nats: String,
    #[arg(long, env = "FERMATA_NAMESPACE", default_value = "default")]
    namespace: String,
    /// The payment service is down while this file exists.
    #[arg(long, env = "ORDERS_PAYMENT_OUTAGE")]
    payment_outage_file: Option<PathBuf>,
    /// How long the payment provider takes to answer.
    #[arg(long, env = "ORDERS_PAYMENT_MS", default_value_t = 0)]
    payment_ms: u64,
    /// Activities that run at once.
    #[arg(long, env = "ORDERS_ACTIVITIES_MAX", default_value_t = WorkerOptions::default().activities_max)]
    activities_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// The order workflow itself.
    Workflow,
    Payment,
    Inventory,
    Shipping,
    Email,
    All,
}

impl Role {
    const SINGLE: [Self; 5] = [
        Self::Workflow,
        Self::Payment,
        Self::Inventory,
        Self::Shipping,
        Self::Email,
    ];

    /// The worker of a single role; none for all of them.
    fn worker(self, client: &Client, options: &Options) -> Option<Worker> {
        let worker = match self {
            Self::Workflow => Worker::new(client, ORDERS_QUEUE)
                .workflow_as(workflow::PROCESS_ORDER, workflow::process_order),
            Self::Payment => payment::host(
                Worker::new(client, PAYMENT_QUEUE),
                PaymentService {
                    outage_file: options.payment_outage_file.clone(),
                    answers_after: Duration::from_millis(options.payment_ms),
                },
            ),
            Self::Inventory => inventory::host(Worker::new(client, INVENTORY_QUEUE)),
            Self::Shipping => shipping::host(Worker::new(client, SHIPPING_QUEUE)),
            Self::Email => email::host(Worker::new(client, EMAIL_QUEUE)),
            Self::All => return None,
        };
        Some(worker.options(WorkerOptions {
            activities_max: options.activities_max,
            ..WorkerOptions::default()
        }))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let options = Options::parse();
    let client = Client::connect_with(ClientOptions {
        servers: options.nats.clone(),
        namespace: options.namespace.clone(),
        ..ClientOptions::default()
    })
    .await
    .context("connect to Fermata")?;

    let roles = match options.role {
        Role::All => &Role::SINGLE[..],
        ref single => std::slice::from_ref(single),
    };
    let workers: Vec<Worker> = roles
        .iter()
        .filter_map(|role| role.worker(&client, &options))
        .collect();

    // Ctrl-C and SIGTERM end the workers in good order: running activities may finish.
    let shutdowns: Vec<_> = workers.iter().map(Worker::shutdown).collect();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        for shutdown in shutdowns {
            shutdown.begin();
        }
    });

    futures::future::try_join_all(workers.into_iter().map(Worker::run))
        .await
        .context("run the workers")?;
    Ok(())
}
