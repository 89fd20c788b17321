//! `fermata operator`: looks at a deployment from below, over NATS, so that it also tells when no api answers.
//!
//! Everything here only reads. `workers` also asks the REST API for the pollers of a queue, which are known there.

mod cluster;
mod partitions;
mod task_queues;
mod verify;
mod workers;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use fermata_transport::{Options, Transport};
use futures::TryStreamExt;
use serde_json::Value;

use crate::workflow::Output;

/// How long NATS and the deployment are waited for: an operator would rather hear that they are away.
const CONNECT_MAX: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Args {
    /// URLs of NATS servers with commas between
    #[arg(
        long,
        env = "FERMATA_NATS",
        default_value = "nats://127.0.0.1:4222",
        global = true
    )]
    nats: String,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the deployment: its brokers, its engines, what is stored
    Cluster,
    /// Show each partition: who owns it, whether it answers, what waits in its log
    Partitions,
    /// Show every task queue: what waits, how long, and who asks for it
    TaskQueues,
    /// Show the workers that announce themselves, and who polls a task queue
    Workers(workers::Args),
    /// Read everything that is stored and check it; exit code 1 if something is wrong
    Verify(verify::Args),
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(over_nats(args))
}

async fn over_nats(args: Args) -> anyhow::Result<ExitCode> {
    let transport = Transport::connect(&Options {
        servers: args.nats.clone(),
        name: "fermata-operator".to_owned(),
        wait: CONNECT_MAX,
    })
    .await?;
    match args.command {
        Command::Cluster => cluster::run(&transport, args.output).await,
        Command::Partitions => partitions::run(&transport, args.output).await,
        Command::TaskQueues => task_queues::run(&transport, args.output).await,
        Command::Verify(given) => verify::run(&transport, &args.nats, &given, args.output).await,
        Command::Workers(given) => workers::run(&transport, given, args.output).await,
    }
}

/// What the broker tells of a stream.
struct Stored {
    name: String,
    messages: u64,
    bytes: u64,
    last_sequence: u64,
    first_sequence: u64,
    replicas: usize,
    /// Copies that do not follow; of a stream with one copy, always 0.
    behind: usize,
}

/// Fermata's streams, by name.
async fn streams(transport: &Transport) -> anyhow::Result<Vec<Stored>> {
    let mut found: Vec<Stored> = Vec::new();
    let mut all = transport.jetstream().streams();
    while let Some(info) = all.try_next().await.context("list the broker's streams")? {
        let name = info.config.name;
        if !name.starts_with("FM_") && !name.starts_with("KV_FM_") {
            continue;
        }
        let replicas = info.cluster.map(|cluster| cluster.replicas);
        found.push(Stored {
            name,
            messages: info.state.messages,
            bytes: info.state.bytes,
            last_sequence: info.state.last_sequence,
            first_sequence: info.state.first_sequence,
            replicas: info.config.num_replicas,
            behind: replicas
                .iter()
                .flatten()
                .filter(|replica| replica.offline || !replica.current)
                .count(),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// `12.3 MiB`.
fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return match unit {
                "B" => format!("{count} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// `3.2 s`, `5 min`, `2 h`, `4 d`.
fn age(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", length.as_secs_f64()),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn print(output: Output, answer: &Value, table: impl FnOnce() -> String) {
    crate::workflow::print(output, answer, |_| table());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
        assert_eq!(age(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(age(Duration::from_secs(7_300)), "2 h");
    }
}
