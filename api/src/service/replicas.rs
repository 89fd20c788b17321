//! What api replicas tell each other: which workers shut down, and who polls which queue.
//!
//! Told once by core NATS, to whoever listens: a replica that misses it knows less for a while, and nothing depends on it. Not
//! understood is ignored, since replicas of two versions may run side by side.

use std::time::Duration;

use bytes::Bytes;
use fermata_proto::ids::NamespaceId;
use fermata_proto::subjects::{self, TaskKind};
use fermata_proto::{codec, pb};
use futures::StreamExt;
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Service;

/// How often new pollers are told of.
const TELL_PERIOD: Duration = Duration::from_millis(250);
/// Pollers in one message.
const POLLERS_MAX: usize = 500;
/// After the subscription ended, which it does with the connection only.
const RETRY_PERIOD: Duration = Duration::from_millis(500);

/// Sent between processes: names never change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum News {
    WorkerShutDown(WorkerShutDown),
    Pollers(Vec<PollerSeen>),
}

/// A worker that takes no more tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct WorkerShutDown {
    pub namespace_id: NamespaceId,
    pub worker_instance_key: String,
    /// Its own queue, if it has one, and the normal queue that this one belongs to.
    pub sticky_queue: String,
    pub normal_queue: String,
}

/// A poller of a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PollerSeen {
    pub namespace_id: NamespaceId,
    pub kind: TaskKind,
    pub queue: String,
    /// Temporal's `PollerInfo`, in protobuf.
    pub info: Bytes,
}

impl PollerSeen {
    pub(super) fn info(&self) -> Option<pb::taskqueue::v1::PollerInfo> {
        Message::decode(self.info.as_ref()).ok()
    }
}

impl Service {
    /// Listens to the other replicas and tells them news, until the service stops.
    pub(crate) async fn talk_to_replicas(self) {
        let stop: CancellationToken = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.listen() => {}
            () = self.tell_pollers() => {}
        }
    }

    async fn listen(&self) {
        loop {
            match self.transport.nats().subscribe(subjects::APIS).await {
                Ok(mut messages) => {
                    while let Some(message) = messages.next().await {
                        if let Ok(news) = codec::decode::<News>(&message.payload) {
                            self.on_news(news);
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "listen to other api replicas"),
            }
            tokio::time::sleep(RETRY_PERIOD).await;
        }
    }

    fn on_news(&self, news: News) {
        match news {
            News::WorkerShutDown(worker) => self.on_worker_shut_down(&worker),
            News::Pollers(pollers) => {
                for poller in &pollers {
                    self.pollers.heard(poller);
                }
            }
        }
    }

    async fn tell_pollers(&self) {
        loop {
            tokio::time::sleep(TELL_PERIOD).await;
            let fresh = self.pollers.take_fresh();
            for some in fresh.chunks(POLLERS_MAX) {
                self.tell(&News::Pollers(some.to_vec())).await;
            }
        }
    }

    /// Ends the polls of a worker here and in the other replicas.
    pub(super) async fn shut_worker_down(&self, worker: WorkerShutDown) {
        self.on_worker_shut_down(&worker);
        self.tell(&News::WorkerShutDown(worker)).await;
    }

    fn on_worker_shut_down(&self, worker: &WorkerShutDown) {
        self.worker_polls.end(&worker.worker_instance_key);
        if !worker.sticky_queue.is_empty() {
            let (sticky, normal) = (&worker.sticky_queue, &worker.normal_queue);
            self.transport
                .sticky_queue(&worker.namespace_id, sticky, normal)
                .close();
        }
    }

    async fn tell(&self, news: &News) {
        let sent = self
            .transport
            .nats()
            .publish(subjects::APIS, codec::encode(news))
            .await;
        if let Err(error) = sent {
            tracing::debug!(%error, "tell the other api replicas");
        }
    }
}
