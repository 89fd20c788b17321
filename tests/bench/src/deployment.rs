//! A nats-server and Fermata for one round.

use std::time::Duration;

use fermata_proto::ids::NamespaceId;
use fermata_test_support::{Fermata, NatsServer};
use fermata_transport::{Options, Transport};

/// Slices of workflow ids: one or two a core is best on few cores.
const PARTITIONS: &str = "4";

pub struct Deployment {
    // The order of ending: callers, Fermata, NATS.
    pub transport: Transport,
    pub fermata: Fermata,
    pub nats: NatsServer,
    pub namespace_id: NamespaceId,
}

impl Deployment {
    /// # Panics
    /// If it does not come up.
    pub async fn start() -> Self {
        let nats = NatsServer::start().await;
        let fermata = server(&nats.url()).start().await;
        let transport = Transport::connect(&Options {
            servers: nats.url(),
            name: "bench".to_owned(),
            wait: Duration::from_secs(20),
        })
        .await
        .expect("Fermata is ready");
        let namespace = transport
            .namespaces()
            .by_name("default")
            .expect("a new deployment has the namespace default");
        Self {
            namespace_id: namespace.id.clone(),
            transport,
            fermata,
            nats,
        }
    }
}

/// Fermata with both roles on a running NATS.
pub fn server(nats_url: &str) -> fermata_test_support::FermataOptions {
    Fermata::server("api,engine", nats_url)
        .arg("--partitions")
        .arg(PARTITIONS)
        .arg("--log-level")
        .arg("warn")
}
