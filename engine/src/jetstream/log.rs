//! A partition's log: one stream with one subject, appended to with an expected last sequence.
//!
//! Reads go message by message, many at a time: a request that is lost shows as an error, where a consumer's delivery that
//! is lost would show as a hole.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SEQUENCE,
};
use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use fermata_proto::ids::{Partition, StreamSequence};
use fermata_proto::subjects;
use futures::future::FutureExt;
use futures::stream::{self, StreamExt};

use super::{ACKNOWLEDGEMENT_MAX, Shared};
use crate::broker::{APPENDS_IN_FLIGHT_MAX, Acknowledged, AppendError, BrokerError, LogEntry};

/// Acknowledgements due at once, over all partitions. Owners keep to a few for each.
const APPENDS_MAX: usize = 8_192;
/// How long an append may wait for a place on the connection: an owner's loop stands still meanwhile.
const SEND_MAX: Duration = Duration::from_millis(250);
/// A page of [`Shared::read_log`] ends after the record that reaches this.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Records of a page asked for at once.
const READS_MAX: usize = 16;

/// The context that appends go through.
pub(super) fn context(client: Client) -> Context {
    ContextBuilder::new()
        .timeout(ACKNOWLEDGEMENT_MAX)
        .max_ack_inflight(APPENDS_MAX)
        .backpressure_on_inflight(false)
        .build(client)
}

impl Shared {
    pub(super) async fn append(
        self: &Arc<Self>,
        partition: Partition,
        expected: StreamSequence,
        record: Bytes,
    ) -> Acknowledged {
        let refused = |reason: String| {
            futures::future::ready(Err(AppendError::Refused { partition, reason })).boxed()
        };
        // The client would keep it and send it after the reconnect, when nobody waits for it any more.
        if !self.is_connected() {
            return refused("not connected to NATS".to_owned());
        }
        let message = PublishMessage::build()
            .payload(record)
            .expected_last_sequence(expected.0);
        let sending = self.appends.send_publish(subjects::log(partition), message);
        let sent = match tokio::time::timeout(SEND_MAX, sending).await {
            Err(_) => return refused("the connection to NATS is congested".to_owned()),
            Ok(Err(error)) => return refused(error.to_string()),
            Ok(Ok(sent)) => sent,
        };
        let shared = Arc::clone(self);
        async move {
            match sent.await {
                Ok(acknowledged) => {
                    shared.note_storage(None);
                    Ok(StreamSequence(acknowledged.sequence))
                }
                Err(error) => Err(shared.append_error(partition, expected, &error)),
            }
        }
        .boxed()
    }

    /// One atomic batch (NATS ADR-50): the expectation stands on its first message and holds for all.
    pub(super) async fn fence_log(
        &self,
        partition: Partition,
        expected: StreamSequence,
        record: Bytes,
    ) -> Result<StreamSequence, AppendError> {
        // As in `append`.
        if !self.is_connected() {
            let reason = "not connected to NATS".to_owned();
            return Err(AppendError::Refused { partition, reason });
        }
        let ambiguous = |reason: String| AppendError::Ambiguous { partition, reason };
        let subject = subjects::log(partition);
        let batch_id = uuid::Uuid::new_v4().simple().to_string();
        for number in 1..APPENDS_IN_FLIGHT_MAX {
            let mut headers = batch_headers(&batch_id, number);
            if number == 1 {
                headers.insert(NATS_EXPECTED_LAST_SEQUENCE, expected.0.to_string());
            }
            self.bulk
                .publish_with_headers(subject.clone(), headers, record.clone())
                .await
                .map_err(|error| ambiguous(error.to_string()))?;
        }
        let mut headers = batch_headers(&batch_id, APPENDS_IN_FLIGHT_MAX);
        headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        let message = PublishMessage::build().payload(record).headers(headers);
        let acknowledged = match self.bulk_api.send_publish(subject, message).await {
            Ok(sent) => sent.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(acknowledged) => {
                self.note_storage(None);
                Ok(StreamSequence(acknowledged.sequence))
            }
            Err(error) => Err(self.append_error(partition, expected, &error)),
        }
    }

