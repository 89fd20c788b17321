//! Five hundred workflows while engines, workers and the broker are killed with SIGKILL, over and over.
//!
//! Real processes: a nats-server that syncs before it acknowledges, two `fermata server` that share four partitions, two
//! workers. [`jobs`] makes the workflows and says beforehand how each ends, [`faults`] kills, [`client`] asks as often as it
//! must, [`history`] looks at every event that is left. `SEED=<number>` repeats the workflows and the choice of faults; how
//! they fall together is up to the machine.
//!
//! Absent: power failure (the page cache outlives a process), brokers in a cluster, and clocks that go wrong.

/// Prints past the test runner's capture: what was played shows in every run, not only in one that failed.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod client;
mod faults;
mod history;
mod jobs;
#[path = "../../src/work.rs"]
#[allow(dead_code, reason = "the worker's half, of which the model needs some")]
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::enums::WorkflowExecutionStatus;
use fermata_test_support::{Fermata, NatsServer, wait_for};
use tokio::time::Instant;

use client::Client;
use faults::{Faults, Plan, WorkerProcess};
use jobs::Job;

const WORKFLOWS: u64 = 500;
const PARTITIONS: &str = "4";
/// After this a workflow that has not ended counts as lost.
const END_MAX: Duration = Duration::from_secs(115);
/// The read model is behind the histories by no more than this.
const LISTED_MAX: Duration = Duration::from_secs(20);
/// Problems in the panic message; all of them are in the folder of logs.
const PROBLEMS_SHOWN: usize = 30;

/// A run that is left: where, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedRun {
    pub namespace: &'static str,
    pub workflow_id: String,
    pub status: WorkflowExecutionStatus,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_workflow_ends_as_it_should_whatever_is_killed() {
    let seed = std::env::var("SEED").map_or_else(
        |_| fastrand::u64(..1_000_000),
        |seed| seed.parse().expect("SEED is a number"),
    );
    tell!("SEED={seed}");
    let mut nats = NatsServer::start().await;
    let engines = engines(&nats).await;
    let http = engines[0].http_address();
    register_namespace(&http).await;
    let workers: Vec<WorkerProcess> = (0..2).map(|_| WorkerProcess::start(nats.url())).collect();
    let began = Instant::now();
    let client = Arc::new(Client::connect(&nats.url(), began + END_MAX).await);

    let mut random = fastrand::Rng::with_seed(seed);
    let plan = Plan::random(&mut random);
    let mut driven = Vec::new();
    for number in 0..WORKFLOWS {
        let job = Job::random(number, &mut random);
        let client = client.clone();
        driven.push(tokio::spawn(async move {
            jobs::drive(job, &client, began).await
        }));
    }
    let faults = Faults::start(plan, engines, workers, client.in_flight.clone());
    let mut broker_kills = 0;
    for fault in faults.broker_plan() {
        tokio::time::sleep(fault.after).await;
        faults.count(client.in_flight());
        nats.kill();
        broker_kills += 1;
        tokio::time::sleep(fault.down).await;
        nats.restart().await;
    }

    let mut problems = Vec::new();
    let mut outcomes = Vec::new();
    for job in driven {
        match job.await.expect("a driver does not panic") {
            Ok(outcome) => outcomes.push(outcome),
            Err(problem) => problems.push(problem),
        }
    }
    let ended = began.elapsed();
    let report = faults.stop().await;

    let mut runs = BTreeMap::new();
    let mut events = 0;
    for outcome in &outcomes {
        match jobs::verify(outcome, &client).await {
            Ok(seen) => {
                events += seen.events;
                runs.extend(seen.runs);
                problems.extend(seen.problems);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let verified = began.elapsed();
    if problems.is_empty() {
        problems.extend(unlisted(&report.http_addresses, &runs).await);
    }
    problems.extend(report.complaints.iter().cloned());
    tell!(
        "{WORKFLOWS} workflows in {} runs with {events} events; all had ended after {:.0} s, verified after {:.0} s, \
         listed after {:.0} s",
        runs.len(),
        ended.as_secs_f64(),
        verified.as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
    tell!(
        "killed: {} engines, {} workers, {broker_kills} brokers; {} of these kills with workflows open; {} ended by \
         themselves and were started again; {} partitions taken over; {} calls repeated",
        report.engine_kills,
        report.worker_kills,
        report.kills_that_matter,
        report.own_ends,
        report.takeovers,
        client.repeats(),
    );
    if !problems.is_empty() {
        let folder = keep(seed, &problems, &report.logs, &nats.log());
        let shown = problems.len().min(PROBLEMS_SHOWN);
        panic!(
            "{} problems with SEED={seed}; logs are in {}\n{}",
            problems.len(),
            folder.display(),
            problems[..shown].join("\n")
        );
    }
    assert!(
        report.engine_kills >= 20 && report.worker_kills >= 10 && broker_kills >= 3,
        "too little was killed"
    );
    assert!(
        report.kills_that_matter >= 30,
        "most workflows had ended before the faults: {} kills hit open ones",
        report.kills_that_matter
    );
}

async fn engines(nats: &NatsServer) -> Vec<Fermata> {
    let start = || {
        Fermata::server("api,engine", &nats.url())
            .arg("--partitions")
            .arg(PARTITIONS)
            .start()
    };
    // The first one makes the deployment; the second joins it.
    vec![start().await, start().await]
}

async fn register_namespace(http: &str) {
    let body = serde_json::json!({
        "namespace": work::ELSEWHERE,
        "workflowExecutionRetentionPeriod": "86400s",
    });
    let url = format!("http://{http}/api/v1/namespaces");
    tokio::task::spawn_blocking(move || ureq::post(&url).send_json(&body))
        .await
        .expect("the call does not panic")
        .expect("the namespace is registered");
}

/// What the lists of all api replicas lack or have too much, compared with the histories.
async fn unlisted(addresses: &[String], runs: &BTreeMap<String, ClosedRun>) -> Vec<String> {
    let mut problems = Vec::new();
    for address in addresses {
        let compare = async || client::differences(&client::listed(address).await?, runs);
        let same = wait_for("a full list", LISTED_MAX * 2, async || {
            compare().await.filter(Vec::is_empty)
        });
        if tokio::time::timeout(LISTED_MAX, same).await.is_err() {
            problems.push(match compare().await {
                Some(differences) => format!("the list at {address}: {}", differences.join(", ")),
                None => format!("{address} gives no list"),
            });
        }
    }
    problems
}

/// Writes everything that helps to find out why to a folder that stays.
fn keep(seed: u64, problems: &[String], logs: &[(String, String)], nats: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{seed}"));
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("the target folder is writable");
    };
    write("problems.txt", &problems.join("\n"));
    write("nats-server.log", nats);
    for (name, log) in logs {
        write(&format!("{name}.log"), log);
    }
    folder
}
