//! The worker: takes tasks from a queue, runs the code that is registered for them and answers.
//!
//! ```text
//! poll loops ──> drive (one tokio task a chain of work)
//!                  │  workflow task: lane thread runs the code, then the completion, which may bring
//!                  │      the run's next workflow task and eager activities
//!                  │      (local activities run in between, see [`local_activity`])
//!                  └─ activity task: the code, then the completion, which may bring the run's next workflow task
//! ```
//!
//! A run whose activities are on the worker's own queue so goes from step to step without a queue in between.
//!
//! Bounds: slots for workflow tasks and activities, taken before a task is polled; see [`WorkerOptions`].
//! Where to read: [`drive`], [`workflow_task`], [`activity_task`], [`lane`].

mod activity_task;
mod drive;
mod lane;
mod limits;
mod local_activity;
mod metrics;
mod options;
mod presence;
mod registry;
mod resources;
mod watchdog;
mod workflow_task;

use std::sync::Arc;
use std::time::Duration;

use fermata_transport::Claimant;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::client::Client;
use crate::connection::Connection;
use lane::{CacheBounds, Lanes};
use limits::RateLimit;
use metrics::{CacheSize, Gauges, Metrics};
pub use options::WorkerOptions;
use presence::Presence;
pub use registry::RegisteredTwice;
pub(crate) use registry::{
    Registration, Registry, activity_code, blocking_code, definition, registers_activities,
    registers_workflows,
};
pub use resources::ResourceTargets;
use resources::Room;

/// For answers of activities that were dropped at the end.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(5);

/// Why a worker does not run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("start a worker on {task_queue:?}: no workflow and no activity is registered")]
    Nothing { task_queue: String },
    #[error("start a worker on {task_queue:?}")]
    Registered {
        task_queue: String,
        #[source]
        source: RegisteredTwice,
    },
    #[error("start a worker on {task_queue:?}: {reason}")]
    Options { task_queue: String, reason: String },
    #[error("start a worker on {task_queue:?}: register its metrics")]
    Metrics {
        task_queue: String,
        #[source]
        source: prometheus::Error,
    },
    #[error("start a worker on {task_queue:?}: serve its metrics at {address}")]
    MetricsAddress {
        task_queue: String,
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("start a worker on {task_queue:?}: no thread for workflow code")]
    Thread {
        task_queue: String,
        #[source]
        source: std::io::Error,
    },
}

/// Hosts workflows and activities on one task queue.
pub struct Worker {
    connection: Connection,
    task_queue: String,
    registration: Registration,
    options: WorkerOptions,
    shutdown: CancellationToken,
}

/// Ends a worker from elsewhere.
#[derive(Clone)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// The worker takes no more tasks, lets running activities end for as long as its options say, and returns.
    pub fn begin(&self) {
        self.0.cancel();
    }
}

impl Worker {
    pub fn new(client: &Client, task_queue: impl Into<String>) -> Self {
        Self {
            connection: client.connection().clone(),
            task_queue: task_queue.into(),
            registration: Registration::default(),
            options: WorkerOptions::default(),
            shutdown: CancellationToken::new(),
        }
    }

    #[must_use]
    pub fn options(mut self, options: WorkerOptions) -> Self {
        self.options = options;
        self
    }

    registers_workflows!();
    registers_activities!();

