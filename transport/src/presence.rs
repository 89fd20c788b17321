//! Announcing a running worker, so that its end is noticed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::kv;
use fermata_proto::ids::NamespaceId;
use fermata_proto::presence::WorkerRecord;
use fermata_proto::{codec, subjects};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connect::Transport;

/// A worker could not be announced, or its announcement not be taken back.
#[derive(Debug, thiserror::Error)]
#[error("{attempted} worker {id}: {reason}")]
pub struct AnnounceError {
    attempted: &'static str,
    id: String,
    reason: String,
}

impl Transport {
    /// Announces a worker for as long as its record says; to be repeated a few times in that time.
    ///
    /// # Errors
    /// If the broker does not take it.
    pub async fn announce_worker(&self, record: &WorkerRecord) -> Result<(), AnnounceError> {
        let failed = |reason: String| AnnounceError {
            attempted: "announce",
            id: record.id.clone(),
            reason,
        };
        let bucket = self
            .jetstream()
            .get_key_value(subjects::WORKERS_BUCKET)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let written = bucket.put(&record.id, codec::encode(record)).await;
        written.map(drop).map_err(|error| failed(error.to_string()))
    }

    /// Takes the announcement back: what the worker still holds goes to others at once.
    ///
    /// # Errors
    /// If the broker does not answer; the announcement expires by itself.
    pub async fn retire_worker(&self, id: &str) -> Result<(), AnnounceError> {
        let failed = |reason: String| AnnounceError {
            attempted: "retire",
            id: id.to_owned(),
            reason,
        };
        let bucket = self
            .jetstream()
            .get_key_value(subjects::WORKERS_BUCKET)
            .await
            .map_err(|error| failed(error.to_string()))?;
        bucket
            .delete(id)
            .await
            .map_err(|error| failed(error.to_string()))
    }
}

/// A worker that announces itself, and when it was heard of last.
#[derive(Debug, Clone)]
pub struct AnnouncedWorker {
    pub record: WorkerRecord,
    /// By the broker's clock.
    pub last_seen: SystemTime,
}

impl Transport {
    /// The workers that announce themselves now, those included that have been silent for longer than their time-to-live but
    /// whose announcement the broker has not forgotten yet.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn announced_workers(&self) -> Result<Vec<AnnouncedWorker>, WorkersError> {
        let failed = |reason: String| WorkersError { reason };
        let bucket = self
            .jetstream()
            .get_key_value(subjects::WORKERS_BUCKET)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let keys = bucket.keys().await;
        let mut keys = keys.map_err(|error| failed(error.to_string()))?;
        let mut workers = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|error| failed(error.to_string()))?;
            let entry = bucket.entry(&key).await;
            // It may have gone since it was listed.
            let Some(entry) = entry.map_err(|error| failed(error.to_string()))? else {
                continue;
            };
            if entry.operation != kv::Operation::Put {
                continue;
            }
            let record = codec::decode(&entry.value)
                .map_err(|error| failed(format!("the record of {key}: {error}")))?;
            workers.push(AnnouncedWorker {
                record,
                last_seen: entry.created.into(),
            });
        }
        Ok(workers)
    }
}

/// The announced workers are not to be had.
#[derive(Debug, thiserror::Error)]
#[error("list the announced workers: {reason}")]
pub struct WorkersError {
    reason: String,
}

/// After the watch was lost.
const RETRY_PERIOD: Duration = Duration::from_millis(500);
/// How often it is looked whether somebody's time is over.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

impl Transport {
    /// How many workers on a task queue announce themselves as taking activities, kept up to date while somebody looks.
    pub fn watch_activity_workers(
        &self,
        namespace_id: &NamespaceId,
        task_queue: &str,
    ) -> watch::Receiver<usize> {
        let (told, count) = watch::channel(1);
        let transport = self.clone();
        let (namespace_id, task_queue) = (namespace_id.to_string(), task_queue.to_owned());
        tokio::spawn(async move {
            let mut heard = BTreeMap::new();
            let is_wanted = move |record: &WorkerRecord| {
                record.takes_activities
                    && record.namespace_id == namespace_id
                    && record.task_queue == task_queue
            };
            loop {
                // Dropping a watch halfway loses nothing: the next one begins with all that is there.
                tokio::select! {
                    biased;
                    () = told.closed() => return,
                    reason = follow(&transport, &is_wanted, &mut heard, &told) => {
                        tracing::debug!(reason, "the watch on workers was lost");
                    }
                }
                tokio::time::sleep(RETRY_PERIOD).await;
            }
        });
        count
    }
}

/// Counts the workers that are wanted until the watch fails; says why.
async fn follow(
    transport: &Transport,
    is_wanted: &impl Fn(&WorkerRecord) -> bool,
    heard: &mut BTreeMap<String, Instant>,
    told: &watch::Sender<usize>,
) -> String {
    let bucket = transport
        .jetstream()
        .get_key_value(subjects::WORKERS_BUCKET)
        .await;
    let bucket = match bucket {
        Ok(bucket) => bucket,
        Err(error) => return error.to_string(),
    };
    let mut changes = match bucket.watch_with_history(">").await {
        Ok(changes) => changes,
        Err(error) => return error.to_string(),
    };
    let mut look = tokio::time::interval(LOOK_PERIOD);
    loop {
        let entry = tokio::select! {
            biased;
            entry = changes.next() => match entry {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => return error.to_string(),
                None => return "it ended".to_owned(),
            },
            _ = look.tick() => {
                let now = Instant::now();
                heard.retain(|_, until| *until > now);
                tell(told, heard.len());
                continue;
            }
        };
        match entry.operation {
            kv::Operation::Put => match codec::decode::<WorkerRecord>(&entry.value) {
                Ok(record) if is_wanted(&record) => {
                    let until = Instant::now() + record.ttl();
                    heard.insert(record.id, until);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(key = entry.key, %error, "read a worker's record"),
            },
            kv::Operation::Delete | kv::Operation::Purge => {
                heard.remove(&entry.key);
            }
        }
        tell(told, heard.len());
    }
}

fn tell(told: &watch::Sender<usize>, count: usize) {
    told.send_if_modified(|known| std::mem::replace(known, count) != count);
}
