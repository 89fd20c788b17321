//! Activities per second by 1, 2 and 4 worker processes, when an activity takes 5 ms.
//!
//! The workflows run in this process, the activities in processes of their own: this binary once more, with the hidden
//! subcommand `worker`. A process runs [`SLOTS`] activities at once, so that slots, not cores, bound it.

use std::env;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use fermata_worker::{
    ActivityContext, ActivityResult, Client, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
};
use tokio_util::task::AbortOnDropHandle;

use crate::deployment::Deployment;

/// Workflows in flight: more than all slots of all processes, so that the queue is never empty.
const CALLERS: usize = 200;
const ACTIVITIES: u32 = 20;
const WORKFLOW_QUEUE: &str = "scale-workflows";
const ACTIVITY_QUEUE: &str = "scale-activities";
const ACTIVITY_TIME: Duration = Duration::from_millis(5);
const SLOTS: usize = 4;
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Activities whose results have come back.
static ENDED: AtomicU64 = AtomicU64::new(0);

async fn sequence(ctx: WorkflowContext, count: u32) -> WorkflowResult<u32> {
    for number in 0..count {
        ctx.activity(five_milliseconds, number)
            .queue(ACTIVITY_QUEUE)
            .start_to_close(STEP_TIMEOUT)
            .await?;
        ENDED.fetch_add(1, Ordering::Relaxed);
    }
    Ok(count)
}

async fn five_milliseconds(_ctx: ActivityContext, number: u32) -> ActivityResult<u32> {
    tokio::time::sleep(ACTIVITY_TIME).await;
    Ok(number)
}

/// Runs this process as a worker until it is killed.
///
/// # Errors
/// If it cannot connect, or the worker ends.
pub async fn worker(nats_url: &str) -> anyhow::Result<()> {
    let client = Client::connect(nats_url).await?;
    let worker = Worker::new(&client, ACTIVITY_QUEUE)
        .options(WorkerOptions {
            activities_max: SLOTS,
            activity_pollers: SLOTS,
            ..WorkerOptions::default()
        })
        .activity(five_milliseconds);
    worker.run().await.context("run the worker")
}

/// Activities per second with `processes` worker processes.
pub async fn rate(
    deployment: &Deployment,
    processes: usize,
    window: Duration,
) -> anyhow::Result<f64> {
    let client = Client::connect(&deployment.nats.url()).await?;
    let worker = Worker::new(&client, WORKFLOW_QUEUE).workflow(sequence);
    let _running = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = worker.run().await {
            eprintln!("the worker ended: {error}");
        }
    }));
    let _processes = (0..processes)
        .map(|_| WorkerProcess::start(&deployment.nats.url()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let numbers = AtomicU64::new(0);
    let caller = async || {
        loop {
            let id = format!("scale-{}", numbers.fetch_add(1, Ordering::Relaxed));
            let call = client.start(sequence, ACTIVITIES);
            let started = call.queue(WORKFLOW_QUEUE).id(id).await;
            let handle = started.context("start a workflow")?;
            handle.result().await.context("wait for a workflow")?;
        }
        #[allow(unreachable_code)]
        anyhow::Ok(())
    };
    let clock = async {
        tokio::time::sleep(window / 2).await;
        let (from, began) = (ENDED.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(window).await;
        (ENDED.load(Ordering::Relaxed) - from) as f64 / began.elapsed().as_secs_f64()
    };
    let callers = futures::future::try_join_all((0..CALLERS).map(|_| caller()));
    tokio::select! {
        failed = callers => failed.map(|_| 0.0),
        rate = clock => Ok(rate),
    }
}

/// Killed when dropped.
struct WorkerProcess(Child);

impl WorkerProcess {
    fn start(nats_url: &str) -> anyhow::Result<Self> {
        let program = env::current_exe().context("find this program")?;
        let child = Command::new(program)
            .args(["worker", nats_url])
            .stdin(Stdio::null())
            .spawn()
            .context("start a worker process")?;
        Ok(Self(child))
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
