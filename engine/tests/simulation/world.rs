//! One world: a broker, engine replicas, and the one random source that all choices come from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fermata_engine::simulated::SimulatedBroker;
use fermata_engine::{Clock, Engine, EngineOptions};
use fermata_proto::common::WorkflowExecution;
use fermata_proto::ids::{NamespaceId, Partition, WorkflowId};
use fermata_proto::rpc::*;
use fermata_proto::time::Timestamp;
use tokio::time::Instant;

use crate::gate::{Gated, Keeper};
use crate::model::Plan;

/// Partitions that a world may have.
pub const PARTITIONS_MAX: u16 = 3;
/// The first moment of every world.
const NOON: i64 = 1_700_000_000_000;
/// How long one try of a request waits.
const CALL: Duration = Duration::from_secs(5);
/// A request that has no answer by then never gets one.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// Moves with tokio's clock.
#[derive(Clone, Copy)]
pub struct WorldClock(Instant);

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOON) + self.0.elapsed()
    }
}

/// What clients were told: it must be true for ever.
#[derive(Debug, Default)]
pub struct Book {
    /// Runs by the start requests that made them.
    pub starts: BTreeMap<(String, String), String>,
    /// Signals by workflow and request id.
    pub signals: BTreeSet<(String, String)>,
    /// Signals that a client gave up, since the workflow was closed.
    pub refused_signals: BTreeSet<(String, String)>,
    /// When a cancel request was acknowledged.
    pub cancels: BTreeMap<String, Timestamp>,
    pub terminations: BTreeSet<String>,
    pub terminations_asked: BTreeSet<String>,
    /// What the workflows were asked to do.
    pub plans: BTreeMap<String, Plan>,
    /// Activities by workflow, run and id, of which a completion was acknowledged.
    pub activities: BTreeSet<(String, String, String)>,
    /// Activities by workflow, run and id that a worker held when it died: which attempt, and when its announcement was gone.
    pub held: BTreeMap<(String, String, String), (i32, Instant)>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

/// See the module.
pub struct World {
    pub broker: SimulatedBroker,
    pub clock: WorldClock,
    pub namespace: NamespaceId,
    pub partitions: u16,
    random: Mutex<fastrand::Rng>,
    book: Mutex<Book>,
    /// Faults have come to an end.
    calm: AtomicBool,
}

/// A replica that runs, or has been told to stop.
pub struct Replica {
    pub id: String,
    pub engine: Engine,
    pub keeper: Keeper,
}

impl World {
    pub fn new(seed: u64) -> Arc<Self> {
        let mut random = fastrand::Rng::with_seed(seed);
        let broker = SimulatedBroker::new(random.u64(..));
        broker.start_trace();
        broker.keep_logs();
        let partitions = random.u16(1..=PARTITIONS_MAX);
        let name = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, b"default");
        Arc::new(Self {
            broker,
            clock: WorldClock(Instant::now()),
            namespace: name.to_string().into(),
            partitions,
            random: Mutex::new(random),
            book: Mutex::default(),
            calm: AtomicBool::new(false),
        })
    }

    // ---- chance ----

    fn random(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.random.lock().unwrap()
    }

    pub fn number(&self, range: std::ops::Range<u64>) -> u64 {
        self.random().u64(range)
    }

    pub fn chance(&self, probability: f64) -> bool {
        self.random().f64() < probability
    }

    /// From 0 to below `bound`.
    pub fn below(&self, bound: usize) -> usize {
        self.random().usize(0..bound)
    }

    pub async fn sleep_up_to(&self, millis: u64) {
        let millis = self.number(0..millis + 1);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// As [`Self::chance`], but never once faults have ended.
    pub fn mishap(&self, probability: f64) -> bool {
        !self.is_calm() && self.chance(probability)
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    // ---- the book ----

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub fn count(&self, kind: &'static str) {
        *self.book().counts.entry(kind).or_default() += 1;
    }

    // ---- engines ----

    /// Starts a replica as soon as the broker lets it.
    pub async fn start_replica(&self, id: &str, cache_bytes_max: usize) -> Replica {
        loop {
            let keeper = Keeper::default();
            let broker = Gated::new(self.broker.connect(id), keeper.clone());
            let options = EngineOptions {
                id: id.to_owned(),
                partitions: self.partitions,
                cache_bytes_max,
                checkpoint_interval: Duration::from_millis(self.number(100..1_500)),
                seed: Some(self.number(0..u64::MAX)),
                ..EngineOptions::default()
            };
            let registry = prometheus::Registry::new();
            let clock = Arc::new(self.clock);
            match Engine::start(Arc::new(broker), options, clock, &registry).await {
                Ok(engine) => {
                    return Replica {
                        id: id.to_owned(),
                        engine,
                        keeper,
                    };
                }
                Err(error) => {
                    self.broker.note(|| format!("{id} does not start: {error}"));
                    self.broker.crash(id);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    // ---- requests ----

    pub fn partition(&self, workflow_id: &str) -> Partition {
        Partition::of(
            &self.namespace,
            &WorkflowId::from(workflow_id),
            self.partitions,
        )
    }

    /// Asks until there is a definite answer, as the edge does.
    pub async fn call(&self, workflow_id: &str, request: Request) -> Answer {
        let until = Instant::now() + ANSWER_MAX;
        loop {
            if let Some(answer) = self.try_call(workflow_id, request.clone(), CALL).await {
                return answer;
            }
            assert!(
                Instant::now() < until,
                "no answer within {ANSWER_MAX:?} for {workflow_id} to {request:?}"
            );
            self.sleep_up_to(200).await;
        }
    }

    /// Asks once; nothing if asking again may help.
    pub async fn try_call(
        &self,
        workflow_id: &str,
        request: Request,
        wait: Duration,
    ) -> Option<Answer> {
        let call = Call {
            namespace_id: self.namespace.clone(),
            workflow_id: workflow_id.into(),
            wait_ms: u32::try_from(wait.as_millis()).unwrap(),
            request,
        };
        let partition = self.partition(workflow_id);
        let answer = self.broker.call(partition, &call, wait).await.ok()?;
        let Err(rejection) = &answer else {
            return Some(answer);
        };
        match rejection.kind {
            RejectionKind::Unavailable
            | RejectionKind::NotOwner
            | RejectionKind::ResourceExhausted
            | RejectionKind::Aborted => None,
            RejectionKind::Corrupt | RejectionKind::Internal => {
                panic!("{workflow_id} was answered {answer:?}")
            }
            RejectionKind::InvalidArgument
            | RejectionKind::NotFound
            | RejectionKind::AlreadyExists
            | RejectionKind::FailedPrecondition
            | RejectionKind::PermissionDenied
            | RejectionKind::Unimplemented
            | RejectionKind::ProtocolMismatch
            | RejectionKind::DeadlineExceeded
            | RejectionKind::Canceled => Some(answer),
        }
    }
}

pub fn execution(workflow_id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    })
}
