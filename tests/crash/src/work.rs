//! The workflows and activities that the crash test runs, one for each way of waiting, and what they are told.
//!
//! Each result is a function of the input and of the signals alone, so that the test can say it in advance: a step that is
//! lost, repeated into history or taken from another workflow changes the number that comes out. Each does nothing else
//! than steps; how they fail is the test's affair.

use std::time::Duration;

use fermata_worker::*;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

/// The task queue, in both namespaces.
pub const QUEUE: &str = "crash";
/// The namespace of some children.
pub const ELSEWHERE: &str = "elsewhere";

/// Signal with a number that [`COLLECT`] and [`ENDLESS`] wait for, and the children of [`PARENT`].
pub const ITEM: &str = "item";

pub const SEQUENCE: Workflow<Steps, u64> = Workflow::named("Sequence");
pub const PARALLEL: Workflow<Parallel, u64> = Workflow::named("Parallel");
pub const TIMERS: Workflow<Timers, u64> = Workflow::named("Timers");
pub const COLLECT: Workflow<Collect, Vec<u64>> = Workflow::named("Collect");
pub const PARENT: Workflow<Parent, u64> = Workflow::named("Parent");
pub const LISTENER: Workflow<Steps, u64> = Workflow::named("Listener");
pub const CHAIN: Workflow<Chain, u64> = Workflow::named("Chain");
pub const ENDLESS: Workflow<Steps, u64> = Workflow::named("Endless");

pub const STEP: Activity<Step, u64> = Activity::named("step");
pub const UNDO: Activity<u64, ()> = Activity::named("undo");

/// An attempt that died with its worker is repeated after this.
const STEP_MAX: Duration = Duration::from_secs(2);

/// Activities one after the other, with a timer between.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Steps {
    pub seed: u64,
    pub steps: u64,
    pub pause_ms: u64,
    /// Attempts of each activity that fail before one succeeds.
    pub failures: i32,
}

/// Rounds of activities side by side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parallel {
    pub rounds: Steps,
    pub width: u64,
}

/// Timers that fire, each beside one that is cancelled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timers {
    pub seed: u64,
    pub lengths_ms: Vec<u64>,
}

/// Waits for signals.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Collect {
    pub count: usize,
}

/// Starts children, tells each its number by a signal, and waits for their results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parent {
    pub children: u64,
    pub child: Steps,
    /// Of the children; empty for the parent's.
    pub namespace: String,
}

/// Runs that continue as new, each with one step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chain {
    pub seed: u64,
    pub runs_left: u64,
    pub pause_ms: u64,
}

/// What an activity is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    pub value: u64,
    pub index: u64,
    pub failures: i32,
}

