//! The stream of visibility records into the store.
//!
//! An ordered consumer reads from the stream's beginning; what is there at once is one transaction, on a thread of its own, since
//! SQLite blocks. Records may come again: the last one of a run stands. Whatever breaks, it goes on behind the last record that
//! was written.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_TTL;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::{self, Message};
use fermata_proto::time::Timestamp;
use fermata_proto::visibility::VisibilityRecord;
use fermata_proto::{codec, subjects};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Visibility;
use super::record::Row;
use super::store::Write;

/// Records of one transaction at most, and that wait for it.
const BATCH_MAX: usize = 1_000;
/// After the stream was not there, or the consumer broke.
const RETRY_PERIOD: Duration = Duration::from_millis(500);
/// How often it is looked whether everything has been read, while nothing comes.
const IDLE_PERIOD: Duration = Duration::from_millis(200);
/// So many such periods of silence mean that what the stream still held at the start is gone.
const SILENCE_MAX: u32 = 10;
/// How often what the broker has dropped is removed.
const EXPIRY_PERIOD: Duration = Duration::from_secs(30);

enum Step {
    Write(Write),
    /// All that existed when the reading began has been sent.
    CaughtUp,
    /// Time to remove what the broker has dropped.
    Expire,
}

/// Follows the stream until `stop`.
pub async fn follow(visibility: Visibility, client: async_nats::Client, stop: CancellationToken) {
    let (sender, receiver) = mpsc::channel(BATCH_MAX);
    let writer = std::thread::Builder::new()
        .name("visibility".to_owned())
        .spawn(move || write_all(&visibility, receiver));
    if let Err(error) = writer {
        tracing::error!(%error, "start the thread that writes the visibility store");
        return;
    }
    let mut reader = Reader {
        jetstream: jetstream::new(client.clone()),
        client,
        sender,
        next_sequence: 1,
        caught_up: false,
        expired: Instant::now(),
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = reader.run() => {}
    }
}

struct Reader {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    sender: mpsc::Sender<Step>,
    /// Of the stream: the first record that was not sent yet.
    next_sequence: u64,
    caught_up: bool,
    expired: Instant,
}

/// The thread that writes is gone.
struct Gone;

impl Reader {
    async fn run(&mut self) {
        loop {
            match self.read().await {
                Ok(reason) => {
                    tracing::info!(reason, "read visibility records; trying again");
                    tokio::time::sleep(RETRY_PERIOD).await;
                }
                Err(Gone) => return,
            }
        }
    }

