//! Kills processes and starts them again, as a seed says; restarts those that end by themselves, as a supervisor would.
//!
//! The broker is killed by the test itself, on this plan: nothing else may start or stop it.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use fermata_test_support::{Fermata, Process};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const ENGINE_KILLS: usize = 22;
const WORKER_KILLS: usize = 11;
const BROKER_KILLS: usize = 3;
/// How often it is looked whether a process has ended by itself.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// Words of a log that somebody must look at: none of the faults here may lead to them.
const COMPLAINTS: [&str; 2] = ["panicked at", "ERROR"];

/// One kill.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// After the one before.
    pub after: Duration,
    /// Until it is started again.
    pub down: Duration,
}

/// All kills, each list in order; engines and workers take turns.
pub struct Plan {
    engines: Vec<Fault>,
    workers: Vec<Fault>,
    broker: Vec<Fault>,
}

impl Plan {
    pub fn random(random: &mut fastrand::Rng) -> Self {
        let mut faults = |count: usize, after: std::ops::Range<u64>, down: std::ops::Range<u64>| {
            let mut fault = || {
                // Half of them come back at once, before anybody misses them.
                let is_quick = random.bool();
                Fault {
                    after: Duration::from_millis(random.u64(after.clone())),
                    down: Duration::from_millis(if is_quick {
                        0
                    } else {
                        random.u64(down.clone())
                    }),
                }
            };
            (0..count).map(|_| fault()).collect::<Vec<Fault>>()
        };
        Self {
            engines: faults(ENGINE_KILLS, 800..3_200, 300..2_500),
            workers: faults(WORKER_KILLS, 2_500..5_500, 300..3_000),
            broker: faults(BROKER_KILLS, 9_000..16_000, 200..1_500),
        }
    }
}

/// What can be killed and comes back.
trait Victim: Send + 'static {
    const NAME: &str;
    fn kill(&mut self);
    fn start_again(&mut self);
    fn has_ended(&mut self) -> bool;
    fn log(&self) -> String;
}

impl Victim for Fermata {
    const NAME: &str = "engine";

    fn kill(&mut self) {
        Fermata::kill(self);
    }

    fn start_again(&mut self) {
        Fermata::start_again(self);
    }

    fn has_ended(&mut self) -> bool {
        self.ended().is_some()
    }

    fn log(&self) -> String {
        Fermata::log(self)
    }
}

/// A `crash-worker`.
pub struct WorkerProcess {
    // Before `folder`: it ends before its log goes.
    process: Option<Process>,
    folder: TempDir,
    nats_url: String,
}

impl WorkerProcess {
    pub fn start(nats_url: String) -> Self {
        let mut worker = Self {
            process: None,
            folder: tempfile::tempdir().expect("the temp folder is writable"),
            nats_url,
        };
        worker.start_again();
        worker
    }
}

impl Victim for WorkerProcess {
    const NAME: &str = "worker";

    fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    fn start_again(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crash-worker"));
        command.arg(&self.nats_url);
        let folder = self.folder.path();
        let process = Process::spawn(&mut command, &folder.join("worker.log"), folder);
        self.process = Some(process);
    }

    fn has_ended(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.ended().is_some())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("worker.log")).unwrap_or_default()
    }
}

/// What all lanes share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    in_flight: Arc<AtomicUsize>,
    kills_that_matter: AtomicUsize,
    own_ends: AtomicUsize,
}

/// The processes of one kind, and what happens to them.
struct Lane<V> {
    victims: Vec<V>,
    shared: Arc<Shared>,
    kills: usize,
}

