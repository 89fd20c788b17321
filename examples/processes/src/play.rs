//! What the binaries of the examples share: a worker and a client in one process, and a story that the client tells.
//!
//! The workflow ids are fixed, and a workflow that runs is taken as it is: whoever stops an example in the middle and starts it
//! again sees it go on.

use std::fmt::Display;
use std::io::IsTerminal;

use anyhow::{Context, bail};
use fermata_worker::{
    Client, ClientOptions, ResultError, StartCall, Worker, WorkflowHandle, WorkflowIdConflictPolicy,
};
use futures::future::try_join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What the examples do; of the worker only what goes wrong.
const LOGGED: &str = "warn,fermata_examples=info,fermata_example_orders=info";

/// Where Fermata is.
#[derive(Debug, clap::Args)]
pub struct Connection {
    /// NATS servers with commas between
    #[arg(long, env = "FERMATA_NATS", default_value = "nats://127.0.0.1:4222")]
    nats: String,
    #[arg(long, env = "FERMATA_NAMESPACE", default_value = "default")]
    namespace: String,
}

/// Runs the workers while the story is told; Ctrl-C and SIGTERM end both.
///
/// # Errors
/// If Fermata cannot be reached, a worker ends, or the story fails.
pub async fn play(
    connection: &Connection,
    workers: impl FnOnce(&Client) -> Vec<Worker>,
    story: impl AsyncFnOnce(&Client) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stdout().is_terminal())
        .compact()
        .init();
    let client = Client::connect_with(ClientOptions {
        servers: connection.nats.clone(),
        namespace: connection.namespace.clone(),
        ..ClientOptions::default()
    })
    .await
    .context("connect to Fermata (is `fermata dev` running?)")?;

    let workers = workers(&client);
    let shutdowns: Vec<_> = workers.iter().map(Worker::shutdown).collect();
    let mut running = tokio::spawn(try_join_all(workers.into_iter().map(Worker::run)));
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let told = tokio::select! {
        told = story(&client) => told,
        ended = &mut running => {
            ended.context("run the worker")?.context("run the worker")?;
            bail!("the worker ended before the story did");
        }
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    for shutdown in shutdowns {
        shutdown.begin();
    }
    running
        .await
        .context("stop the worker")?
        .context("stop the worker")?;
    told
}

/// Starts a workflow, or takes the one of this id that runs.
///
/// # Errors
/// If it cannot be started.
pub async fn start<R>(
    call: StartCall<R>,
    queue: &str,
    workflow_id: &str,
) -> anyhow::Result<WorkflowHandle<R>>
where
    R: Serialize + DeserializeOwned + 'static,
{
    let handle = call
        .queue(queue)
        .id(workflow_id)
        .id_conflict(WorkflowIdConflictPolicy::UseExisting)
        .await?;
    say(format_args!("started {workflow_id}"));
    Ok(handle)
}

/// Waits for the end and tells how it was. An end without a result is one too: some stories are about that.
///
/// # Errors
/// If the end is not to be had.
pub async fn tell_end<R>(handle: &WorkflowHandle<R>) -> anyhow::Result<()>
where
    R: Serialize + DeserializeOwned + 'static,
{
    match handle.result().await {
        Ok(result) => say(format_args!("result: {}", serde_json::to_string(&result)?)),
        Err(error @ (ResultError::Client(_) | ResultError::Payload { .. })) => {
            return Err(error.into());
        }
        Err(ended) => say(format_args!("no result: {ended}")),
    }
    let id = handle.workflow_id();
    say(format_args!(
        "all of it: fermata workflow show --workflow-id {id}"
    ));
    Ok(())
}

/// A line of the story.
pub fn say(line: impl Display) {
    println!("== {line}");
}
