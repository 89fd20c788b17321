//! A deployment for one test: a real nats-server and an engine in this process.

use std::sync::Arc;
use std::time::Duration;

use fermata_engine::jetstream::{JetStream, NatsOptions};
use fermata_engine::{Engine, EngineOptions, SystemClock};
use fermata_test_support::{NatsServer, wait_for};
use fermata_worker::Client;

const READY_MAX: Duration = Duration::from_secs(30);

pub struct Deployment {
    pub client: Client,
    _engine: Engine,
    // After the engine: it must not see its broker go.
    nats: NatsServer,
}

impl Deployment {
    // Not every test asks.
    #[allow(dead_code)]
    pub fn nats_url(&self) -> String {
        self.nats.url()
    }

    /// Starts it and waits until the engine owns everything.
    pub async fn start() -> Self {
        let nats = NatsServer::start().await;
        let broker = JetStream::connect(&NatsOptions {
            servers: nats.url(),
            ..NatsOptions::default()
        })
        .await
        .unwrap();
        let options = EngineOptions {
            partitions: 2,
            ..EngineOptions::default()
        };
        let registry = prometheus::Registry::new();
        let engine = Engine::start(Arc::new(broker), options, Arc::new(SystemClock), &registry)
            .await
            .unwrap();
        wait_for("an engine that is ready", READY_MAX, async || {
            engine.not_ready().is_empty().then_some(())
        })
        .await;
        let client = Client::connect(nats.url()).await.unwrap();
        Self {
            client,
            _engine: engine,
            nats,
        }
    }
}
