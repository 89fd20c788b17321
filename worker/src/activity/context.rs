//! [`ActivityContext`]: what an attempt knows of itself, its heartbeat and its cancellation.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::common::{Payload, Payloads, Priority, RetryPolicy};
use fermata_proto::service::{PollActivityTaskQueueResponse, RecordActivityTaskHeartbeatResponse};
use fermata_proto::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::heartbeat::{Heartbeat, Throttle};
use crate::connection::Connection;
use crate::converter::Converter;
use crate::payload::PayloadError;

/// Facts of one attempt of an activity.
#[derive(Debug, Clone, Default)]
pub struct ActivityInfo {
    pub namespace: String,
    pub workflow_id: String,
    pub run_id: String,
    pub workflow_type: String,
    pub activity_id: String,
    pub activity_type: String,
    /// From 1.
    pub attempt: i32,
    pub scheduled_at: Timestamp,
    /// When this attempt was due.
    pub attempt_scheduled_at: Timestamp,
    pub started_at: Timestamp,
    pub start_to_close_timeout: Option<Duration>,
    pub schedule_to_close_timeout: Option<Duration>,
    pub heartbeat_timeout: Option<Duration>,
    pub headers: BTreeMap<String, Payload>,
    /// The queue of the worker that runs it; empty for a local activity.
    pub task_queue: String,
    /// As the workflow gave it, with the server's defaults filled in.
    pub retry_policy: Option<RetryPolicy>,
    pub priority: Option<Priority>,
}

impl ActivityInfo {
    /// Of a task, whose input and heartbeat details are taken elsewhere.
    pub(crate) fn of(task: &PollActivityTaskQueueResponse) -> Self {
        let execution = task.workflow_execution.clone().unwrap_or_default();
        Self {
            namespace: task.workflow_namespace.clone(),
            workflow_id: execution.workflow_id,
            run_id: execution.run_id,
            workflow_type: task.workflow_type.clone().unwrap_or_default().name,
            activity_id: task.activity_id.clone(),
            activity_type: task.activity_type.clone().unwrap_or_default().name,
            attempt: task.attempt,
            scheduled_at: task.scheduled_time.unwrap_or_default(),
            started_at: task.started_time.unwrap_or_default(),
            start_to_close_timeout: given(task.start_to_close_timeout),
            schedule_to_close_timeout: given(task.schedule_to_close_timeout),
            heartbeat_timeout: given(task.heartbeat_timeout),
            attempt_scheduled_at: task.current_attempt_scheduled_time.unwrap_or_default(),
            headers: task.header.clone().unwrap_or_default().fields,
            task_queue: String::new(),
            retry_policy: task.retry_policy.clone(),
            priority: task.priority.clone(),
        }
    }

    /// When this attempt times out at the latest; none if neither time-out is set.
    pub fn deadline(&self) -> Option<Timestamp> {
        let attempt = self
            .start_to_close_timeout
            .map(|timeout| self.started_at + timeout);
        let all = self
            .schedule_to_close_timeout
            .map(|timeout| self.scheduled_at + timeout);
        attempt.into_iter().chain(all).min()
    }
}

fn given(timeout: Option<Duration>) -> Option<Duration> {
    timeout.filter(|timeout| !timeout.is_zero())
}

/// Why an attempt should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// The workflow asked for it.
    Requested,
    /// The engine does not wait for this attempt any more: it timed out, or its workflow has closed.
    Gone,
    /// An operator paused the activity.
    Paused,
    /// An operator reset it.
    Reset,
    /// The worker goes down.
    WorkerShutdown,
}

impl CancelReason {
    /// What the engine asks for with the answer to a heartbeat.
    pub(crate) fn asked_by(response: &RecordActivityTaskHeartbeatResponse) -> Option<Self> {
        if response.cancel_requested {
            Some(Self::Requested)
        } else if response.activity_paused {
            Some(Self::Paused)
        } else if response.activity_reset {
            Some(Self::Reset)
        } else {
            None
        }
    }
}

/// Names one attempt of an activity, for whoever completes it from elsewhere. Give it out as text or bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityToken(pub(crate) Bytes);

