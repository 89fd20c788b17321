//! `fermata operator verify`: partition by partition, with what is being read on standard error.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use fermata_engine::jetstream::{JetStream, NatsOptions};
use fermata_engine::verify::{Report, verify};
use fermata_proto::ids::Partition;
use fermata_transport::Transport;
use serde_json::{Value, json};

use super::{bytes, print, streams};
use crate::workflow::{Output, table};

/// Problems of one partition that the table shows.
const SHOWN_MAX: usize = 20;

#[derive(clap::Args)]
pub struct Args {
    /// Only this partition; repeat it for more
    #[arg(long, short)]
    partition: Vec<u16>,
}

pub async fn run(
    transport: &Transport,
    nats: &str,
    args: &Args,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let count = transport.partitions();
    if let Some(wrong) = args.partition.iter().find(|one| **one >= count) {
        bail!(
            "verify partition {wrong}: this deployment has the partitions 0 to {}",
            count - 1
        );
    }
    let wanted: Vec<u16> = match args.partition.as_slice() {
        [] => (0..count).collect(),
        some => some.to_vec(),
    };
    // With several copies only the leader's is sure to hold what was acknowledged.
    let replicas = streams(transport)
        .await?
        .iter()
        .map(|one| one.replicas)
        .max();
    let broker = JetStream::connect(&NatsOptions {
        servers: nats.to_owned(),
        name: "fermata-operator".to_owned(),
        replicas: replicas.unwrap_or(1),
        ..NatsOptions::default()
    })
    .await?;
    let mut reports = Vec::new();
    for (at, partition) in wanted.iter().copied().map(Partition).enumerate() {
        let progress = Progress::begin(format!(
            "partition {partition} ({} of {})",
            at + 1,
            wanted.len()
        ));
        let report = verify(&broker, partition, count, |records| progress.tell(records))
            .await
            .with_context(|| format!("verify partition {partition}"))?;
        progress.end();
        reports.push(report);
    }
    let problems: usize = reports.iter().map(|report| report.problems.len()).sum();
    let answer: Vec<Value> = reports.iter().map(json_of).collect();
    let answer = json!({ "partitions": answer, "problems": problems });
    print(output, &answer, || table_of(&reports));
    Ok(if problems == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One line on a terminal that is written over; nothing elsewhere.
struct Progress {
    what: String,
    is_shown: bool,
}

impl Progress {
    fn begin(what: String) -> Self {
        let progress = Self {
            what,
            is_shown: std::io::stderr().is_terminal(),
        };
        progress.tell(0);
        progress
    }

    fn tell(&self, records: u64) {
        if self.is_shown {
            eprint!("\r\x1b[K{}: {records} records", self.what);
            let _ = std::io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}

fn json_of(report: &Report) -> Value {
    json!({
        "partition": report.partition.0,
        "epoch": report.epoch,
        "applied": report.applied.0,
        "logRecords": report.log_records,
        "transitions": report.transitions,
        "openRuns": report.open_runs,
        "closedRuns": report.closed_runs,
        "chunks": report.chunks,
        "events": report.events,
        "bytes": report.bytes,
        "problems": report.problems.iter().map(|problem| json!({"subject": problem.subject, "what": problem.what})).collect::<Vec<_>>(),
    })
}

fn table_of(reports: &[Report]) -> String {
    let head = [
        "PARTITION",
        "OPEN",
        "CLOSED",
        "EVENTS",
        "LOG",
        "READ",
        "PROBLEMS",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(reports.iter().map(|report| {
        [
            report.partition.to_string(),
            report.open_runs.to_string(),
            report.closed_runs.to_string(),
            report.events.to_string(),
            report.log_records.to_string(),
            bytes(report.bytes),
            match report.problems.len() {
                0 => "none".to_owned(),
                count => count.to_string(),
            },
        ]
    }));
    let mut out = table::columns(&rows);
    for problem in reports
        .iter()
        .flat_map(|report| report.problems.iter().take(SHOWN_MAX))
    {
        out.push_str(&format!("\n{}: {}", problem.subject, problem.what));
    }
    if out.contains("\nfm.") {
        out.push('\n');
    }
    out
}
