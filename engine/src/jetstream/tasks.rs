//! The task queues: a work-queue stream in memory.
//!
//! Tasks are published with an acknowledgement that nobody waits for: one task collects them all, in order, since they come
//! in order. One that does not come, or that shows that the stream began anew, means that tasks may be lost; the owners are
//! then told to dispatch again what waits. The broker drops those that it still has by their message ids.
//!
//! Measured, 60,000 tasks to one nats-server on two busy cores: an acknowledgement costs 5 µs here and 2 µs there. That
//! buys the knowledge of what was lost, without which a workflow would wait for its schedule-to-start time-out, or for ever.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;
use fermata_proto::codec;
use fermata_proto::rpc::TaskReference;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::info;

use super::{ACKNOWLEDGEMENT_MAX, Shared, streams};
use crate::broker::BrokerError;

/// Dispatches without an acknowledgement yet.
const DISPATCHES_MAX: usize = 8_192;
/// How often the stream is looked at.
const GUARD_INTERVAL: Duration = Duration::from_secs(2);
/// Owners are not told more often than this: each time they dispatch everything again.
const LOST_INTERVAL_MIN: Duration = Duration::from_secs(2);

const LOG_INTERVAL_MIN: Duration = Duration::from_secs(1);

pub(super) struct Tasks {
    context: Context,
    sent: mpsc::Sender<Sent>,
    /// Counts suspicions that tasks are lost: by the collector, by the guard.
    suspected: watch::Sender<u64>,
    /// Counts the times that owners are told.
    lost: watch::Sender<u64>,
}

struct Sent {
    at: Instant,
    acknowledgement: PublishAckFuture,
}

impl Tasks {
    pub(super) fn new(client: &Client) -> (Self, Collector) {
        let (sent, acknowledgements) = mpsc::channel(DISPATCHES_MAX);
        let tasks = Self {
            context: ContextBuilder::new()
                .timeout(ACKNOWLEDGEMENT_MAX)
                .max_ack_inflight(DISPATCHES_MAX)
                .build(client.clone()),
            sent,
            suspected: watch::Sender::new(0),
            lost: watch::Sender::new(0),
        };
        let collector = Collector {
            acknowledgements,
            suspected: tasks.suspected.clone(),
        };
        (tasks, collector)
    }

    /// Yields after each loss from now on; losses that nobody looked at meanwhile are one.
    pub(super) fn lost(&self) -> BoxStream<'static, ()> {
        stream::unfold(self.lost.subscribe(), |mut lost| async move {
            lost.changed().await.ok().map(|()| ((), lost))
        })
        .boxed()
    }
}

impl Shared {
    pub(super) async fn dispatch(
        &self,
        subject: String,
        task: &TaskReference,
        message_id: &str,
    ) -> Result<(), BrokerError> {
        let attempted = || format!("dispatch task {message_id}");
        // After the reconnect everything is dispatched again anyway.
        if !self.is_connected() {
            return Err(BrokerError::new(attempted(), "not connected to NATS"));
        }
        let message = PublishMessage::build()
            .payload(codec::encode(task))
            .message_id(message_id);
        let acknowledgement = self
            .tasks
            .context
            .send_publish(subject, message)
            .await
            .map_err(|error| BrokerError::new(attempted(), error))?;
        let sent = Sent {
            at: Instant::now(),
            acknowledgement,
        };
        // The context lets no more through than the queue holds, so there is a place unless the collector has ended.
        self.tasks
            .sent
            .send(sent)
            .await
            .map_err(|_| BrokerError::new(attempted(), "shutting down"))
    }
}

/// Looks at the acknowledgements.
pub(super) struct Collector {
    acknowledgements: mpsc::Receiver<Sent>,
    suspected: watch::Sender<u64>,
}