impl ActivityToken {
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Set once, with the first reason.
#[derive(Debug, Default)]
pub(crate) struct Cancellation {
    token: CancellationToken,
    reason: OnceLock<CancelReason>,
}

impl Cancellation {
    pub fn cancel(&self, reason: CancelReason) {
        // A later reason changes nothing: the attempt stops already.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    pub fn reason(&self) -> Option<CancelReason> {
        self.reason.get().copied()
    }
}

struct Inner {
    info: ActivityInfo,
    converter: Converter,
    earlier_details: Option<Payloads>,
    token: ActivityToken,
    cancellation: Arc<Cancellation>,
    heartbeat: Heartbeat,
}

/// Everything that activity code can do beyond its own work. Cheap to clone; all clones are of one attempt.
#[derive(Clone)]
pub struct ActivityContext {
    inner: Arc<Inner>,
}

impl ActivityContext {
    pub(crate) fn new(
        connection: &Connection,
        task: &mut PollActivityTaskQueueResponse,
        task_queue: &str,
        throttle: Throttle,
    ) -> Self {
        let mut info = ActivityInfo::of(task);
        task_queue.clone_into(&mut info.task_queue);
        let converter = connection.converter.clone();
        Self::made(Some(connection), converter, task, info, throttle)
    }

    /// Of an attempt that the engine does not wait for: its heartbeats are kept, not sent.
    pub(crate) fn detached(task: &mut PollActivityTaskQueueResponse, converter: Converter) -> Self {
        let info = ActivityInfo::of(task);
        Self::made(None, converter, task, info, Throttle::default())
    }

    fn made(
        connection: Option<&Connection>,
        converter: Converter,
        task: &mut PollActivityTaskQueueResponse,
        info: ActivityInfo,
        throttle: Throttle,
    ) -> Self {
        let cancellation = Arc::new(Cancellation::default());
        let heartbeat = Heartbeat::new(
            connection.cloned(),
            &info,
            task.task_token.clone(),
            cancellation.clone(),
            throttle,
        );
        Self {
            inner: Arc::new(Inner {
                info,
                converter,
                earlier_details: task.heartbeat_details.take(),
                token: ActivityToken(task.task_token.clone()),
                cancellation,
                heartbeat,
            }),
        }
    }

    pub fn info(&self) -> &ActivityInfo {
        &self.inner.info
    }

    /// Names this attempt for whoever completes it later, see [`crate::ActivityError::complete_later`].
    pub fn token(&self) -> &ActivityToken {
        &self.inner.token
    }

    /// Whether the attempt should stop: what blocking code asks between its steps.
    pub fn is_cancelled(&self) -> bool {
        self.cancel_reason().is_some()
    }

    /// Tells that the activity is alive and how far it is. Without waiting, and as often as one likes: what is told in
    /// quick succession is sent as one. A cancel request comes back with it, see [`Self::cancelled`].
    pub fn heartbeat<T: Serialize + 'static>(&self, details: &T) {
        match self.converter().to_payloads(details) {
            Ok(details) => self.inner.heartbeat.record(details),
            Err(error) => {
                tracing::warn!(
                    activity_type = self.info().activity_type,
                    error = %crate::error::chain(&error),
                    "send a heartbeat without details"
                );
                self.inner.heartbeat.record(None);
            }
        }
    }

    /// What the last heartbeat of an earlier attempt told, if any did.
    ///
    /// # Errors
    /// If it was no `T`.
    pub fn heartbeat_details<T: DeserializeOwned + 'static>(
        &self,
    ) -> Result<Option<T>, PayloadError> {
        let details = self.inner.earlier_details.as_ref();
        details
            .map(|details| self.converter().read_payloads(Some(details)))
            .transpose()
    }

    /// Ready when the attempt should stop. Cancel requests are seen only by activities that heartbeat.
    pub async fn cancelled(&self) -> CancelReason {
        self.inner.cancellation.token.cancelled().await;
        self.inner
            .cancellation
            .reason()
            .expect("a reason is set before the token")
    }

    /// Why the attempt should stop, if it should.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.inner.cancellation.reason()
    }

    pub(crate) fn converter(&self) -> &Converter {
        &self.inner.converter
    }

    pub(crate) fn cancellation(&self) -> &Arc<Cancellation> {
        &self.inner.cancellation
    }

    /// What the last heartbeat of this attempt told, sent or not.
    pub(crate) fn last_details(&self) -> Option<Payloads> {
        self.inner.heartbeat.last_details()
    }

    /// The attempt is over.
    pub(crate) fn stop_heartbeat(&self) {
        self.inner.heartbeat.stop();
    }
}
