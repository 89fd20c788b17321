//! Workers that die by SIGKILL or stand still by SIGSTOP, under load: what they held is with others within seconds,
//! although no time-out would tell for an hour, and nothing is lost or completed twice.

#[path = "../src/steps.rs"]
mod steps;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use fermata_engine::jetstream::{JetStream, NatsOptions};
use fermata_engine::{Engine, EngineOptions, SystemClock};
use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::PendingActivityState;
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes as Event};
use fermata_proto::ids::WorkflowId;
use fermata_proto::rpc::{Request, Response};
use fermata_proto::service::*;
use fermata_test_support::{NatsServer, Process, wait_for};
use fermata_transport::{Options, Transport};
use fermata_worker::Client;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;

const FAULTS: usize = 32;
const BETWEEN_FAULTS: Duration = Duration::from_millis(1_900);
const LANES: u64 = 30;
const WORKERS: usize = 3;
const TTL: Duration = Duration::from_secs(2);
/// A worker's end is noticed after its time to live; the rest is for a machine that does other things as well.
const REASSIGNED_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(4);
const LOOK_PERIOD: Duration = Duration::from_millis(100);
const WAIT: Duration = Duration::from_secs(30);
const READY_MAX: Duration = Duration::from_secs(60);

struct Deployment {
    nats: NatsServer,
    engine: Engine,
    transport: Transport,
    client: Client,
}

async fn engine(nats: &NatsServer) -> Engine {
    let broker = JetStream::connect(&NatsOptions {
        servers: nats.url(),
        ..NatsOptions::default()
    })
    .await
    .unwrap();
    let options = EngineOptions {
        partitions: 2,
        ..EngineOptions::default()
    };
    let registry = prometheus::Registry::new();
    let engine = Engine::start(Arc::new(broker), options, Arc::new(SystemClock), &registry)
        .await
        .unwrap();
    wait_for("an engine that is ready", READY_MAX, async || {
        engine.not_ready().is_empty().then_some(())
    })
    .await;
    engine
}

impl Deployment {
    async fn start() -> Self {
        let nats = NatsServer::start().await;
        let engine = engine(&nats).await;
        let options = Options {
            servers: nats.url(),
            ..Options::default()
        };
        Self {
            transport: Transport::connect(&options).await.unwrap(),
            client: Client::connect(nats.url()).await.unwrap(),
            engine,
            nats,
        }
    }
}

/// A `liveness-worker`.
struct WorkerProcess {
    process: Process,
    identity: String,
    // After the process: it ends before its log goes.
    _folder: TempDir,
}

impl WorkerProcess {
    fn start(nats_url: &str, number: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = format!("worker-{number}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_liveness-worker"));
        command.args([nats_url, &identity, &TTL.as_millis().to_string()]);
        let process = Process::spawn(&mut command, &folder.path().join("log"), folder.path());
        Self {
            process,
            identity,
            _folder: folder,
        }
    }
}

/// Asks the engine past the SDK.
#[derive(Clone)]
struct Asker {
    transport: Transport,
}

/// An attempt that a worker runs.
#[derive(Debug, Clone, PartialEq)]
struct Running {
    workflow_id: String,
    activity_id: String,
    attempt: i32,
}

impl Asker {
    async fn ask(&self, workflow_id: &str, request: Request) -> Response {
        let namespace = self.transport.namespaces().by_name("default").unwrap();
        let workflow_id = WorkflowId::from(workflow_id);
        self.transport
            .call(&namespace.id, &workflow_id, WAIT, request)
            .await
            .unwrap()
    }

