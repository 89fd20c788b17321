//! What the workers of the liveness test do: activities that only a lost worker can hold up, since nothing else would end
//! them before an hour is over.

use std::time::Duration;

use fermata_worker::*;

pub const QUEUE: &str = "steps";
pub const STEPS: u64 = 6;
const HOUR: Duration = Duration::from_secs(3_600);

/// Three steps one after the other, then three at once.
pub async fn steps(ctx: WorkflowContext, seed: u64) -> WorkflowResult<u64> {
    let step = |number: u64| ctx.activity(step, (seed, number)).start_to_close(HOUR);
    let mut sum = 0;
    for number in 0..3 {
        sum += step(number).await?;
    }
    let rest: Vec<_> = (3..STEPS).map(|number| step(number).start()).collect();
    for one in rest {
        sum += one.await?;
    }
    Ok(sum)
}

/// Takes from 0.2 to 1.2 seconds.
pub async fn step(_ctx: ActivityContext, (seed, number): (u64, u64)) -> ActivityResult<u64> {
    let millis = 200 + (seed * 7 + number * 131) % 1_000;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(number)
}

#[allow(dead_code, reason = "the test that shares this file hosts nothing")]
pub fn host(worker: Worker) -> Worker {
    worker.workflow(steps).activity(step)
}
