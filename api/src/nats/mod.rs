//! The door for any NATS client: what programs in any language need beside JetStream itself.
//!
//! | subject | file | |
//! |---|---|---|
//! | `fm.hello`, `fm.call` | [`calls`] | core NATS; one of the replicas answers, and finds the owner for those who know no partitions |
//! | `fm.inbox.<namespace>` | [`inbox`], [`request`], [`refusal`] | durable requests, taken when an engine runs |
//!
//! What is said is in `proto/PROTOCOL.md` and `docs/nats.md`. The door keeps nothing and decides nothing: requests of the inbox
//! go through the same handlers as those by gRPC.

mod calls;
mod inbox;
mod refusal;
mod request;

use std::time::Duration;

use fermata_transport::Transport;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::service::Service;
use crate::visibility::{StoreError, Visibility};

/// How long what was begun may go on after the shutdown began.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How the door behaves.
#[derive(Debug, Clone)]
pub struct DoorOptions {
    /// Copies of the streams that the door makes: 1, or 3 (5) in a cluster.
    pub replicas: usize,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self { replicas: 1 }
    }
}

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("register the metrics of the NATS door")]
    Metrics(#[source] prometheus::Error),
    #[error("make the services behind the NATS door")]
    Service(#[source] StoreError),
    #[error("make stream {stream}: {reason}")]
    Stream { stream: String, reason: String },
    #[error("listen on {subject}: {reason}")]
    Subscribe { subject: String, reason: String },
}

/// An open door.
pub struct Door {
    stop: CancellationToken,
    work: TaskTracker,
}

impl Door {
    /// Opens it, for as long as the deployment's engines share.
    ///
    /// # Errors
    /// If NATS does not let us, or the metrics exist already.
    pub async fn open(
        transport: Transport,
        options: &DoorOptions,
        registry: &Registry,
    ) -> Result<Self, DoorError> {
        let requests = IntCounterVec::new(
            Opts::new(
                "fermata_inbox_requests_total",
                "Messages of the inbox, by operation and outcome: done, refused, or to be tried again",
            ),
            &["operation", "outcome"],
        )
        .and_then(|counters| {
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        })
        .map_err(DoorError::Metrics)?;
        let stop = CancellationToken::new();
        // Nobody asks for lists here, so the read model stays empty.
        let visibility = Visibility::open(None).map_err(DoorError::Service)?;
        let service = Service::new(transport.clone(), visibility, stop.clone());
        inbox::make_streams(transport.jetstream(), options.replicas).await?;
        let work = TaskTracker::new();
        calls::serve(&transport, &stop, &work).await?;
        let inbox = inbox::Inbox {
            transport,
            service,
            requests,
        };
        work.spawn(inbox.serve(stop.clone()));
        Ok(Self { stop, work })
    }

    /// Takes nothing more, lets what was begun end for a moment, and closes. What the inbox still holds stays there.
    pub async fn close(self) {
        self.stop.cancel();
        self.work.close();
        if tokio::time::timeout(DRAIN_MAX, self.work.wait())
            .await
            .is_err()
        {
            tracing::info!(left = self.work.len(), "the NATS door closes on some");
        }
    }
}