/// Puts a step into a value; the order of steps matters.
pub fn mix(value: u64, index: u64) -> u64 {
    (value.rotate_left(7) ^ index).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The outside of an activity is not there yet.
#[derive(Debug, thiserror::Error)]
#[error("attempt {0} fails as it was told to")]
struct Flaky(i32);

async fn step(ctx: ActivityContext, step: Step) -> ActivityResult<u64> {
    let attempt = ctx.info().attempt;
    // Long enough now and then for a kill to find it under way.
    let work_ms = mix(step.value, step.index) % 60;
    tokio::time::sleep(Duration::from_millis(work_ms)).await;
    if attempt <= step.failures {
        return Err(Flaky(attempt).into());
    }
    Ok(mix(step.value, step.index))
}

async fn undo(_ctx: ActivityContext, _value: u64) -> ActivityResult<()> {
    Ok(())
}

fn call(ctx: &WorkflowContext, step: Step) -> ActivityCall<u64> {
    ctx.activity(STEP, step)
        .start_to_close(STEP_MAX)
        .retry(retry())
}

fn retry() -> RetryPolicy {
    RetryPolicy {
        initial_interval: Some(Duration::from_millis(100)),
        backoff_coefficient: 2.0,
        maximum_interval: Some(Duration::from_secs(1)),
        ..RetryPolicy::default()
    }
}

fn millis(length: u64) -> Duration {
    Duration::from_millis(length)
}

async fn sequence(ctx: WorkflowContext, input: Steps) -> WorkflowResult<u64> {
    let mut value = input.seed;
    for index in 0..input.steps {
        let step = Step {
            value,
            index,
            failures: input.failures,
        };
        value = call(&ctx, step).await?;
        ctx.sleep(millis(input.pause_ms)).await?;
    }
    Ok(value)
}

async fn parallel(ctx: WorkflowContext, input: Parallel) -> WorkflowResult<u64> {
    let mut value = input.rounds.seed;
    for _ in 0..input.rounds.steps {
        let calls = (0..input.width).map(|index| {
            let step = Step {
                value,
                index,
                failures: input.rounds.failures,
            };
            call(&ctx, step).start()
        });
        let results: Vec<u64> = try_join_all(calls).await?;
        value = results.into_iter().fold(value, mix);
        ctx.sleep(millis(input.rounds.pause_ms)).await?;
    }
    Ok(value)
}

async fn timers(ctx: WorkflowContext, input: Timers) -> WorkflowResult<u64> {
    let mut value = input.seed;
    for length in input.lengths_ms {
        let watchdog = ctx.sleep(Duration::from_secs(600));
        ctx.sleep(millis(length)).await?;
        drop(watchdog);
        value = mix(value, length);
    }
    Ok(value)
}

async fn collect(ctx: WorkflowContext, input: Collect) -> WorkflowResult<Vec<u64>> {
    let mut items = ctx.signal::<u64>(ITEM);
    let mut collected = Vec::with_capacity(input.count);
    while collected.len() < input.count {
        let value = items.wait().await?;
        collected.push(value);
        let step = Step {
            value,
            index: 0,
            failures: 0,
        };
        call(&ctx, step).await?;
    }
    Ok(collected)
}

async fn parent(ctx: WorkflowContext, input: Parent) -> WorkflowResult<u64> {
    let mut children = Vec::new();
    for index in 0..input.children {
        let mut child = ctx
            .child(LISTENER, input.child.clone())
            .id(child_id(&ctx.info().workflow_id, index));
        if !input.namespace.is_empty() {
            child = child.namespace(input.namespace.clone());
        }
        let child = child.start().await?;
        child.signal(ITEM, &index).await?;
        children.push(child.result());
    }
    let results = try_join_all(children).await?;
    Ok(results.into_iter().fold(input.child.seed, mix))
}

/// The workflow id of a child of [`PARENT`].
pub fn child_id(parent: &str, index: u64) -> String {
    format!("{parent}-child-{index}")
}

async fn listener(ctx: WorkflowContext, input: Steps) -> WorkflowResult<u64> {
    let item = ctx.signal::<u64>(ITEM).wait().await?;
    let seed = mix(input.seed, item);
    sequence(ctx, Steps { seed, ..input }).await
}

async fn chain(ctx: WorkflowContext, input: Chain) -> WorkflowResult<u64> {
    let step = Step {
        value: input.seed,
        index: input.runs_left,
        failures: 0,
    };
    let seed = call(&ctx, step).await?;
    ctx.sleep(millis(input.pause_ms)).await?;
    if input.runs_left <= 1 {
        return Ok(seed);
    }
    let next = Chain {
        seed,
        runs_left: input.runs_left - 1,
        ..input
    };
    Err(ctx.continue_as_new(&next).into())
}

/// Goes on until somebody ends it; undoes what it did when it is cancelled.
async fn endless(ctx: WorkflowContext, input: Steps) -> WorkflowResult<u64> {
    loop {
        if let Err(error) = sequence(ctx.clone(), input.clone()).await {
            ctx.shielded()
                .activity(UNDO, input.seed)
                .start_to_close(STEP_MAX)
                .retry(retry())
                .await?;
            return Err(error);
        }
    }
}

/// Registers everything.
pub fn host(worker: Worker) -> Worker {
    worker
        .workflow_as(SEQUENCE, sequence)
        .workflow_as(PARALLEL, parallel)
        .workflow_as(TIMERS, timers)
        .workflow_as(COLLECT, collect)
        .workflow_as(PARENT, parent)
        .workflow_as(LISTENER, listener)
        .workflow_as(CHAIN, chain)
        .workflow_as(ENDLESS, endless)
        .activity_as(STEP, step)
        .activity_as(UNDO, undo)
}
