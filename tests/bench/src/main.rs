//! `make bench`: measures Fermata on this machine and prints each figure, its target, and what share it is of the ceiling:
//! group commit of empty transitions over core NATS RPC, measured in the same run.
//!
//! One nats-server with `sync_interval: always`, the engine and api in one process, workers and load in this one; all on
//! the same cores. Each scenario's value goes to `target/bench/results.jsonl` as well.
//!
//! Benchmarks are never tests: nothing here fails because a machine is slow.

mod ceiling;
mod deployment;
mod fan_out;
mod go_sdk;
mod idle_polls;
mod load;
mod memory;
mod report;
mod scale;
mod takeover;
mod work;

use std::time::Duration;

use clap::Parser;

use deployment::Deployment;
use report::Better::{Less, More};
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

    fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // What `workers_scale` starts this binary for.
    if let [name, nats_url] = args.scenarios.as_slice()
        && name == "worker"
    {
        return scale::worker(nats_url).await;
    }
    let mut report = Report::new()?;
    if args.wants("ceiling") {
        report.add_ceiling(ceiling::measure(args.window(), args.rounds).await?)?;
    }
    throughput(&args, &mut report).await?;
    workers_scale(&args, &mut report).await?;
    latencies(&args, &mut report).await?;
    temporal_door(&args, &mut report).await?;
    if args.wants("idle_100k_mb") {
        let megabytes = memory::idle(&Deployment::start().await, 100_000).await?;
        report.add("idle_100k_mb", &mut [megabytes], "MB", 500.0, Less)?;
    }
    if args.wants("takeover_s") {
        let mut values = Vec::new();
        for _ in 0..args.rounds {
            values.push(takeover::measure().await?);
        }
        report.add("takeover_s", &mut values, "s", 5.0, Less)?;
    }
    report.end();
    Ok(())
}

async fn throughput(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let scenarios: [(&str, f64, &str); 5] = [
        ("ten_step", 5_000.0, "activities/s"),
        ("local_steps", 20_000.0, "local activities/s"),
        ("one_step", 1_500.0, "workflows/s"),
        ("start_only", 8_000.0, "starts/s"),
        ("signals", 10_000.0, "signals/s"),
    ];
    for (name, target, unit) in scenarios {
        // The share of sticky tasks is ten_step's.
        let is_wanted = args.wants(name) || (name == "ten_step" && args.wants("sticky_hit_pct"));
        if !is_wanted {
            continue;
        }
        let mut values = Vec::new();
        let mut hits = Vec::new();
        for _ in 0..args.rounds {
            // Each round on a deployment of its own: what one leaves behind must not slow the next.
            let deployment = Deployment::start().await;
            let steps =
                async |kind, count| work::steps(&deployment, kind, count, args.window()).await;
            let rate = match name {
                "start_only" => load::starts(&deployment, args.window()).await?,
                "signals" => load::signals(&deployment, args.window()).await?,
                _ => {
                    let found = match name {
                        "ten_step" => steps(work::Kind::InSequence, 10).await?,
                        "one_step" => steps(work::Kind::InSequence, 1).await?,
                        _ => steps(work::Kind::Locally, 100).await?,
                    };
                    hits.extend(found.sticky_hit_percent);
                    found.per_second
                }
            };
            values.push(rate);
        }
        report.add(name, &mut values, unit, target, More)?;
        if name == "ten_step" {
            report.add("sticky_hit_pct", &mut hits, "%", 99.0, More)?;
        }
    }
    Ok(())
}

/// 1, 2 and 4 worker processes, each as a share of so many times the rate of one.
async fn workers_scale(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    if !args.wants("workers_scale") {
        return Ok(());
    }
    let mut rates: [(usize, Vec<f64>); 3] = [(1, Vec::new()), (2, Vec::new()), (4, Vec::new())];
    for _ in 0..args.rounds {
        for (processes, values) in &mut rates {
            let deployment = Deployment::start().await;
            values.push(scale::rate(&deployment, *processes, args.window()).await?);
        }
    }
    let alone = rates[0].1.clone();
    for (processes, mut values) in rates {
        let mut shares: Vec<f64> = values
            .iter()
            .zip(&alone)
            .map(|(rate, one)| 100.0 * rate / (one * processes as f64))
            .collect();
        let name = format!("workers_scale_{processes}");
        report.add(&name, &mut values, "activities/s", 0.0, More)?;
        if processes > 1 {
            let name = format!("{name}_pct");
            report.add(&name, &mut shares, "% of linear", 90.0, More)?;
        }
    }
    Ok(())
}

async fn latencies(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    if args.wants("step_latency_ms") || args.wants("workflow_latency_ms") {
        let found = work::latencies(&Deployment::start().await).await?;
        let (step, workflow) = (&mut [found.step_ms], &mut [found.workflow_ms]);
        report.add("step_latency_ms", step, "ms p50", 2.0, Less)?;
        report.add("workflow_latency_ms", workflow, "ms p50", 5.0, Less)?;
    }
    if args.wants("fan_out") {
        let mut values = Vec::new();
        for _ in 0..args.rounds {
            values.push(fan_out::seconds(&Deployment::start().await).await?);
        }
        report.add("fan_out", &mut values, "s", 1.0, Less)?;
    }
    Ok(())
}

/// Temporal's Go SDK, and thousands of polls with nothing to do.
async fn temporal_door(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let scenarios = [
        ("grpc_ten_step", 10, 2_500.0, "activities/s"),
        ("grpc_one_step", 1, 800.0, "workflows/s"),
    ];
    if scenarios.iter().any(|(name, ..)| args.wants(name)) {
        let program = go_sdk::build().await?;
        if program.is_none() {
            println!("grpc_ten_step, grpc_one_step: left out, there is no `go` here");
        }
        for (name, steps, target, unit) in scenarios {
            let Some(program) = program.as_deref().filter(|_| args.wants(name)) else {
                continue;
            };
            let mut values = Vec::new();
            for _ in 0..args.rounds {
                let deployment = Deployment::start().await;
                values.push(go_sdk::rate(program, &deployment, steps, args.window()).await?);
            }
            report.add(name, &mut values, unit, target, More)?;
        }
    }
    if args.wants("idle_polls_mb") {
        let cost = idle_polls::cost(&Deployment::start().await).await?;
        let (megabytes, core) = (&mut [cost.megabytes], &mut [cost.core_percent]);
        report.add("idle_polls_mb", megabytes, "MB", 200.0, Less)?;
        report.add("idle_polls_core_pct", core, "% of a core", 5.0, Less)?;
    }
    Ok(())
}
