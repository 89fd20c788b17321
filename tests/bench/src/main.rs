//! `make bench`: measures Fermata on this machine and prints each figure, its target, and what share it is of the ceiling:
//! group commit of empty transitions over core NATS RPC, measured in the same run.
//!
//! One nats-server with `sync_interval: always`, the engine and api in one process, workers and load in this one; all on
//! the same cores. Each scenario's value goes to `target/bench/results.jsonl` as well.
//!
//! Benchmarks are never tests: nothing here fails because a machine is slow.

mod ceiling;
mod deployment;
mod load;
mod memory;
mod report;
mod takeover;
mod work;

use std::time::Duration;

use clap::Parser;

use deployment::Deployment;
use report::Report;

/// As the server has it; a worker's many small pieces cost less with it than with the system's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
struct Args {
    /// Scenarios to measure, by the start of their names; all if none is given
    scenarios: Vec<String>,
    /// How long each throughput scenario measures, after warming up for a quarter of it
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Rounds of each throughput scenario; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|start| name.starts_with(start))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let window = Duration::from_secs_f64(args.seconds);
    let mut report = Report::new()?;
    if args.wants("ceiling") || args.scenarios.is_empty() {
        let found = ceiling::measure(window, args.rounds).await?;
        report.add_ceiling(found)?;
    }
    let throughput: [(&str, f64, &str); 5] = [
        ("ten_step", 5_000.0, "activities/s"),
        ("local_steps", 20_000.0, "local activities/s"),
        ("one_step", 1_500.0, "workflows/s"),
        ("start_only", 8_000.0, "starts/s"),
        ("signals", 10_000.0, "signals/s"),
    ];
    for (name, target, unit) in throughput {
        if !args.wants(name) {
            continue;
        }
        let mut values = Vec::new();
        for _ in 0..args.rounds {
            // Each round on a deployment of its own: what one leaves behind must not slow the next.
            let deployment = Deployment::start().await;
            values.push(match name {
                "ten_step" => work::steps(&deployment, work::Kind::InSequence, 10, window).await?,
                "one_step" => work::steps(&deployment, work::Kind::InSequence, 1, window).await?,
                "local_steps" => work::steps(&deployment, work::Kind::Locally, 100, window).await?,
                "start_only" => load::starts(&deployment, window).await?,
                _ => load::signals(&deployment, window).await?,
            });
        }
        report.add(name, &mut values, unit, target, report::Better::More)?;
    }
    if args.wants("step_latency_ms") || args.wants("workflow_latency_ms") {
        let deployment = Deployment::start().await;
        let found = work::latencies(&deployment).await?;
        report.add(
            "step_latency_ms",
            &mut [found.step_ms],
            "ms p50",
            2.0,
            report::Better::Less,
        )?;
        report.add(
            "workflow_latency_ms",
            &mut [found.workflow_ms],
            "ms p50",
            5.0,
            report::Better::Less,
        )?;
    }
    if args.wants("idle_100k_mb") {
        let megabytes = memory::idle(&Deployment::start().await, 100_000).await?;
        report.add(
            "idle_100k_mb",
            &mut [megabytes],
            "MB",
            500.0,
            report::Better::Less,
        )?;
    }
    if args.wants("takeover_s") {
        let mut values = Vec::new();
        for _ in 0..args.rounds {
            values.push(takeover::measure().await?);
        }
        report.add("takeover_s", &mut values, "s", 5.0, report::Better::Less)?;
    }
    report.end();
    Ok(())
}
