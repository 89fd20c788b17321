//! The two worlds that the tests run in.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fermata_engine::broker::Broker;
use fermata_engine::jetstream::{JetStream, NatsOptions};
use fermata_engine::simulated::SimulatedBroker;
use fermata_proto::codec;
use fermata_proto::ids::NamespaceId;
use fermata_proto::rpc::TaskReference;
use fermata_proto::subjects::{self, TaskKind};
use fermata_test_support::NatsServer;
use futures::StreamExt;
use futures::stream::BoxStream;

/// Tasks for one worker.
pub type Listener = BoxStream<'static, TaskReference>;

/// A broker, and what is on its other side.
#[async_trait]
pub trait World: Send + Sync {
    /// One engine replica's handle.
    async fn connect(&self, replica: &str) -> Arc<dyn Broker>;

    /// Takes one waiting task off a queue for good; nothing if none comes within half a second.
    async fn poll(
        &self,
        kind: TaskKind,
        namespace_id: &NamespaceId,
        queue: &str,
    ) -> Option<TaskReference>;

    /// Listens on a sticky queue.
    async fn listen(&self, namespace_id: &NamespaceId, queue: &str) -> Listener;
}

/// Longer than any test may take.
pub const TEST_MAX: Duration = Duration::from_secs(60);
const POLL_MAX: Duration = Duration::from_millis(500);

pub struct JetStreamWorld {
    server: NatsServer,
    client: async_nats::Client,
}

impl JetStreamWorld {
    pub async fn start() -> Self {
        let server = NatsServer::start().await;
        let client = server.client().await;
        Self { server, client }
    }
}

#[async_trait]
impl World for JetStreamWorld {
    async fn connect(&self, replica: &str) -> Arc<dyn Broker> {
        let options = NatsOptions {
            servers: self.server.url(),
            name: replica.to_owned(),
            ..NatsOptions::default()
        };
        Arc::new(JetStream::connect(&options).await.unwrap())
    }

    async fn poll(
        &self,
        kind: TaskKind,
        namespace_id: &NamespaceId,
        queue: &str,
    ) -> Option<TaskReference> {
        use async_nats::jetstream::consumer::pull;
        let name = subjects::task_consumer(kind, namespace_id, queue);
        let consumer = async_nats::jetstream::new(self.client.clone())
            .get_stream_no_info(subjects::TASKS_STREAM)
            .await
            .unwrap()
            .get_or_create_consumer(
                &name,
                pull::Config {
                    durable_name: Some(name.clone()),
                    filter_subject: subjects::task(kind, namespace_id, queue),
                    ..pull::Config::default()
                },
            )
            .await
            .unwrap();
        let mut batch = consumer
            .batch()
            .max_messages(1)
            .expires(POLL_MAX)
            .messages()
            .await
            .unwrap();
        let message = batch.next().await?.unwrap();
        message.double_ack().await.unwrap();
        Some(codec::decode(&message.payload).unwrap())
    }

    async fn listen(&self, namespace_id: &NamespaceId, queue: &str) -> Listener {
        let subject = subjects::sticky(namespace_id, queue);
        let subscription = self.client.subscribe(subject).await.unwrap();
        // The server takes things in order: after its answer to this one it knows of the subscription.
        let nobody = self.client.new_inbox();
        self.client.request(nobody, "".into()).await.unwrap_err();
        subscription
            .map(|message| codec::decode(&message.payload).unwrap())
            .boxed()
    }
}

pub struct SimulatedWorld {
    broker: SimulatedBroker,
}

impl SimulatedWorld {
    pub fn new() -> Self {
        Self {
            broker: SimulatedBroker::new(1),
        }
    }
}

#[async_trait]
impl World for SimulatedWorld {
    async fn connect(&self, replica: &str) -> Arc<dyn Broker> {
        Arc::new(self.broker.connect(replica))
    }

    async fn poll(
        &self,
        kind: TaskKind,
        namespace_id: &NamespaceId,
        queue: &str,
    ) -> Option<TaskReference> {
        let polling = self.broker.poll_task(kind, namespace_id, queue);
        tokio::time::timeout(POLL_MAX, polling).await.ok()
    }

    async fn listen(&self, namespace_id: &NamespaceId, queue: &str) -> Listener {
        self.broker.listen_sticky(namespace_id, queue)
    }
}
