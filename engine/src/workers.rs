//! Which workers announce themselves now: a snapshot that the watch replaces as a whole.
//!
//! Deliberately absent: what follows from a worker's end. Each partition judges it for what it has handed out
//! (`partition::claimants`), and the rules say what becomes of that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::presence::WorkerRecord;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::broker::{Broker, Watched};

/// How long to wait before a broken watch begins again.
const WATCH_AGAIN: Duration = Duration::from_millis(500);

/// All workers that announce themselves, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Workers {
    /// How long each counts after its last announcement.
    present: BTreeMap<String, Duration>,
    is_complete: bool,
}

impl Workers {
    /// Whether everyone who was there when the watch began is known.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// How long the worker counts after its last announcement; none if it is not there.
    pub fn ttl(&self, worker_id: &str) -> Option<Duration> {
        self.present.get(worker_id).copied()
    }

    #[cfg(test)]
    pub fn all(workers: impl IntoIterator<Item = (String, Duration)>) -> Self {
        Self {
            present: workers.into_iter().collect(),
            is_complete: true,
        }
    }
}

/// Follows the bucket until `stop`. The receiver hears of workers that come and go, not of every announcement.
pub fn watch(broker: Arc<dyn Broker>, stop: CancellationToken) -> watch::Receiver<Arc<Workers>> {
    let (tx, rx) = watch::channel(Arc::<Workers>::default());
    tokio::spawn(async move {
        loop {
            // Cancellation-safe: a watch lost half-way begins anew and tells everything again.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                watched = broker.watch_workers() => match watched {
                    Ok(stream) => tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = follow(stream, &tx) => info!("the watch of workers ended; it begins again"),
                    },
                    Err(error) => info!(%error, "workers are not watched yet"),
                },
            }
            tokio::time::sleep(WATCH_AGAIN).await;
        }
    });
    rx
}

async fn follow(
    mut stream: BoxStream<'static, Watched<WorkerRecord>>,
    tx: &watch::Sender<Arc<Workers>>,
) {
    // Until everything has been told, what was known before stands.
    let mut known = Workers::default();
    while let Some(watched) = stream.next().await {
        let is_news = match watched {
            Watched::Put(record) => {
                let ttl = record.ttl();
                known.present.insert(record.id, ttl) != Some(ttl)
            }
            Watched::Gone(id) => known.present.remove(&id).is_some(),
            Watched::Complete => {
                known.is_complete = true;
                true
            }
        };
        if is_news && known.is_complete {
            tx.send_replace(Arc::new(known.clone()));
        }
    }
}