    fn append_error(
        &self,
        partition: Partition,
        expected: StreamSequence,
        error: &PublishError,
    ) -> AppendError {
        match Failure::of(error) {
            Failure::Conflict => AppendError::Conflict {
                partition,
                expected,
            },
            Failure::Refused(reason) => {
                self.note_storage(Some(&reason));
                AppendError::Refused { partition, reason }
            }
            Failure::Ambiguous(reason) => AppendError::Ambiguous { partition, reason },
        }
    }

    pub(super) async fn log_last(
        &self,
        partition: Partition,
    ) -> Result<StreamSequence, BrokerError> {
        let (_, last) = self.bounds(&subjects::log_stream(partition)).await?;
        Ok(StreamSequence(last))
    }

    pub(super) async fn read_log(
        &self,
        partition: Partition,
        from: StreamSequence,
    ) -> Result<Vec<LogEntry>, BrokerError> {
        let stream_name = subjects::log_stream(partition);
        let (first, last) = self.bounds(&stream_name).await?;
        let mut page = Vec::new();
        let mut bytes = 0;
        let mut records = stream::iter(from.0.max(first)..=last)
            .map(|sequence| {
                let stream_name = &stream_name;
                async move {
                    let read = self.message(stream_name, sequence).await;
                    read.map(|found| (sequence, found))
                }
            })
            .buffered(READS_MAX);
        while let Some(read) = records.next().await {
            match read? {
                (sequence, Some(found)) => {
                    bytes += found.payload.len();
                    page.push(LogEntry {
                        sequence: StreamSequence(sequence),
                        record: found.payload,
                    });
                }
                // Purged since the bounds were read, as long as nothing precedes it.
                (_, None) if page.is_empty() => {}
                // Purged in the midst of reading: the next page begins behind it.
                (_, None) => break,
            }
            if bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
        Ok(page)
    }

    pub(super) async fn purge_log(
        &self,
        partition: Partition,
        below: StreamSequence,
    ) -> Result<(), BrokerError> {
        // Zero would mean everything.
        if below.0 == 0 {
            return Ok(());
        }
        let stream_name = subjects::log_stream(partition);
        let attempted = || format!("purge {stream_name} below {below}");
        self.stream(&self.api, &stream_name)
            .await?
            .purge()
            .sequence(below.0)
            .await
            .map(drop)
            .map_err(|error| BrokerError::new(attempted(), error))
    }
}

fn batch_headers(batch_id: &str, number: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_BATCH_ID, batch_id);
    headers.insert(NATS_BATCH_SEQUENCE, number.to_string());
    headers
}

/// What a failed publish tells of the message.
pub(super) enum Failure {
    /// The expected last sequence did not hold: not written.
    Conflict,
    /// Not written.
    Refused(String),
    /// Written or not.
    Ambiguous(String),
}

impl Failure {
    pub(super) fn of(error: &PublishError) -> Self {
        let reason = error.to_string();
        match error.kind() {
            PublishErrorKind::WrongLastSequence => Self::Conflict,
            // Nobody listens on the subject: no server had it.
            PublishErrorKind::StreamNotFound
            | PublishErrorKind::MaxPayloadExceeded
            | PublishErrorKind::MaxAckPending => Self::Refused(reason),
            PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::TimedOut
            | PublishErrorKind::BrokenPipe => Self::Ambiguous(reason),
            PublishErrorKind::Other => {
                let code = error
                    .source()
                    .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>())
                    .map(async_nats::jetstream::Error::error_code);
                match code {
                    Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => Self::Conflict,
                    Some(
                        ErrorCode::STREAM_STORE_FAILED
                        | ErrorCode::INSUFFICIENT_RESOURCES
                        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
                        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
                        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
                        | ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
                        | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM
                        | ErrorCode::STREAM_SEALED
                        | ErrorCode::STREAM_TOO_MANY_REQUESTS
                        | ErrorCode::NO_LIMITS
                        | ErrorCode::ATOMIC_PUBLISH_DISABLED
                        | ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH
                        | ErrorCode::ATOMIC_PUBLISH_TOO_LARGE_BATCH
                        | ErrorCode::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT
                        | ErrorCode::ATOMIC_PUBLISH_UNSUPPORTED_HEADER,
                    ) => Self::Refused(reason),
                    _ => Self::Ambiguous(reason),
                }
            }
        }
    }
}
