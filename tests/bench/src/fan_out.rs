//! One workflow that runs many activities beside one another.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fermata_worker::{
    ActivityContext, ActivityResult, Client, Worker, WorkflowContext, WorkflowResult,
};
use tokio_util::task::AbortOnDropHandle;

use crate::deployment::Deployment;

const ACTIVITIES: u32 = 1_000;
const QUEUE: &str = "fan-out";
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

async fn fan_out(ctx: WorkflowContext, count: u32) -> WorkflowResult<u32> {
    let calls = (0..count).map(|number| {
        ctx.activity(echo, number)
            .start_to_close(STEP_TIMEOUT)
            .start()
    });
    let mut sum = 0;
    for ended in futures::future::join_all(calls).await {
        sum += ended?;
    }
    Ok(sum)
}

async fn echo(_ctx: ActivityContext, number: u32) -> ActivityResult<u32> {
    Ok(number)
}

/// Seconds from the start to the result of one workflow with [`ACTIVITIES`] activities at once, after one to warm up.
pub async fn seconds(deployment: &Deployment) -> anyhow::Result<f64> {
    let client = Client::connect(&deployment.nats.url()).await?;
    let worker = Worker::new(&client, QUEUE).workflow(fan_out).activity(echo);
    let _running = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = worker.run().await {
            eprintln!("the worker ended: {error}");
        }
    }));
    run(&client, "warm-up").await?;
    run(&client, "measured").await
}

async fn run(client: &Client, id: &str) -> anyhow::Result<f64> {
    let began = Instant::now();
    let started = client.start(fan_out, ACTIVITIES).queue(QUEUE).id(id).await;
    let handle = started.context("start the workflow")?;
    let sum = handle.result().await.context("wait for the workflow")?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(
        sum == (0..ACTIVITIES).sum::<u32>(),
        "an activity's result is missing: the sum is {sum}"
    );
    Ok(seconds)
}
