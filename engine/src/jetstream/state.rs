//! The state store and the visibility records: streams that keep the last message under each subject.
//!
//! Several writes are one atomic batch (NATS ADR-50). A deletion within a batch is an empty message marked as the
//! key-value buckets mark theirs, with a time to live: it hides the record at once and goes by itself.
//!
//! **Fence.** A log append of an old owner fails by its expected sequence; a checkpoint of an old owner has to fail too, or
//! it would put old records over new ones whose log is purged. So the first message of each write expects the stream's
//! last sequence as this handle knows it: what it was at [`Shared::open`], moved on by its own writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{
    HeaderMap, NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_TTL,
};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{DirectGetErrorKind, RawMessageErrorKind, Stream};
use async_nats::{Client, StatusCode};
use bytes::Bytes;
use fermata_proto::ids::Partition;
use fermata_proto::subjects;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::Mutex;

use super::Shared;
use super::log::Failure;
use crate::broker::{BrokerError, STATE_BATCH_MAX, StateWrite};

/// A thousand records of 64 KiB, and an fsync, on a slow disk.
const STORE_MAX: Duration = Duration::from_secs(30);
/// How often one store is sent, when the first attempts meet earlier writes of this handle.
const STORE_ATTEMPTS_MAX: usize = 3;
/// Writes without an answer that are remembered. They fail by time-out, one after the other.
const UNSETTLED_MAX: usize = 16;
/// Records of a scan asked for at once.
const READS_MAX: usize = 128;

/// Marks deletions, as in key-value buckets (NATS ADR-8).
const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";
/// Names a write on its last message, so that one with a lost acknowledgement can be recognised.
const WRITE_ID: &str = "Fermata-Write";

/// The least time to live that the server takes: nobody but a reader of the exact subject sees the mark.
const STATE_DELETION_TTL: Duration = Duration::from_secs(1);
/// Long enough for every projection to come by.
const VISIBILITY_DELETION_TTL: Duration = Duration::from_secs(24 * 3_600);

/// The context that writes go through.
pub(super) fn context(client: Client) -> Context {
    ContextBuilder::new().timeout(STORE_MAX).build(client)
}

/// What this handle knows of each state store's last sequence.
#[derive(Default)]
pub(super) struct Writers(std::sync::Mutex<BTreeMap<Partition, Arc<Mutex<Fence>>>>);

/// What the next write expects.
#[derive(Default)]
struct Fence {
    /// The stream's last sequence; nothing before the first open.
    last: Option<u64>,
    /// Writes that expected `last` and whose fate is not known. At most one of them can have taken place or will.
    unsettled: Vec<String>,
}

impl Writers {
    fn of(&self, partition: Partition) -> Arc<Mutex<Fence>> {
        let mut all = self
            .0
            .lock()
            .expect("nothing panics while it holds this lock");
        let fence = all.entry(partition).or_default();
        Arc::clone(fence)
    }
}

impl Shared {
    /// From here on, writes of other handles make this one's fail.
    pub(super) async fn fence(&self, partition: Partition) -> Result<(), BrokerError> {
        let writer = self.writers.of(partition);
        let mut fence = writer.lock().await;
        let (_, last) = self.bounds(&subjects::state_stream(partition)).await?;
        *fence = Fence {
            last: Some(last),
            unsettled: Vec::new(),
        };
        Ok(())
    }

