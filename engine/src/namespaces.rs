//! What this replica knows of namespaces: a snapshot that the watch replaces as a whole.
//!
//! Deliberately absent: registering and changing namespaces, which the edge does on the same bucket.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::enums::NamespaceState;
use fermata_proto::ids::NamespaceId;
use fermata_proto::namespace::NamespaceRecord;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::broker::{Broker, BrokerError, Watched};

/// How long to wait before a broken watch begins again.
const WATCH_AGAIN: Duration = Duration::from_millis(500);
/// Retention of the system's own namespace.
const SYSTEM_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
const DEFAULT_NAME: &str = "default";
const SYSTEM_NAME: &str = "temporal-system";

/// All namespaces at one moment.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    by_id: HashMap<NamespaceId, Arc<NamespaceRecord>>,
    ids: BTreeMap<String, NamespaceId>,
}

impl Namespaces {
    pub fn record(&self, id: &NamespaceId) -> Option<&Arc<NamespaceRecord>> {
        self.by_id.get(id)
    }

    fn put(&mut self, record: NamespaceRecord) {
        self.remove(&record.id);
        self.ids.insert(record.name.clone(), record.id.clone());
        self.by_id.insert(record.id.clone(), Arc::new(record));
    }

    fn remove(&mut self, id: &NamespaceId) {
        if let Some(old) = self.by_id.remove(id)
            && self.ids.get(&old.name) == Some(id)
        {
            self.ids.remove(&old.name);
        }
    }
}

impl fermata_core::Namespaces for Namespaces {
    fn by_name(&self, name: &str) -> Option<&NamespaceRecord> {
        self.ids
            .get(name)
            .and_then(|id| self.by_id.get(id))
            .map(|record| &**record)
    }

    fn by_id(&self, id: &NamespaceId) -> Option<&NamespaceRecord> {
        self.by_id.get(id).map(|record| &**record)
    }
}

/// Makes the two namespaces that every deployment has, if they are absent. Their ids follow from their names, so that
/// replicas that start together make the same ones.
pub async fn create_defaults(
    broker: &dyn Broker,
    default_retention: Duration,
) -> Result<(), BrokerError> {
    for (name, retention) in [
        (DEFAULT_NAME, default_retention),
        (SYSTEM_NAME, SYSTEM_RETENTION),
    ] {
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, name.as_bytes());
        broker
            .create_namespace(&NamespaceRecord {
                id: id.to_string().into(),
                name: name.to_owned(),
                state: NamespaceState::Registered,
                retention,
                ..NamespaceRecord::default()
            })
            .await?;
    }
    Ok(())
}

/// Follows the bucket until `stop`; the receiver's first value is complete.
///
/// # Errors
/// If the first watch fails.
pub async fn watch(
    broker: Arc<dyn Broker>,
    stop: CancellationToken,
) -> Result<watch::Receiver<Arc<Namespaces>>, BrokerError> {
    let mut known = Namespaces::default();
    let mut stream = broker.watch_namespaces().await?;
    while let Some(watched) = stream.next().await {
        match watched {
            Watched::Put(record) => known.put(record),
            Watched::Gone(id) => known.remove(&id.into()),
            Watched::Complete => break,
        }
    }
    let (tx, rx) = watch::channel(Arc::new(known.clone()));
    tokio::spawn(async move {
        loop {
            // Cancellation-safe: a watch lost half-way begins anew and tells everything again.
            let watched = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                watched = stream.next() => watched,
            };
            match watched {
                Some(Watched::Put(record)) => known.put(record),
                Some(Watched::Gone(id)) => known.remove(&id.into()),
                Some(Watched::Complete) => continue,
                None => {
                    info!("the watch of namespaces ended; it begins again");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(WATCH_AGAIN) => {}
                    }
                    if let Ok(again) = broker.watch_namespaces().await {
                        stream = again;
                    }
                    continue;
                }
            }
            tx.send_replace(Arc::new(known.clone()));
        }
    });
    Ok(rx)
}