    /// Reads until something breaks; says what.
    async fn read(&mut self) -> Result<String, Gone> {
        let connects = self.connects();
        let stream = match self.jetstream.get_stream(subjects::VISIBILITY_STREAM).await {
            Ok(stream) => stream,
            Err(error) => return Ok(error.to_string()),
        };
        let state = &stream.cached_info().state;
        let last_sequence = state.last_sequence;
        if last_sequence + 1 < self.next_sequence {
            // Another stream of that name: its records start anew.
            self.next_sequence = 1;
        }
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.next_sequence,
            },
            replay_policy: ReplayPolicy::Instant,
            ..OrderedConfig::default()
        };
        let consumer = match stream.create_consumer(config).await {
            Ok(consumer) => consumer,
            Err(error) => return Ok(error.to_string()),
        };
        let mut messages = match consumer.messages().await {
            Ok(messages) => messages,
            Err(error) => return Ok(error.to_string()),
        };
        let mut silence = 0;
        loop {
            if self.expired.elapsed() >= EXPIRY_PERIOD {
                self.expired = Instant::now();
                self.send(Step::Expire).await?;
            }
            // Records that later ones replaced leave holes: so the last sequence may never come, but silence will.
            let message = tokio::time::timeout(IDLE_PERIOD, messages.next()).await;
            match message {
                Err(_) if self.connects() != connects => {
                    // A restarted broker has forgotten the consumer, which would notice only after a while.
                    return Ok("the connection to NATS is a new one".to_owned());
                }
                Err(_) => {
                    silence += 1;
                    let is_all = self.next_sequence > last_sequence || state.messages == 0;
                    if is_all || silence >= SILENCE_MAX {
                        self.tell_caught_up().await?;
                    }
                }
                Ok(None) => return Ok("the consumer has ended".to_owned()),
                Ok(Some(Err(error))) => return Ok(error.to_string()),
                Ok(Some(Ok(message))) => {
                    let (sequence, pending, published) = match message.info() {
                        Ok(info) => (
                            info.stream_sequence,
                            info.pending,
                            Timestamp::from_parts(
                                info.published.unix_timestamp(),
                                i32::try_from(info.published.nanosecond()).unwrap_or_default(),
                            )
                            .unwrap_or_default(),
                        ),
                        Err(error) => return Ok(error.to_string()),
                    };
                    if let Some(write) = decoded(&message, published) {
                        self.send(Step::Write(write)).await?;
                    }
                    self.next_sequence = sequence + 1;
                    if pending == 0 || sequence >= last_sequence {
                        self.tell_caught_up().await?;
                    }
                }
            }
        }
    }

    /// How often the client has connected.
    fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    async fn tell_caught_up(&mut self) -> Result<(), Gone> {
        if self.caught_up {
            return Ok(());
        }
        self.caught_up = true;
        self.send(Step::CaughtUp).await
    }

    async fn send(&self, step: Step) -> Result<(), Gone> {
        self.sender.send(step).await.map_err(|_| Gone)
    }
}

/// A record that cannot be read is left out, loudly: the lists lack a run, but others go on.
fn decoded(message: &Message, published: Timestamp) -> Option<Write> {
    let record: VisibilityRecord = match codec::decode(&message.payload) {
        Ok(record) => record,
        Err(error) => {
            tracing::error!(subject = %message.subject, %error, "read a visibility record");
            return None;
        }
    };
    let ttl = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(NATS_MESSAGE_TTL))
        .and_then(|value| ttl(value.as_str()));
    let row = Row::of(&record, published, ttl);
    Some(if record.deleted {
        Write::Remove {
            namespace_id: row.namespace_id,
            run_id: row.run_id,
        }
    } else {
        Write::Put(Box::new(row))
    })
}

/// Whole seconds, with or without the unit (NATS ADR-43; what the engine writes).
fn ttl(text: &str) -> Option<Duration> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    digits.parse().ok().map(Duration::from_secs)
}

/// Writes what comes until the sender is gone.
fn write_all(visibility: &Visibility, mut receiver: mpsc::Receiver<Step>) {
    let inner = &visibility.inner;
    let mut steps = Vec::new();
    let mut writes = Vec::new();
    while receiver.blocking_recv_many(&mut steps, BATCH_MAX) > 0 {
        let (mut caught_up, mut expire) = (false, false);
        for step in steps.drain(..) {
            match step {
                Step::Write(write) => writes.push(write),
                Step::CaughtUp => caught_up = true,
                Step::Expire => expire = true,
            }
        }
        // A full disk may have room again; the records stay until they are written.
        while let Err(error) = inner.store.write(&writes) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "write the visibility store; trying again"
            );
            std::thread::sleep(RETRY_PERIOD);
            if receiver.is_closed() {
                return;
            }
        }
        writes.clear();
        if caught_up {
            inner.caught_up.store(true, Ordering::Release);
        }
        if expire {
            let now = Timestamp::from_system(std::time::SystemTime::now());
            if let Err(error) = inner.store.expire(now) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "remove expired runs from the visibility store"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_live_are_seconds() {
        assert_eq!(ttl("3600s"), Some(Duration::from_secs(3_600)));
        assert_eq!(ttl("60"), Some(Duration::from_secs(60)));
        assert_eq!(ttl("never"), None);
    }
}
