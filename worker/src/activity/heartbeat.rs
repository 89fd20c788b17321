//! Heartbeats of one attempt: the first at once, then at most one in each interval, always with the latest details.
//!
//! Nothing runs for an activity that sends none: the loop starts with the first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::common::Payloads;
use fermata_proto::rpc::{RejectionKind, Request, Response};
use fermata_proto::service::RecordActivityTaskHeartbeatRequest;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::context::{ActivityInfo, CancelReason, Cancellation};
use crate::connection::Connection;

/// How often heartbeats are sent at most; the defaults are those of Temporal's SDKs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throttle {
    /// Without a heartbeat time-out.
    pub default: Duration,
    /// However long the time-out.
    pub max: Duration,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            default: Duration::from_secs(30),
            max: Duration::from_secs(60),
        }
    }
}

impl Throttle {
    fn interval(self, heartbeat_timeout: Option<Duration>) -> Duration {
        let wanted = match heartbeat_timeout {
            Some(timeout) => timeout.mul_f64(INTERVAL_SHARE),
            None => self.default,
        };
        wanted.min(self.max)
    }
}

/// How much of the time-out may pass between two heartbeats.
const INTERVAL_SHARE: f64 = 0.8;

struct Sender {
    /// None where nobody waits for heartbeats.
    connection: Option<Connection>,
    workflow_id: String,
    task_token: Bytes,
    interval: Duration,
    cancellation: Arc<Cancellation>,
    /// Activity code may call from threads that are not the runtime's.
    runtime: Handle,
    latest: Mutex<Latest>,
    news: Notify,
}

#[derive(Default)]
struct Latest {
    details: Option<Payloads>,
    is_unsent: bool,
    sending: Option<AbortHandle>,
    is_stopped: bool,
}

pub(crate) struct Heartbeat {
    sender: Arc<Sender>,
}

impl Heartbeat {
    pub fn new(
        connection: Option<Connection>,
        info: &ActivityInfo,
        task_token: Bytes,
        cancellation: Arc<Cancellation>,
        throttle: Throttle,
    ) -> Self {
        let interval = throttle.interval(info.heartbeat_timeout);
        Self {
            sender: Arc::new(Sender {
                connection,
                workflow_id: info.workflow_id.clone(),
                task_token,
                interval,
                cancellation,
                runtime: Handle::current(),
                latest: Mutex::default(),
                news: Notify::new(),
            }),
        }
    }

    pub fn record(&self, details: Option<Payloads>) {
        let mut latest = self.sender.latest();
        if latest.is_stopped {
            return;
        }
        latest.details = details;
        latest.is_unsent = true;
        if latest.sending.is_none() && self.sender.connection.is_some() {
            let sending = self.sender.runtime.spawn(send(self.sender.clone()));
            latest.sending = Some(sending.abort_handle());
        }
        self.sender.news.notify_one();
    }

    pub fn last_details(&self) -> Option<Payloads> {
        self.sender.latest().details.clone()
    }

    pub fn stop(&self) {
        let mut latest = self.sender.latest();
        latest.is_stopped = true;
        if let Some(sending) = latest.sending.take() {
            sending.abort();
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Sender {
    fn latest(&self) -> std::sync::MutexGuard<'_, Latest> {
        // Plain data: a panic elsewhere leaves it whole.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be sent, if anything.
    fn take(&self) -> Option<Option<Payloads>> {
        let mut latest = self.latest();
        std::mem::take(&mut latest.is_unsent).then(|| latest.details.clone())
    }
}

async fn send(sender: Arc<Sender>) {
    let Some(connection) = &sender.connection else {
        return;
    };
    loop {
        let Some(details) = sender.take() else {
            sender.news.notified().await;
            continue;
        };
        let request = RecordActivityTaskHeartbeatRequest {
            task_token: sender.task_token.clone(),
            details,
            identity: connection.identity.to_string(),
            ..RecordActivityTaskHeartbeatRequest::default()
        };
        let request = Request::RecordActivityTaskHeartbeat(Box::new(request));
        let answer = connection
            .call(&sender.workflow_id, sender.interval, request)
            .await;
        match answer {
            Ok(Response::RecordActivityTaskHeartbeat(response)) => {
                let reason = CancelReason::asked_by(&response);
                if let Some(reason) = reason {
                    sender.cancellation.cancel(reason);
                }
            }
            Err(rejection) if rejection.kind == RejectionKind::NotFound => {
                sender.cancellation.cancel(CancelReason::Gone);
                return;
            }
            answer => {
                tracing::warn!(
                    workflow_id = sender.workflow_id,
                    ?answer,
                    "heartbeat refused"
                );
            }
        }
        tokio::time::sleep(sender.interval).await;
    }
}