impl Collector {
    pub(super) async fn run(mut self) {
        let mut last = 0;
        let mut failures: u64 = 0;
        let mut logged = None;
        while let Some(sent) = self.acknowledgements.recv().await {
            let deadline = sent.at + ACKNOWLEDGEMENT_MAX;
            let outcome = tokio::time::timeout_at(deadline, sent.acknowledgement).await;
            let failure = match outcome {
                Ok(Ok(acknowledged)) if acknowledged.duplicate => None,
                Ok(Ok(acknowledged)) => {
                    let began_anew = began_anew(last, acknowledged.sequence);
                    last = if began_anew {
                        acknowledged.sequence
                    } else {
                        last.max(acknowledged.sequence)
                    };
                    began_anew.then(|| "the stream of tasks began anew".to_owned())
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no acknowledgement in time".to_owned()),
            };
            if let Some(reason) = failure {
                failures += 1;
                self.suspected.send_modify(|count| *count += 1);
                // They come in bursts.
                if logged.is_none_or(|at: Instant| at.elapsed() >= LOG_INTERVAL_MIN) {
                    logged = Some(Instant::now());
                    info!(%reason, failures, "dispatch of a task failed");
                }
            }
        }
    }
}

/// Whether a task's place shows that the stream was made anew. Partitions publish at the same time, so that a place may be
/// looked at after a later one, but never after one that is further away than there are dispatches under way. What is nearer
/// is left to the guard, which knows the stream by the time of its making.
fn began_anew(last: u64, sequence: u64) -> bool {
    sequence + DISPATCHES_MAX as u64 <= last
}

/// Keeps the stream of tasks in being, and tells the owners when tasks may be lost.
pub(super) async fn guard(shared: Arc<Shared>) {
    let mut connects = shared.connects.clone();
    let mut suspicions = shared.tasks.suspected.subscribe();
    let mut interval = tokio::time::interval(GUARD_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    // The first connection is no loss.
    connects.borrow_and_update();
    loop {
        // All arms are safe to drop: watches and intervals lose nothing.
        let mut lost = tokio::select! {
            biased;
            changed = connects.changed() => {
                if changed.is_err() {
                    return;
                }
                true
            }
            changed = suspicions.changed() => {
                if changed.is_err() {
                    return;
                }
                true
            }
            _ = interval.tick() => false,
        };
        // The owners dispatch as soon as they are told, so the stream has to be there first.
        match streams::make(&shared.api, streams::tasks(shared.replicas)).await {
            Ok(stream) => {
                let info = stream.cached_info();
                lost |= seen.is_another(info.created.to_string(), info.state.last_sequence);
            }
            Err(reason) => {
                info!(%reason, "look up the stream of tasks");
                // Whatever was to be told is told once it is back.
                shared.tasks.suspected.send_if_modified(|count| {
                    *count += u64::from(lost);
                    lost
                });
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        }
        if lost {
            shared.tasks.lost.send_modify(|times| *times += 1);
            tokio::time::sleep(LOST_INTERVAL_MIN).await;
        }
    }
}

/// The stream as it was last seen.
#[derive(Default)]
struct Seen {
    created: String,
    last_sequence: u64,
}

impl Seen {
    /// Whether the stream was made anew since, or lost what it held (memory on one server of a cluster).
    fn is_another(&mut self, created: String, last_sequence: u64) -> bool {
        let first_look = self.created.is_empty();
        let another = self.created != created || last_sequence < self.last_sequence;
        *self = Self {
            created,
            last_sequence,
        };
        another && !first_look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_far_behind_shows_a_new_stream_and_a_near_one_does_not() {
        let under_way = DISPATCHES_MAX as u64;
        assert!(!began_anew(0, 1));
        assert!(!began_anew(20_000, 20_001));
        assert!(!began_anew(20_000, 19_999));
        assert!(!began_anew(20_000, 20_001 - under_way));
        assert!(began_anew(20_000, 20_000 - under_way));
        assert!(began_anew(20_000, 1));
    }

    #[test]
    fn a_stream_that_was_made_anew_or_emptied_is_another() {
        let mut seen = Seen::default();
        assert!(!seen.is_another("monday".into(), 5));
        assert!(!seen.is_another("monday".into(), 6));
        assert!(seen.is_another("tuesday".into(), 6));
        assert!(seen.is_another("tuesday".into(), 1));
        assert!(!seen.is_another("tuesday".into(), 1));
    }
}
