//! The streams' settings, and making them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{Context, kv};
use fermata_proto::ids::Partition;
use fermata_proto::presence::WORKER_TTL_MAX;
use fermata_proto::subjects;
use tracing::info;

use super::{ConnectError, Shared};
use crate::broker::{BrokerError, MEMBER_TTL, TASK_DUPLICATE_WINDOW};

/// Consumers of one stream.
const CONSUMERS_MAX: i32 = 1_000_000;

impl Shared {
    /// The streams and buckets that belong to no partition.
    pub(super) async fn make_common_streams(&self) -> Result<(), ConnectError> {
        let replicas = self.replicas;
        for config in [tasks(replicas), visibility(replicas)] {
            let name = config.name.clone();
            let made = match make(&self.api, config).await {
                Ok(_) => allow_consumers(&self.api, &name).await,
                Err(reason) => Err(reason),
            };
            made.map_err(|reason| ConnectError::Stream {
                stream: name,
                reason,
            })?;
        }
        for config in buckets(replicas) {
            let name = config.bucket.clone();
            let made = match make_bucket(&self.api, config).await {
                Ok(()) => allow_consumers(&self.api, &format!("KV_{name}")).await,
                Err(reason) => Err(reason),
            };
            made.map_err(|reason| ConnectError::Stream {
                stream: name,
                reason,
            })?;
        }
        Ok(())
    }

    /// Makes a partition's log and state store, and begins to fence the latter.
    pub(super) async fn open(&self, partition: Partition) -> Result<(), BrokerError> {
        for config in [
            log(partition, self.replicas),
            state(partition, self.replicas),
        ] {
            let name = config.name.clone();
            let stream = make(&self.api, config)
                .await
                .map_err(|reason| BrokerError::new(format!("open stream {name}"), reason))?;
            let replicas = stream.cached_info().config.num_replicas;
            if replicas > 1 && !self.leader_reads.swap(true, Ordering::Relaxed) {
                info!(stream = %name, replicas, "stream has replicas: reading from leaders");
            }
        }
        self.fence(partition).await
    }
}

/// The task queues' stream. Memory: tasks can be derived from state at any time.
pub(super) fn tasks(replicas: usize) -> Config {
    Config {
        name: subjects::TASKS_STREAM.to_owned(),
        subjects: vec![subjects::TASKS_SUBJECTS.to_owned()],
        storage: StorageType::Memory,
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        duplicate_window: TASK_DUPLICATE_WINDOW,
        num_replicas: replicas,
        ..Config::default()
    }
}

fn log(partition: Partition, replicas: usize) -> Config {
    Config {
        name: subjects::log_stream(partition),
        subjects: vec![subjects::log(partition)],
        storage: StorageType::File,
        allow_atomic_publish: true,
        allow_direct: true,
        num_replicas: replicas,
        ..Config::default()
    }
}

fn state(partition: Partition, replicas: usize) -> Config {
    Config {
        name: subjects::state_stream(partition),
        subjects: vec![subjects::state_subjects(partition)],
        ..records(replicas)
    }
}

fn visibility(replicas: usize) -> Config {
    Config {
        name: subjects::VISIBILITY_STREAM.to_owned(),
        subjects: vec![subjects::VISIBILITY_SUBJECTS.to_owned()],
        ..records(replicas)
    }
}

/// A store of records, the last one under each subject.
fn records(replicas: usize) -> Config {
    Config {
        storage: StorageType::File,
        max_messages_per_subject: 1,
        allow_atomic_publish: true,
        allow_direct: true,
        allow_message_ttl: true,
        num_replicas: replicas,
        ..Config::default()
    }
}

fn buckets(replicas: usize) -> [kv::Config; 4] {
    let bucket = |name: &str, max_age| kv::Config {
        bucket: name.to_owned(),
        history: 1,
        max_age,
        num_replicas: replicas,
        ..kv::Config::default()
    };
    [
        bucket(subjects::CLUSTER_BUCKET, Duration::ZERO),
        bucket(subjects::NAMESPACES_BUCKET, Duration::ZERO),
        bucket(subjects::MEMBERS_BUCKET, MEMBER_TTL),
        bucket(subjects::WORKERS_BUCKET, WORKER_TTL_MAX),
    ]
}

/// Lets a stream have a consumer for each task queue, or for each process that watches it. A server from 2.14 on allows 1,000
/// where a stream does not say, and streams of older deployments do not.
async fn allow_consumers(context: &Context, name: &str) -> Result<(), String> {
    let mut stream = context
        .get_stream(name)
        .await
        .map_err(|error| error.to_string())?;
    let info = stream.info().await.map_err(|error| error.to_string())?;
    if info.config.max_consumers >= CONSUMERS_MAX {
        return Ok(());
    }
    let config = Config {
        max_consumers: CONSUMERS_MAX,
        ..info.config.clone()
    };
    context
        .update_stream(config)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Several replicas may do this at once: the server takes equal settings for one request.
pub(super) async fn make(context: &Context, config: Config) -> Result<Stream, String> {
    context
        .get_or_create_stream(config)
        .await
        .map_err(|error| error.to_string())
}

async fn make_bucket(context: &Context, config: kv::Config) -> Result<(), String> {
    if context.get_key_value(&config.bucket).await.is_ok() {
        return Ok(());
    }
    context
        .create_key_value(config)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}