    /// Attempts of one workflow that run now, with the identities of their workers.
    async fn running(&self, workflow_id: &str) -> Vec<(Running, String)> {
        let request = DescribeWorkflowExecutionRequest {
            execution: Some(WorkflowExecution {
                workflow_id: workflow_id.to_owned(),
                run_id: String::new(),
            }),
            ..DescribeWorkflowExecutionRequest::default()
        };
        let request = Request::DescribeWorkflowExecution(Box::new(request));
        let Response::DescribeWorkflowExecution(described) = self.ask(workflow_id, request).await
        else {
            panic!("a describe was answered with something else");
        };
        described
            .pending_activities
            .into_iter()
            .filter(|pending| pending.state == PendingActivityState::Started)
            .map(|pending| {
                let running = Running {
                    workflow_id: workflow_id.to_owned(),
                    activity_id: pending.activity_id,
                    attempt: pending.attempt,
                };
                (running, pending.last_worker_identity)
            })
            .collect()
    }

    /// Waits until the attempt is over.
    async fn until_elsewhere(&self, lost: &Running, until: Instant) {
        while self
            .running(&lost.workflow_id)
            .await
            .iter()
            .any(|(running, _)| running == lost)
        {
            assert!(Instant::now() < until, "{lost:?} is not given to others");
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    async fn history(&self, workflow_id: &str) -> Vec<HistoryEvent> {
        let mut events = Vec::new();
        let mut next_page_token = bytes::Bytes::new();
        loop {
            let request = GetWorkflowExecutionHistoryRequest {
                execution: Some(WorkflowExecution {
                    workflow_id: workflow_id.to_owned(),
                    run_id: String::new(),
                }),
                next_page_token,
                ..GetWorkflowExecutionHistoryRequest::default()
            };
            let request = Request::GetWorkflowExecutionHistory(Box::new(request));
            let Response::GetWorkflowExecutionHistory(page) = self.ask(workflow_id, request).await
            else {
                panic!("a history was answered with something else");
            };
            events.extend(page.history.unwrap_or_default().events);
            next_page_token = page.next_page_token;
            if next_page_token.is_empty() {
                return events;
            }
        }
    }
}

/// Every step was scheduled once and completed once, whatever happened in between; gives the attempts beyond the first.
fn check(workflow_id: &str, events: &[HistoryEvent]) -> usize {
    let mut completed: BTreeMap<i64, usize> = BTreeMap::new();
    let mut further = 0;
    for event in events {
        match event.attributes.as_ref().unwrap() {
            Event::ActivityTaskScheduled(_) => {
                completed.insert(event.event_id, 0);
            }
            Event::ActivityTaskStarted(started) => {
                further += usize::try_from(started.attempt - 1).unwrap();
            }
            Event::ActivityTaskCompleted(done) => {
                *completed.get_mut(&done.scheduled_event_id).unwrap() += 1;
            }
            Event::ActivityTaskFailed(_) | Event::ActivityTaskTimedOut(_) => {
                panic!("{workflow_id}: a step was given up: {event:?}");
            }
            _ => {}
        }
    }
    assert_eq!(completed.len() as u64, steps::STEPS, "{workflow_id}");
    assert!(
        completed.values().all(|times| *times == 1),
        "{workflow_id}: completed so many times: {completed:?}"
    );
    further
}

/// The workflow that each lane is at.
type Open = Arc<Vec<std::sync::Mutex<String>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_die_or_stand_still_lose_nothing() {
    let deployment = Deployment::start().await;
    let asker = Asker {
        transport: deployment.transport.clone(),
    };
    let url = deployment.nats.url();
    let mut workers: Vec<_> = (0..WORKERS)
        .map(|number| WorkerProcess::start(&url, number))
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicUsize::new(0));
    let further = Arc::new(AtomicUsize::new(0));
    let open: Open = Arc::new((0..LANES).map(|_| std::sync::Mutex::default()).collect());
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let (client, asker) = (deployment.client.clone(), asker.clone());
        let (over, ended, further) = (over.clone(), ended.clone(), further.clone());
        let open = open.clone();
        lanes.spawn(async move {
            for turn in 0.. {
                let id = format!("steps-{lane}-{turn}");
                let handle = client
                    .start(steps::steps, lane * 100 + turn)
                    .queue(steps::QUEUE)
                    .id(&id)
                    .await
                    .unwrap();
                *open[usize::try_from(lane).unwrap()].lock().unwrap() = id.clone();
                let sum = tokio::time::timeout(WAIT * 3, handle.result())
                    .await
                    .unwrap_or_else(|_| panic!("{id} does not end"))
                    .unwrap();
                assert_eq!(sum, (0..steps::STEPS).sum::<u64>());
                further.fetch_add(check(&id, &asker.history(&id).await), SeqCst);
                ended.fetch_add(1, SeqCst);
                if over.load(SeqCst) {
                    return;
                }
            }
        });
    }