    /// Ends it later, from elsewhere.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.shutdown.clone())
    }

    /// Takes tasks until [`Shutdown::begin`]. If this future is dropped, all work is given up at once.
    ///
    /// # Errors
    /// If nothing, or something twice, is registered. A lost connection is no error: it comes back.
    pub async fn run(self) -> Result<(), WorkerError> {
        let task_queue = self.task_queue;
        let mut registration = self.registration;
        registration.convert_with(self.connection.converter.clone());
        let registry = match registration.registry() {
            Ok(registry) => Arc::new(registry.clone()),
            Err(source) => return Err(WorkerError::Registered { task_queue, source }),
        };
        if registry.workflows.is_empty() && registry.activities.is_empty() {
            return Err(WorkerError::Nothing { task_queue });
        }
        let options = self.options;
        let mut connection = self.connection;
        if let Some(identity) = &options.identity {
            connection.identity = identity.as_str().into();
        }
        if let Err(reason) = options.check() {
            return Err(WorkerError::Options { task_queue, reason });
        }
        let exported = options.metrics.clone().unwrap_or_default();
        let metrics = match Metrics::register(&exported, &task_queue) {
            Ok(metrics) => metrics,
            Err(source) => return Err(WorkerError::Metrics { task_queue, source }),
        };
        let serving = match options.metrics_address {
            None => None,
            Some(address) => match metrics::listen(address).await {
                Ok(listener) => Some(metrics::serve(listener, exported.clone())),
                Err(source) => {
                    return Err(WorkerError::MetricsAddress {
                        task_queue,
                        address,
                        source,
                    });
                }
            },
        };
        let cache_size = Arc::<CacheSize>::default();
        let lanes = Lanes::start(
            &registry,
            &connection.namespace.name,
            options.workflow_threads,
            CacheBounds {
                runs_max: options.cached_workflows_max,
                bytes_max: options.cached_workflows_bytes_max,
                size: cache_size.clone(),
            },
        );
        let lanes = match lanes {
            Ok(lanes) => lanes,
            Err(source) => return Err(WorkerError::Thread { task_queue, source }),
        };
        let hosts_cached_workflows =
            !registry.workflows.is_empty() && options.cached_workflows_max > 0;
        let force = CancellationToken::new();
        let worker_id = uuid::Uuid::new_v4().to_string();
        let share = options.task_queue_activities_per_second.map(|rate| {
            let namespace_id = &connection.namespace.id;
            let workers = connection
                .transport
                .watch_activity_workers(namespace_id, &task_queue);
            RateLimit::new(rate, Some(workers))
        });
        let own = options
            .activities_per_second
            .map(|rate| RateLimit::new(rate, None));
        let inner = Arc::new(Inner {
            activity_rates: own.into_iter().chain(share).collect(),
            room: options.resource_targets.map(Room::watch),
            metrics,
            cache_size,
            waiting: drive::Waiting::default(),
            claimant: Claimant {
                identity: connection.identity.to_string(),
                worker_version: None,
                worker_id: options
                    .liveness
                    .map_or_else(String::new, |_| worker_id.clone()),
            },
            sticky_queue: hosts_cached_workflows
                .then(|| format!("{}:{worker_id}", connection.identity)),
            workflow_slots: Arc::new(Semaphore::new(options.workflow_tasks_max.max(1))),
            activity_slots: Arc::new(Semaphore::new(options.activities_max.max(1))),
            local_activity_slots: Arc::new(Semaphore::new(options.local_activities_max.max(1))),
            polls: TaskTracker::new(),
            work: TaskTracker::new(),
            shutdown: self.shutdown,
            force: force.clone(),
            connection,
            task_queue,
            registry,
            lanes,
            options,
        });
        let gauges = Gauges::register(&exported, Arc::downgrade(&inner), &inner.task_queue);
        if let Err(source) = gauges {
            let task_queue = inner.task_queue.clone();
            return Err(WorkerError::Metrics { task_queue, source });
        }
        let _serving = serving.map(|serving| AbortOnDropHandle::new(tokio::spawn(serving)));
        // Nothing goes on behind the back of a caller that drops this future.
        let _stop = inner.shutdown.clone().drop_guard();
        let _force = force.drop_guard();
        inner.clone().serve().await;
        Ok(())
    }
}

/// What all tasks of a running worker share.
pub(crate) struct Inner {
    connection: Connection,
    claimant: Claimant,
    task_queue: String,
    /// The worker's own queue; none without cached workflows.
    sticky_queue: Option<String>,
    registry: Arc<Registry>,
    lanes: Lanes,
    options: WorkerOptions,
    workflow_slots: Arc<Semaphore>,
    activity_slots: Arc<Semaphore>,
    local_activity_slots: Arc<Semaphore>,
    /// How fast activities are taken.
    activity_rates: Vec<RateLimit>,
    room: Option<Room>,
    metrics: Metrics,
    cache_size: Arc<CacheSize>,
    waiting: drive::Waiting,
    polls: TaskTracker,
    work: TaskTracker,
    /// No new work.
    shutdown: CancellationToken,
    /// No work at all any more.
    force: CancellationToken,
}

impl Inner {
    async fn serve(self: Arc<Self>) {
        tracing::info!(
            task_queue = self.task_queue,
            identity = self.claimant.identity,
            workflows = self.registry.workflows.len(),
            activities = self.registry.activities.len(),
            "worker started"
        );
        let presence = match Presence::announce(&self).await {
            Some(presence) => presence,
            None => return,
        };
        let sticky_queue = drive::start_polling(&self);
        self.shutdown.cancelled().await;
        self.polls.close();
        self.polls.wait().await;
        if let Some(sticky_queue) = sticky_queue {
            // With nobody listening, the engine gives the cached runs' tasks to other workers at once.
            sticky_queue.close();
        }
        self.work.close();
        let graceful = self.options.graceful_shutdown;
        if tokio::time::timeout(graceful, self.work.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                task_queue = self.task_queue,
                running = self.work.len(),
                "worker gives up work that does not end"
            );
            self.force.cancel();
            // The last answers tell the engine to try elsewhere; without them it finds out by a time-out.
            let _ = tokio::time::timeout(LAST_ANSWERS_MAX, self.work.wait()).await;
        }
        presence.retire().await;
        tracing::info!(task_queue = self.task_queue, "worker stopped");
    }

    fn is_shutting_down(&self) -> bool {
        self.shutdown.is_cancelled()
    }
}
