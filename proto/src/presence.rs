//! What a running worker announces of itself. Persisted: names never change.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long an announcement may last: the bucket forgets it after this in any case.
pub const WORKER_TTL_MAX: Duration = Duration::from_secs(60);
/// Anything shorter would take a worker that is only busy for dead.
pub const WORKER_TTL_MIN: Duration = Duration::from_secs(1);

/// One worker, under its id in [`crate::subjects::WORKERS_BUCKET`]; MessagePack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerRecord {
    /// New with each start of a worker.
    pub id: String,
    pub identity: String,
    pub namespace_id: String,
    pub task_queue: String,
    /// In milliseconds: a worker that was not heard of for so long is lost. It announces itself a few times in it.
    pub ttl_ms: u64,
    /// It takes activity tasks off its queue.
    pub takes_activities: bool,
}

impl WorkerRecord {
    /// How long it counts, within what is possible.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms).clamp(WORKER_TTL_MIN, WORKER_TTL_MAX)
    }
}
