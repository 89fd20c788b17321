//! Workflows with activities on a Rust worker in this process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use fermata_worker::{
    ActivityContext, ActivityResult, Client, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
};
use prometheus::Registry;
use tokio_util::task::AbortOnDropHandle;

use crate::deployment::Deployment;

/// Workflows in flight.
const CALLERS: usize = 400;
const QUEUE: &str = "bench";
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Steps carried out so far, counted where they happen.
static STEPS: AtomicU64 = AtomicU64::new(0);
/// When each step of the latency run began.
static TIMES: Mutex<Vec<Instant>> = Mutex::new(Vec::new());

async fn in_sequence(ctx: WorkflowContext, count: u32) -> WorkflowResult<u32> {
    for number in 0..count {
        ctx.activity(step, number)
            .start_to_close(STEP_TIMEOUT)
            .await?;
    }
    Ok(count)
}

/// Beside one another, by the workflow's own worker.
async fn locally(ctx: WorkflowContext, count: u32) -> WorkflowResult<u32> {
    let calls = (0..count).map(|number| {
        let call = ctx.local_activity(local_step, number);
        call.start_to_close(STEP_TIMEOUT).start()
    });
    let ended = futures::future::join_all(calls).await;
    ended
        .into_iter()
        .try_for_each(|result| result.map(|_| ()))?;
    Ok(count)
}

async fn timed_sequence(ctx: WorkflowContext, count: u32) -> WorkflowResult<u32> {
    for number in 0..count {
        ctx.activity(timed_step, number)
            .start_to_close(STEP_TIMEOUT)
            .await?;
    }
    Ok(count)
}

async fn step(_ctx: ActivityContext, number: u32) -> ActivityResult<u32> {
    STEPS.fetch_add(1, Ordering::Relaxed);
    Ok(number)
}

/// Counted when its workflow has ended: an execution alone is not recorded yet.
async fn local_step(_ctx: ActivityContext, number: u32) -> ActivityResult<u32> {
    Ok(number)
}

async fn timed_step(_ctx: ActivityContext, number: u32) -> ActivityResult<u32> {
    if let Ok(mut times) = TIMES.lock() {
        times.push(Instant::now());
    }
    Ok(number)
}

/// How the activities of a workflow run.
#[derive(Clone, Copy)]
pub enum Kind {
    InSequence,
    Locally,
}

/// What a run with [`CALLERS`] workflows in flight gave.
pub struct Steps {
    /// Activities per second.
    pub per_second: f64,
    /// Workflow tasks, but for each run's first, that found their run in the worker's memory; nothing if all were first ones.
    pub sticky_hit_percent: Option<f64>,
}

/// [`CALLERS`] workflows of `count` activities at a time.
pub async fn steps(
    deployment: &Deployment,
    kind: Kind,
    count: u32,
    window: Duration,
) -> anyhow::Result<Steps> {
    let metrics = Registry::new();
    let (client, _worker) = connect_with_worker(deployment, &metrics).await?;
    let numbers = AtomicU64::new(0);
    let caller = async || {
        loop {
            let id = format!("steps-{}", numbers.fetch_add(1, Ordering::Relaxed));
            let call = match kind {
                Kind::InSequence => client.start(in_sequence, count),
                Kind::Locally => client.start(locally, count),
            };
            let started = call.queue(QUEUE).id(id).await;
            let handle = started.context("start a workflow")?;
            handle.result().await.context("wait for a workflow")?;
            if let Kind::Locally = kind {
                STEPS.fetch_add(count.into(), Ordering::Relaxed);
            }
        }
        #[allow(unreachable_code)]
        anyhow::Ok(())
    };
    let clock = async {
        tokio::time::sleep(window / 4).await;
        let (from, began) = (STEPS.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(window).await;
        (STEPS.load(Ordering::Relaxed) - from) as f64 / began.elapsed().as_secs_f64()
    };
    let callers = futures::future::try_join_all((0..CALLERS).map(|_| caller()));
    tokio::select! {
        failed = callers => {
            failed?;
            anyhow::bail!("callers never end")
        }
        per_second = clock => Ok(Steps {
            per_second,
            sticky_hit_percent: sticky_hit_percent(&metrics),
        }),
    }
}

/// A worker does not count first tasks of runs.
fn sticky_hit_percent(metrics: &Registry) -> Option<f64> {
    let families = metrics.gather();
    let cache = families
        .iter()
        .find(|family| family.name() == "fermata_worker_cache_total")?;
    let count = |outcome: &str| -> f64 {
        let of_outcome = cache.get_metric().iter().filter(|metric| {
            let mut labels = metric.get_label().iter();
            labels.any(|label| label.name() == "outcome" && label.value() == outcome)
        });
        of_outcome
            .map(|metric| metric.get_counter().get_value())
            .sum()
    };
    let hits = count("hit");
    Some(100.0 * hits / (hits + count("miss")))
}

/// Medians with one caller, in milliseconds.
pub struct Latencies {
    /// From one activity's begin to the next one's.
    pub step_ms: f64,
    /// From the start of a workflow with one activity to its result.
    pub workflow_ms: f64,
}

pub async fn latencies(deployment: &Deployment) -> anyhow::Result<Latencies> {
    const STEPS: u32 = 300;
    const WORKFLOWS: usize = 200;
    let (client, _worker) = connect_with_worker(deployment, &Registry::new()).await?;
    let handle = client
        .start(timed_sequence, STEPS)
        .queue(QUEUE)
        .id("latency-steps")
        .await?;
    handle.result().await?;
    let times = std::mem::take(&mut *TIMES.lock().expect("no holder panics"));
    let mut gaps: Vec<f64> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3)
        .collect();
    let mut whole = Vec::new();
    for number in 0..WORKFLOWS {
        let began = Instant::now();
        let handle = client
            .start(in_sequence, 1)
            .queue(QUEUE)
            .id(format!("latency-{number}"))
            .await?;
        handle.result().await?;
        whole.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Latencies {
        step_ms: median(&mut gaps)?,
        workflow_ms: median(&mut whole)?,
    })
}

fn median(values: &mut [f64]) -> anyhow::Result<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2);
    middle.copied().context("nothing was measured")
}

/// A client, and a worker that runs until the handle is dropped: the next round has another.
async fn connect_with_worker(
    deployment: &Deployment,
    metrics: &Registry,
) -> anyhow::Result<(Client, AbortOnDropHandle<()>)> {
    let client = Client::connect(&deployment.nats.url()).await?;
    let worker = Worker::new(&client, QUEUE)
        .options(WorkerOptions {
            metrics: Some(metrics.clone()),
            ..WorkerOptions::default()
        })
        .workflow(in_sequence)
        .workflow(locally)
        .workflow(timed_sequence)
        .activity(step)
        .activity(local_step)
        .activity(timed_step);
    let running = tokio::spawn(async move {
        if let Err(error) = worker.run().await {
            eprintln!("the worker ended: {error}");
        }
    });
    Ok((client, AbortOnDropHandle::new(running)))
}
