//! The worker's sign of life: a key in a bucket that expires unless it is written again.
//!
//! What the worker holds goes to others when the key is gone. It is written before the first poll, and taken back after
//! the last answer.

use std::time::Duration;

use fermata_proto::presence::WorkerRecord;
use fermata_transport::Transport;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::Inner;

/// How often in its time-to-live the key is written.
const ANNOUNCEMENTS: u32 = 4;
const RETRY_PERIOD: Duration = Duration::from_millis(500);
/// A worker that goes down does not wait longer for the broker.
const RETIRE_MAX: Duration = Duration::from_secs(2);

/// Announces the worker until it is dropped.
pub(super) struct Presence {
    announced: Option<Announced>,
}

struct Announced {
    transport: Transport,
    worker_id: String,
    /// Ends with this.
    _announcing: AbortOnDropHandle<()>,
}

impl Presence {
    /// Waits for the first announcement: a claim before it would be one of an unknown worker. None if the worker is told
    /// to end before.
    pub async fn announce(worker: &Inner) -> Option<Self> {
        let Some(ttl) = worker.options.liveness else {
            return Some(Self { announced: None });
        };
        let record = WorkerRecord {
            id: worker.claimant.worker_id.clone(),
            identity: worker.claimant.identity.clone(),
            namespace_id: worker.connection.namespace.id.to_string(),
            task_queue: worker.task_queue.clone(),
            takes_activities: !worker.registry.activities.is_empty(),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        };
        let transport = worker.connection.transport.clone();
        let mut is_told = false;
        while let Err(error) = transport.announce_worker(&record).await {
            if !is_told {
                tracing::warn!(%error, "the worker takes no task before it is announced; trying again");
                is_told = true;
            }
            tokio::select! {
                biased;
                () = worker.shutdown.cancelled() => return None,
                () = tokio::time::sleep(RETRY_PERIOD) => {}
            }
        }
        let worker_id = record.id.clone();
        let announcing = tokio::spawn(keep_announcing(transport.clone(), record));
        Some(Self {
            announced: Some(Announced {
                transport,
                worker_id,
                _announcing: AbortOnDropHandle::new(announcing),
            }),
        })
    }

    /// Nothing is held any more, or what is held is given up.
    pub async fn retire(self) {
        let Some(announced) = self.announced else {
            return;
        };
        // No announcement may follow.
        drop(announced._announcing);
        let retiring = announced.transport.retire_worker(&announced.worker_id);
        match tokio::time::timeout(RETIRE_MAX, retiring).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::info!(%error, "the announcement was not taken back; it expires by itself");
            }
            Err(_) => tracing::info!("the announcement was not taken back in time"),
        }
    }
}

async fn keep_announcing(transport: Transport, record: WorkerRecord) {
    let ttl = record.ttl();
    let mut ticks = tokio::time::interval(ttl / ANNOUNCEMENTS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        match transport.announce_worker(&record).await {
            Ok(()) => {
                let silent_for = last.elapsed();
                if silent_for > ttl {
                    tracing::warn!(
                        ?silent_for,
                        "the worker was not heard of for longer than its liveness lasts (paused, starved, or its runtime blocked): what it held was given to others"
                    );
                }
                last = Instant::now();
            }
            Err(error) => tracing::debug!(%error, "announce the worker"),
        }
    }
}
