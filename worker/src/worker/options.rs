//! What a worker may use.

use std::net::SocketAddr;
use std::time::Duration;

use super::resources::ResourceTargets;
use crate::activity::Throttle;

/// How much a worker does at once, and how it goes down.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Workflow tasks that are worked on at once.
    pub workflow_tasks_max: usize,
    /// Activities that run at once.
    pub activities_max: usize,
    /// Local activities that run at once.
    pub local_activities_max: usize,
    /// Polls that wait for workflow tasks at once, on the queue and again on the worker's own sticky queue.
    pub workflow_pollers: usize,
    /// Polls that wait for activity tasks at once.
    pub activity_pollers: usize,
    /// Runs that stay in memory between their workflow tasks; 0 for none, then every task replays the whole history.
    pub cached_workflows_max: usize,
    /// About how many bytes of memory such runs may take, by the size of their histories; the ones used least recently go.
    pub cached_workflows_bytes_max: usize,
    /// Threads that run workflow code.
    pub workflow_threads: usize,
    /// How long a workflow task may wait for this worker before any other may have it.
    pub sticky_timeout: Duration,
    /// Whether activities on the worker's own queue are run here at once, without a detour over the queue.
    pub eager_activities: bool,
    /// Activities that this worker takes in a second at most. With it activities are not run eagerly.
    pub activities_per_second: Option<f64>,
    /// Activities that all workers on the task queue take in a second at most, each its even part: to be set to the same
    /// number by all, and with `liveness`, by which they know of each other. With it activities are not run eagerly.
    pub task_queue_activities_per_second: Option<f64>,
    /// How often heartbeats of activities without a heartbeat time-out are sent at most. With a time-out: after 80 % of it.
    pub heartbeat_throttle_default: Duration,
    /// How often heartbeats are sent at most, whatever the time-out.
    pub heartbeat_throttle_max: Duration,
    /// Takes no further task while the machine is fuller than this; none: only the numbers of slots count. With it activities
    /// are not run eagerly.
    pub resource_targets: Option<ResourceTargets>,
    /// Where the worker's metrics are registered; by default in a registry of its own.
    pub metrics: Option<prometheus::Registry>,
    /// Serves the metrics as text over HTTP.
    pub metrics_address: Option<SocketAddr>,
    /// How long running activities have when the worker goes down.
    pub graceful_shutdown: Duration,
    /// After how long without a sign of this worker the engine gives what it holds to others; from 1 to 60 seconds. The
    /// worker announces itself several times in it, on the runtime that runs its activities: an activity that blocks the
    /// runtime for so long makes the worker look dead. None: only the time-outs of activities tell, as in Temporal.
    pub liveness: Option<Duration>,
    /// Shown in histories; by default the client's.
    pub identity: Option<String>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workflow_tasks_max: 200,
            activities_max: 200,
            local_activities_max: 1_000,
            workflow_pollers: 16,
            activity_pollers: 16,
            cached_workflows_max: 10_000,
            cached_workflows_bytes_max: 256 << 20,
            workflow_threads: processors.min(4),
            sticky_timeout: Duration::from_secs(10),
            eager_activities: true,
            activities_per_second: None,
            task_queue_activities_per_second: None,
            heartbeat_throttle_default: Throttle::default().default,
            heartbeat_throttle_max: Throttle::default().max,
            resource_targets: None,
            metrics: None,
            metrics_address: None,
            graceful_shutdown: Duration::from_secs(10),
            liveness: Some(Duration::from_secs(5)),
            identity: None,
        }
    }
}

impl WorkerOptions {
    pub(super) fn throttle(&self) -> Throttle {
        Throttle {
            default: self.heartbeat_throttle_default,
            max: self.heartbeat_throttle_max,
        }
    }

    /// Whether activities may go past the queue: not if their rate is limited.
    pub(super) fn runs_eagerly(&self) -> bool {
        self.eager_activities
            && self.activities_per_second.is_none()
            && self.task_queue_activities_per_second.is_none()
            && self.resource_targets.is_none()
    }

    /// # Errors
    /// What cannot be, in words for whoever set it.
    pub(super) fn check(&self) -> Result<(), String> {
        let rates = [
            ("activities_per_second", self.activities_per_second),
            (
                "task_queue_activities_per_second",
                self.task_queue_activities_per_second,
            ),
        ];
        for (name, rate) in rates {
            if rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
                return Err(format!("{name} must be a positive number"));
            }
        }
        if self.task_queue_activities_per_second.is_some() && self.liveness.is_none() {
            return Err(
                "task_queue_activities_per_second needs liveness: by it the workers know of each other"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