    pub(super) async fn store(
        &self,
        partition: Partition,
        writes: Vec<StateWrite>,
    ) -> Result<(), BrokerError> {
        if writes.is_empty() {
            return Ok(());
        }
        let stream_name = subjects::state_stream(partition);
        let attempted = format!("store {} records in {stream_name}", writes.len());
        // Held over the whole write: the next one needs the sequence that this one ends at.
        let writer = self.writers.of(partition);
        let mut fence = writer.lock().await;
        // The last attempt is for an earlier write of ours that took place between a look and this one.
        for _ in 0..STORE_ATTEMPTS_MAX {
            let last = self.settle(&stream_name, &mut fence).await?;
            let write_id = uuid::Uuid::new_v4().simple().to_string();
            // Before the first message: a caller that drops this halfway leaves the truth behind.
            if fence.unsettled.len() >= UNSETTLED_MAX {
                fence.unsettled.remove(0);
            }
            fence.unsettled.push(write_id.clone());
            let batch = Batch {
                write_id,
                expected_last: Some(last),
                deletion_ttl: STATE_DELETION_TTL,
            };
            match self.write(&attempted, batch, &writes).await {
                Ok(sequence) => {
                    *fence = Fence {
                        last: Some(sequence),
                        unsettled: Vec::new(),
                    };
                    return Ok(());
                }
                Err(error) if error.superseded => {
                    fence.unsettled.pop();
                    if fence.unsettled.is_empty() {
                        // `last` stays behind, so that every later write fails too.
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(BrokerError::superseded(attempted))
    }

    pub(super) async fn publish_visibility(
        &self,
        writes: Vec<StateWrite>,
    ) -> Result<(), BrokerError> {
        for group in writes.chunks(STATE_BATCH_MAX) {
            let attempted = format!("publish {} visibility records", group.len());
            let batch = Batch {
                write_id: uuid::Uuid::new_v4().simple().to_string(),
                expected_last: None,
                deletion_ttl: VISIBILITY_DELETION_TTL,
            };
            self.write(&attempted, batch, group).await?;
        }
        Ok(())
    }

    /// The sequence that the next write has to expect.
    async fn settle(&self, stream_name: &str, fence: &mut Fence) -> Result<u64, BrokerError> {
        if let Some(last) = fence.last
            && fence.unsettled.is_empty()
        {
            return Ok(last);
        }
        let (_, found) = self.bounds(stream_name).await?;
        let last = *fence.last.get_or_insert(found);
        if found == last {
            return Ok(last);
        }
        let message = self.message(stream_name, found).await?;
        let ours = message
            .as_ref()
            .and_then(|message| message.header(WRITE_ID))
            .is_some_and(|id| fence.unsettled.iter().any(|unsettled| unsettled == id));
        if !ours {
            // `last` makes the write fail as it should.
            return Ok(last);
        }
        // The others expected what is no longer the last sequence: they can take place no more.
        *fence = Fence {
            last: Some(found),
            unsettled: Vec::new(),
        };
        Ok(found)
    }

    async fn write(
        &self,
        attempted: &str,
        batch: Batch,
        writes: &[StateWrite],
    ) -> Result<u64, BrokerError> {
        let count = writes.len();
        if count > STATE_BATCH_MAX {
            let reason = format!("at most {STATE_BATCH_MAX} can be written at once");
            return Err(BrokerError::new(attempted, reason));
        }
        for (index, write) in writes.iter().enumerate() {
            let is_last = index + 1 == count;
            let headers = batch.headers(write, index, count);
            let payload = write.record.clone().unwrap_or_default();
            let subject = write.subject.clone();
            if is_last {
                let message = PublishMessage::build().payload(payload).headers(headers);
                let sent = self.bulk_api.send_publish(subject, message).await;
                let acknowledged = match sent {
                    Ok(sent) => sent.await,
                    Err(error) => Err(error),
                };
                return match acknowledged {
                    Ok(acknowledged) => {
                        self.note_storage(None);
                        Ok(acknowledged.sequence)
                    }
                    Err(error) => Err(match Failure::of(&error) {
                        Failure::Conflict => BrokerError::superseded(attempted),
                        Failure::Refused(reason) => {
                            self.note_storage(Some(&reason));
                            BrokerError::new(attempted, reason)
                        }
                        Failure::Ambiguous(reason) => BrokerError::new(attempted, reason),
                    }),
                };
            }
            self.bulk
                .publish_with_headers(subject, headers, payload)
                .await
                .map_err(|error| BrokerError::new(attempted, error))?;
        }
        Err(BrokerError::new(attempted, "nothing to write"))
    }

    pub(super) async fn load(
        &self,
        partition: Partition,
        subject: &str,
    ) -> Result<Option<Bytes>, BrokerError> {
        // A run id comes from the outside: with a wildcard it would find somebody else's record.
        if !is_exact(subject) {
            return Ok(None);
        }
        let stream_name = subjects::state_stream(partition);
        let found = self
            .last_under(&self.quick, &self.api, &stream_name, subject)
            .await?;
        Ok(found.and_then(Found::into_record))
    }

    /// Names first, then each record by its name: no consumer to lose a message, and an end that is certain.
    pub(super) async fn scan(
        self: Arc<Self>,
        partition: Partition,
        filter: &str,
    ) -> Result<BoxStream<'static, Result<(String, Bytes), BrokerError>>, BrokerError> {
        let stream_name = subjects::state_stream(partition);
        let attempted = format!("scan {filter} in {stream_name}");
        let subjects = self
            .stream(&self.bulk_api, &stream_name)
            .await?
            .info_with_subjects(filter)
            .await
            .map_err(|error| BrokerError::new(&attempted, error))?;
        let records = subjects
            .map(move |listed| {
                let listed = listed.map_err(|error| BrokerError::new(&attempted, error));
                let shared = Arc::clone(&self);
                let stream_name = stream_name.clone();
                async move {
                    let (subject, _) = listed?;
                    let found = shared
                        .last_under(&shared.bulk, &shared.bulk_api, &stream_name, &subject)
                        .await?;
                    Ok(found
                        .and_then(Found::into_record)
                        .map(|record| (subject, record)))
                }
            })
            .buffer_unordered(READS_MAX)
            .filter_map(|read| std::future::ready(read.transpose()));
        Ok(records.boxed())
    }

    pub(super) async fn purge_state(
        &self,
        partition: Partition,
        filter: &str,
    ) -> Result<(), BrokerError> {
        let stream_name = subjects::state_stream(partition);
        self.stream(&self.bulk_api, &stream_name)
            .await?
            .purge()
            .filter(filter)
            .await
            .map(drop)
            .map_err(|error| BrokerError::new(format!("purge {filter} in {stream_name}"), error))
    }

    /// A handle; asks nobody.
    pub(super) async fn stream(
        &self,
        context: &Context,
        stream_name: &str,
    ) -> Result<Stream<()>, BrokerError> {
        context
            .get_stream_no_info(stream_name)
            .await
            .map_err(|error| BrokerError::new(format!("use stream {stream_name}"), error))
    }

    /// First and last sequence, from the stream's leader. An empty stream's first is one more than its last.
    pub(super) async fn bounds(&self, stream_name: &str) -> Result<(u64, u64), BrokerError> {
        let info = self
            .stream(&self.api, stream_name)
            .await?
            .get_info()
            .await
            .map_err(|error| BrokerError::new(format!("look up stream {stream_name}"), error))?;
        Ok((info.state.first_sequence, info.state.last_sequence))
    }

    /// The message at a sequence.
    pub(super) async fn message(
        &self,
        stream_name: &str,
        sequence: u64,
    ) -> Result<Option<Found>, BrokerError> {
        let attempted = || format!("read message {sequence} of {stream_name}");
        if self.reads_leader() {
            let stream = self.stream(&self.api, stream_name).await?;
            return match stream.get_raw_message(sequence).await {
                Ok(message) => Ok(Some(Found::of(message.headers, message.payload))),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(BrokerError::new(attempted(), error)),
            };
        }
        let stream = self.stream(&self.api, stream_name).await?;
        match stream.direct_get(sequence).await {
            Ok(message) => Ok(Some(Found::of(message.headers, message.payload))),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(BrokerError::new(attempted(), error)),
        }
    }

    async fn last_under(
        &self,
        client: &Client,
        context: &Context,
        stream_name: &str,
        subject: &str,
    ) -> Result<Option<Found>, BrokerError> {
        let attempted = || format!("load {subject}");
        if self.reads_leader() {
            let stream = self.stream(context, stream_name).await?;
            return match stream.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Ok(Some(Found::of(message.headers, message.payload))),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(BrokerError::new(attempted(), error)),
            };
        }
        // By hand, since the client's own form parses a time stamp and clones the headers for each record.
        let message = client
            .request(
                format!("$JS.API.DIRECT.GET.{stream_name}.{subject}"),
                Bytes::new(),
            )
            .await
            .map_err(|error| BrokerError::new(attempted(), error))?;
        match message.status {
            None => Ok(Some(Found::of(
                message.headers.unwrap_or_default(),
                message.payload,
            ))),
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(status) => {
                let words = message.description.unwrap_or_default();
                Err(BrokerError::new(attempted(), format!("{status} {words}")))
            }
        }
    }
}

/// One message of a stream.
pub(super) struct Found {
    headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl Found {
    fn of(headers: HeaderMap, payload: Bytes) -> Self {
        Self { headers, payload }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }

    /// Nothing if it marks a deletion.
    fn into_record(self) -> Option<Bytes> {
        (self.header(OPERATION) != Some(DELETED)).then_some(self.payload)
    }
}

/// What the messages of one write have in common.
struct Batch {
    write_id: String,
    expected_last: Option<u64>,
    deletion_ttl: Duration,
}

impl Batch {
    fn headers(&self, write: &StateWrite, index: usize, count: usize) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // A single message is atomic by itself, and cheaper so.
        if count > 1 {
            headers.insert(NATS_BATCH_ID, self.write_id.as_str());
            headers.insert(NATS_BATCH_SEQUENCE, (index + 1).to_string());
        }
        if index == 0
            && let Some(last) = self.expected_last
        {
            headers.insert(NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
        }
        if index + 1 == count {
            headers.insert(WRITE_ID, self.write_id.as_str());
            if count > 1 {
                headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
            }
        }
        let ttl = if write.record.is_none() {
            headers.insert(OPERATION, DELETED);
            Some(self.deletion_ttl)
        } else {
            write.ttl
        };
        if let Some(ttl) = ttl {
            headers.insert(NATS_MESSAGE_TTL, format!("{}s", whole_seconds(ttl)));
        }
        headers
    }
}

/// The server takes whole seconds, at least one.
fn whole_seconds(ttl: Duration) -> u64 {
    let up = u64::from(ttl.subsec_nanos() > 0);
    ttl.as_secs().saturating_add(up).max(1)
}

/// Whether a subject names one record: no wildcard, no empty token, nothing that the protocol gives a meaning.
fn is_exact(subject: &str) -> bool {
    subject.split('.').all(|token| {
        !token.is_empty()
            && token != "*"
            && token != ">"
            && !token.chars().any(|c| c.is_whitespace() || c.is_control())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_subjects_of_one_record_are_exact() {
        assert!(is_exact("fm.state.3.run.0192-ab"));
        for subject in [
            "",
            "fm.state.3.run.",
            "fm..run",
            "fm.state.3.run.*",
            "fm.>",
            "a b",
            "a\r\nPUB b",
        ] {
            assert!(!is_exact(subject), "{subject:?}");
        }
    }

    #[test]
    fn a_time_to_live_is_rounded_up_to_whole_seconds() {
        let seconds = |milliseconds| whole_seconds(Duration::from_millis(milliseconds));
        assert_eq!(
            [0, 1, 1_000, 1_001, 86_400_000].map(seconds),
            [1, 1, 1, 2, 86_400]
        );
    }
}
