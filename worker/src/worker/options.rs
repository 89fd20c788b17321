//! What a worker may use.

use std::time::Duration;

/// How much a worker does at once, and how it goes down.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Workflow tasks that are worked on at once.
    pub workflow_tasks_max: usize,
    /// Activities that run at once.
    pub activities_max: usize,
    /// Polls that wait for workflow tasks at once, on the queue and again on the worker's own sticky queue.
    pub workflow_pollers: usize,
    /// Polls that wait for activity tasks at once.
    pub activity_pollers: usize,
    /// Runs that stay in memory between their workflow tasks; 0 for none, then every task replays the whole history.
    pub cached_workflows_max: usize,
    /// Threads that run workflow code.
    pub workflow_threads: usize,
    /// How long a workflow task may wait for this worker before any other may have it.
    pub sticky_timeout: Duration,
    /// Whether activities on the worker's own queue are run here at once, without a detour over the queue.
    pub eager_activities: bool,
    /// How long running activities have when the worker goes down.
    pub graceful_shutdown: Duration,
    /// Shown in histories; by default the client's.
    pub identity: Option<String>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workflow_tasks_max: 200,
            activities_max: 200,
            workflow_pollers: 16,
            activity_pollers: 16,
            cached_workflows_max: 10_000,
            workflow_threads: processors.min(4),
            sticky_timeout: Duration::from_secs(10),
            eager_activities: true,
            graceful_shutdown: Duration::from_secs(10),
            identity: None,
        }
    }
}
