//! An engine replica: what all of its partitions share, and its start and stop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fermata_core::Limits;
use fermata_proto::ids::Partition;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError, ClusterRecord};
use crate::clock::Clock;
use crate::membership;
use crate::metrics::Metrics;
use crate::namespaces::{self, Namespaces};
use crate::partition::Status;
use crate::workers::{self, Workers};

/// How a replica behaves. Bounds are per partition unless they say otherwise.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Unique among replicas, and new with each start.
    pub id: String,
    /// For a deployment that does not exist yet; of an existing one the stored number holds.
    pub partitions: u16,
    /// Refuse to start on a deployment with another number of partitions.
    pub partitions_must_match: bool,
    /// Estimated bytes of runs in memory, over all partitions of this replica.
    pub cache_bytes_max: usize,
    /// Between the end of a checkpoint and the next one.
    pub checkpoint_interval: Duration,
    /// Less than [`crate::broker::APPENDS_IN_FLIGHT_MAX`].
    pub appends_in_flight_max: usize,
    pub requests_queued_max: usize,
    pub limits: Limits,
    /// Retention of the namespace `default`, if it has to be made.
    pub default_retention: Duration,
    /// How long a worker that holds something may be unknown (its claim came before its announcement, the partition was
    /// taken over) before that is given to others. One that was known and is gone has no such time.
    pub worker_grace: Duration,
    /// Makes ids and jitter repeatable, for simulations.
    pub seed: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            partitions: 16,
            partitions_must_match: false,
            cache_bytes_max: 512 << 20,
            checkpoint_interval: Duration::from_secs(1),
            appends_in_flight_max: 4,
            requests_queued_max: 10_000,
            limits: Limits::default(),
            default_retention: Duration::from_secs(72 * 3600),
            worker_grace: Duration::from_secs(2),
            seed: None,
        }
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("reach the broker")]
    Broker(#[from] BrokerError),
    #[error("register metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("{wanted} partitions are wanted; 1 to {max} are possible", max = PARTITIONS_MAX)]
    Partitions { wanted: u16 },
    #[error(
        "{wanted} partitions are wanted, but this deployment was made with {stored}, which is fixed; leave --partitions out, \
         or give a NATS without a deployment"
    )]
    PartitionsDiffer { wanted: u16, stored: u16 },
}

/// Slices of workflow ids that a deployment may have.
const PARTITIONS_MAX: u16 = 1_024;

/// What all partitions of a replica share.
pub struct Shared {
    pub broker: Arc<dyn Broker>,
    pub clock: Arc<dyn Clock>,
    pub options: EngineOptions,
    pub partitions: u16,
    pub namespaces: watch::Receiver<Arc<Namespaces>>,
    pub workers: watch::Receiver<Arc<Workers>>,
    pub metrics: Metrics,
    owned: AtomicUsize,
    /// This replica knows the others, and with them its own share.
    joined: AtomicBool,
    statuses: Mutex<BTreeMap<Partition, Status>>,
}

impl Shared {
    /// Bytes of runs that one partition may keep in memory.
    pub fn cache_share(&self) -> usize {
        self.options.cache_bytes_max / self.owned.load(Ordering::Relaxed).max(1)
    }

    pub fn count_owned(&self, change: isize) {
        if change < 0 {
            self.owned
                .fetch_sub(change.unsigned_abs(), Ordering::Relaxed);
        } else {
            self.owned
                .fetch_add(change.unsigned_abs(), Ordering::Relaxed);
        }
    }

    /// Every partition that should be ours has a status now.
    pub fn join(&self) {
        self.joined.store(true, Ordering::Release);
    }

    /// Where a partition that should be ours tells how it is.
    pub fn status(&self, partition: Partition) -> Status {
        self.statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(partition)
            .or_default()
            .clone()
    }

    /// The partition is not ours any more.
    pub fn forget(&self, partition: Partition) {
        self.statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&partition);
    }
}

/// A running replica.
pub struct Engine {
    shared: Arc<Shared>,
    stop: CancellationToken,
    membership: JoinHandle<()>,
}

impl Engine {
    /// Joins the deployment behind `broker`, or makes one. Returns once it takes part; partitions follow.
    ///
    /// # Errors
    /// If the broker cannot be reached, the number of partitions is impossible, or `registry` has an engine's metrics already.
    pub async fn start(
        broker: Arc<dyn Broker>,
        options: EngineOptions,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        if !(1..=PARTITIONS_MAX).contains(&options.partitions) {
            return Err(StartError::Partitions {
                wanted: options.partitions,
            });
        }
        let metrics = Metrics::register(registry)?;
        let wanted = ClusterRecord {
            id: uuid::Uuid::new_v4().to_string(),
            partitions: options.partitions,
        };
        let cluster = broker.cluster(wanted).await?;
        // Before this replica takes part: one that came and went would move partitions each time.
        if options.partitions_must_match && cluster.partitions != options.partitions {
            return Err(StartError::PartitionsDiffer {
                wanted: options.partitions,
                stored: cluster.partitions,
            });
        }
        namespaces::create_defaults(&*broker, options.default_retention).await?;
        let stop = CancellationToken::new();
        let namespaces = namespaces::watch(broker.clone(), stop.clone()).await?;
        let workers = workers::watch(broker.clone(), stop.clone());
        let shared = Arc::new(Shared {
            broker,
            clock,
            options,
            partitions: cluster.partitions,
            namespaces,
            workers,
            metrics,
            owned: AtomicUsize::new(0),
            joined: AtomicBool::new(false),
            statuses: Mutex::default(),
        });
        let membership = membership::start(shared.clone(), stop.clone());
        Ok(Self {
            shared,
            stop,
            membership,
        })
    }

    /// Why this replica does not serve everything it should, in words for an operator; nothing if it does.
    pub fn not_ready(&self) -> Vec<String> {
        let statuses = self
            .shared
            .statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut reasons: Vec<String> = statuses
            .iter()
            .filter_map(|(partition, status)| {
                Some(format!("partition {partition}: {}", status.reason()?))
            })
            .collect();
        if !self.shared.joined.load(Ordering::Acquire) {
            reasons.push("the other replicas are not known yet".to_owned());
        }
        reasons.extend(self.shared.broker.trouble());
        if self.stop.is_cancelled() {
            reasons.push("this replica shuts down".to_owned());
        }
        reasons
    }

    /// The number of partitions of the deployment, as stored.
    pub fn partitions(&self) -> u16 {
        self.shared.partitions
    }

    /// Hands all partitions over and takes the announcement back, in about a second at most.
    pub async fn shutdown(self) {
        self.stop.cancel();
        // A panic was told by its own message.
        let _ = self.membership.await;
    }
}