impl<V: Victim> Lane<V> {
    fn start(victims: Vec<V>, plan: Vec<Fault>, shared: Arc<Shared>) -> JoinHandle<Self> {
        let mut lane = Self {
            victims,
            shared,
            kills: 0,
        };
        tokio::spawn(async move {
            for fault in plan {
                lane.watch_over(fault.after).await;
                let turn = lane.kills % lane.victims.len();
                lane.shared.count(lane.shared.in_flight.load(Relaxed));
                lane.victims[turn].kill();
                lane.kills += 1;
                lane.watch_over(fault.down).await;
                lane.victims[turn].start_again();
            }
            while !lane.shared.stop.load(Relaxed) {
                lane.watch_over(LOOK_PERIOD).await;
            }
            lane
        })
    }

    /// Lets time pass and starts again what ends by itself, such as a process that found no broker when it started.
    async fn watch_over(&mut self, length: Duration) {
        let end = Instant::now() + length;
        loop {
            for victim in &mut self.victims {
                if victim.has_ended() {
                    self.shared.own_ends.fetch_add(1, Relaxed);
                    victim.start_again();
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_PERIOD)).await;
        }
    }

    fn logs(&self) -> Vec<(String, String)> {
        let logs = self.victims.iter().enumerate();
        logs.map(|(number, victim)| (format!("{}-{number}", V::NAME), victim.log()))
            .collect()
    }
}

impl Shared {
    fn count(&self, in_flight: usize) {
        self.kills_that_matter
            .fetch_add(usize::from(in_flight > 0), Relaxed);
    }
}

/// Everything that goes on until [`Self::stop`].
pub struct Faults {
    engines: JoinHandle<Lane<Fermata>>,
    workers: JoinHandle<Lane<WorkerProcess>>,
    broker: Vec<Fault>,
    shared: Arc<Shared>,
}

/// What was done, and what the processes said about it. They go on running until this is dropped.
pub struct Report {
    pub engine_kills: usize,
    pub worker_kills: usize,
    pub kills_that_matter: usize,
    pub own_ends: usize,
    pub takeovers: usize,
    pub complaints: Vec<String>,
    pub logs: Vec<(String, String)>,
    pub http_addresses: Vec<String>,
    _engines: Lane<Fermata>,
    _workers: Lane<WorkerProcess>,
}

impl Faults {
    pub fn start(
        plan: Plan,
        engines: Vec<Fermata>,
        workers: Vec<WorkerProcess>,
        in_flight: Arc<AtomicUsize>,
    ) -> Self {
        let shared = Arc::new(Shared {
            in_flight,
            ..Shared::default()
        });
        Self {
            engines: Lane::start(engines, plan.engines, shared.clone()),
            workers: Lane::start(workers, plan.workers, shared.clone()),
            broker: plan.broker,
            shared,
        }
    }

    pub fn broker_plan(&self) -> Vec<Fault> {
        self.broker.clone()
    }

    /// A kill happens now.
    pub fn count(&self, in_flight: usize) {
        self.shared.count(in_flight);
    }

    /// Waits for the last fault and gives everything back, running.
    pub async fn stop(self) -> Report {
        self.shared.stop.store(true, Relaxed);
        let mut engines = self.engines.await.expect("the lane of engines ends");
        let workers = self.workers.await.expect("the lane of workers ends");
        for engine in &mut engines.victims {
            engine.wait_until_ready().await;
        }
        let logs = [engines.logs(), workers.logs()].concat();
        let lines = || {
            logs.iter()
                .flat_map(|(name, log)| log.lines().map(move |line| (name, line)))
        };
        Report {
            engine_kills: engines.kills,
            worker_kills: workers.kills,
            kills_that_matter: self.shared.kills_that_matter.load(Relaxed),
            own_ends: self.shared.own_ends.load(Relaxed),
            takeovers: lines()
                .filter(|(_, line)| line.contains("partition taken over"))
                .count(),
            complaints: lines()
                .filter(|(_, line)| COMPLAINTS.iter().any(|word| line.contains(word)))
                .map(|(name, line)| format!("{name}: {line}"))
                .collect(),
            http_addresses: engines.victims.iter().map(Fermata::http_address).collect(),
            logs,
            _engines: engines,
            _workers: workers,
        }
    }
}