    let mut watching = JoinSet::new();
    let mut paused: Option<(usize, Instant)> = None;
    let mut started = WORKERS;
    for fault in 0..FAULTS {
        tokio::time::sleep(BETWEEN_FAULTS).await;
        if let Some((victim, since)) = paused
            && since.elapsed() >= PAUSE
        {
            workers[victim].process.resume();
            paused = None;
        }
        // One in four is a pause, of which there is one at a time.
        let mut victim = fault % WORKERS;
        if paused.is_some_and(|(paused, _)| paused == victim) {
            victim = (victim + 1) % WORKERS;
        }
        let is_pause = fault % 4 == 3 && paused.is_none();
        let identity = workers[victim].identity.clone();
        if is_pause {
            workers[victim].process.pause();
            paused = Some((victim, Instant::now()));
        } else {
            let next = WorkerProcess::start(&url, started);
            started += 1;
            std::mem::replace(&mut workers[victim], next).process.kill();
        }
        let at = Instant::now();
        let ids: Vec<String> = open.iter().map(|id| id.lock().unwrap().clone()).collect();
        for id in ids.into_iter().filter(|id| !id.is_empty()) {
            let (asker, identity) = (asker.clone(), identity.clone());
            // What it held when it was hit is elsewhere, or done elsewhere, in time.
            watching.spawn(async move {
                let held: Vec<Running> = asker
                    .running(&id)
                    .await
                    .into_iter()
                    .filter(|(_, worker)| *worker == identity)
                    .map(|(running, _)| running)
                    .collect();
                for lost in &held {
                    asker.until_elsewhere(lost, at + REASSIGNED_MAX * 3).await;
                }
                (held.len(), at.elapsed())
            });
        }
    }
    let mut held = 0;
    let mut slowest = Duration::ZERO;
    while let Some(watched) = watching.join_next().await {
        let (count, took) = watched.unwrap();
        held += count;
        if count > 0 {
            slowest = slowest.max(took);
        }
    }
    if let Some((victim, _)) = paused {
        workers[victim].process.resume();
    }
    over.store(true, SeqCst);
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
    println!(
        "{FAULTS} faults, {} workflows, {held} attempts held by a worker that was hit, {} attempts beyond the first, slowest {slowest:?}",
        ended.load(SeqCst),
        further.load(SeqCst)
    );
    assert!(held >= FAULTS, "the faults hit only {held} attempts");
    assert!(
        slowest <= REASSIGNED_MAX,
        "an attempt was with others only after {slowest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_takes_over_knows_what_a_dead_worker_held() {
    let deployment = Deployment::start().await;
    let url = deployment.nats.url();
    let worker = WorkerProcess::start(&url, 0);
    let id = "orphan";
    let handle = deployment
        .client
        .start(steps::steps, 5)
        .queue(steps::QUEUE)
        .id(id)
        .await
        .unwrap();
    let asker = Asker {
        transport: deployment.transport.clone(),
    };
    wait_for("an attempt that runs", WAIT, async || {
        (!asker.running(id).await.is_empty()).then_some(())
    })
    .await;
    // Nobody sees the worker die.
    deployment.engine.shutdown().await;
    worker.process.kill();
    tokio::time::sleep(TTL).await;
    let _engine = engine(&deployment.nats).await;
    let _other = WorkerProcess::start(&url, 1);
    let sum = tokio::time::timeout(WAIT, handle.result())
        .await
        .expect("what the dead worker held is done by another")
        .unwrap();
    assert_eq!(sum, (0..steps::STEPS).sum::<u64>());
    assert!(check(id, &asker.history(id).await) >= 1);
}
