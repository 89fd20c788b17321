//! The broker's real form: NATS JetStream.
//!
//! Owns the connections, the streams and the buckets. Deliberately absent: what the records mean.
//!
//! There are two connections. Small things that somebody waits for (appends, replies, dispatches, loads) go over `quick`;
//! checkpoints, scans and visibility records over `bulk`, where megabytes of them delay nothing else. Order matters only
//! within the log, which is all on `quick`.
//!
//! One file for each part of the contract: [`log`], [`state`], [`tasks`], [`sticky`], [`rpc`], [`kv`].

mod connect;
mod kv;
mod log;
mod rpc;
mod state;
mod sticky;
mod streams;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State as ConnectionState;
use async_nats::jetstream::Context;
use async_trait::async_trait;
use bytes::Bytes;
use fermata_proto::ids::{NamespaceId, Partition, StreamSequence};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::presence::WorkerRecord;
use fermata_proto::rpc::{Answer, Call, TaskReference};
use fermata_proto::subjects::TaskKind;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub use connect::{ConnectError, MAX_PAYLOAD_BYTES_MIN, NatsOptions};

use crate::broker::{
    Acknowledged, AppendError, Broker, BrokerError, ClusterRecord, Incoming, LogEntry, Member,
    StateWrite, Watched,
};

/// How long an acknowledgement is waited for.
const ACKNOWLEDGEMENT_MAX: Duration = Duration::from_secs(5);

/// A connected [`Broker`]. Connection losses after the start are repaired for ever in the background.
pub struct JetStream {
    shared: Arc<Shared>,
    /// Ends with the last use of the broker.
    _background: Vec<AbortOnDropHandle<()>>,
}

/// What the parts have in common.
struct Shared {
    quick: Client,
    bulk: Client,
    /// Appends: no back-pressure, their number is the owner's choice.
    appends: Context,
    /// Everything else of the JetStream API on `quick`.
    api: Context,
    /// Checkpoints, scans and visibility records.
    bulk_api: Context,
    /// Counts the times that `quick` has connected.
    connects: watch::Receiver<u64>,
    replicas: usize,
    /// Whether state must be read from the streams' leaders: with several replicas a direct get may be answered by one that
    /// lags behind an acknowledged write.
    leader_reads: AtomicBool,
    /// Why the last durable write was refused; empty after one that was not.
    storage_trouble: std::sync::Mutex<Option<String>>,
    writers: state::Writers,
    tasks: tasks::Tasks,
    sticky: sticky::Sticky,
}

impl JetStream {
    /// Connects, checks that the server can do what Fermata needs, and makes the streams and buckets that are not a
    /// partition's.
    ///
    /// # Errors
    /// Each names what to do about it.
    pub async fn connect(options: &NatsOptions) -> Result<Self, ConnectError> {
        let connected = connect::connect(options).await?;
        let (tasks, collector) = tasks::Tasks::new(&connected.quick);
        let shared = Arc::new(Shared {
            appends: log::context(connected.quick.clone()),
            api: connect::context(connected.quick.clone()),
            bulk_api: state::context(connected.bulk.clone()),
            replicas: options.replicas.max(1),
            leader_reads: AtomicBool::new(options.replicas > 1),
            storage_trouble: std::sync::Mutex::default(),
            writers: state::Writers::default(),
            sticky: sticky::Sticky::new(&connected.quick),
            tasks,
            connects: connected.connects,
            quick: connected.quick,
            bulk: connected.bulk,
        });
        shared.make_common_streams().await?;
        let background = vec![
            AbortOnDropHandle::new(tokio::spawn(collector.run())),
            AbortOnDropHandle::new(tokio::spawn(tasks::guard(Arc::clone(&shared)))),
        ];
        Ok(Self {
            shared,
            _background: background,
        })
    }
}

impl Shared {
    fn is_connected(&self) -> bool {
        self.quick.connection_state() == ConnectionState::Connected
    }

    fn reads_leader(&self) -> bool {
        self.leader_reads.load(Ordering::Relaxed)
    }

    /// Remembers that a durable write was refused (with the words), or that one went well.
    fn note_storage(&self, trouble: Option<&str>) {
        let mut noted = self
            .storage_trouble
            .lock()
            .expect("nothing panics while it holds this lock");
        if noted.as_deref() != trouble {
            *noted = trouble.map(str::to_owned);
        }
    }
}

#[async_trait]
impl Broker for JetStream {
    async fn cluster(&self, wanted: ClusterRecord) -> Result<ClusterRecord, BrokerError> {
        self.shared.cluster(&wanted).await
    }

    async fn open(&self, partition: Partition) -> Result<(), BrokerError> {
        self.shared.open(partition).await
    }

    async fn append(
        &self,
        partition: Partition,
        expected_last: StreamSequence,
        record: Bytes,
    ) -> Acknowledged {
        self.shared.append(partition, expected_last, record).await
    }

    async fn fence_log(
        &self,
        partition: Partition,
        expected_last: StreamSequence,
        record: Bytes,
    ) -> Result<StreamSequence, AppendError> {
        self.shared
            .fence_log(partition, expected_last, record)
            .await
    }

    async fn log_last(&self, partition: Partition) -> Result<StreamSequence, BrokerError> {
        self.shared.log_last(partition).await
    }

    async fn read_log(
        &self,
        partition: Partition,
        from: StreamSequence,
    ) -> Result<Vec<LogEntry>, BrokerError> {
        self.shared.read_log(partition, from).await
    }

    async fn purge_log(
        &self,
        partition: Partition,
        below: StreamSequence,
    ) -> Result<(), BrokerError> {
        self.shared.purge_log(partition, below).await
    }

    async fn load(
        &self,
        partition: Partition,
        subject: &str,
    ) -> Result<Option<Bytes>, BrokerError> {
        self.shared.load(partition, subject).await
    }

    async fn scan(
        &self,
        partition: Partition,
        filter: &str,
    ) -> Result<BoxStream<'static, Result<(String, Bytes), BrokerError>>, BrokerError> {
        Arc::clone(&self.shared).scan(partition, filter).await
    }

    async fn store(
        &self,
        partition: Partition,
        writes: Vec<StateWrite>,
    ) -> Result<(), BrokerError> {
        self.shared.store(partition, writes).await
    }

    async fn purge_state(&self, partition: Partition, filter: &str) -> Result<(), BrokerError> {
        self.shared.purge_state(partition, filter).await
    }

    async fn dispatch(
        &self,
        kind: TaskKind,
        namespace_id: &NamespaceId,
        queue: &str,
        task: &TaskReference,
        message_id: &str,
    ) -> Result<(), BrokerError> {
        let subject = fermata_proto::subjects::task(kind, namespace_id, queue);
        self.shared.dispatch(subject, task, message_id).await
    }

    async fn dispatch_sticky(
        &self,
        partition: Partition,
        queue: &str,
        task: &TaskReference,
    ) -> Result<(), BrokerError> {
        self.shared.dispatch_sticky(partition, queue, task).await
    }

    async fn unheard(
        &self,
        partition: Partition,
    ) -> Result<BoxStream<'static, TaskReference>, BrokerError> {
        Arc::clone(&self.shared).unheard(partition).await
    }

    async fn tasks_lost(&self) -> Result<BoxStream<'static, ()>, BrokerError> {
        Ok(self.shared.tasks.lost())
    }

    async fn publish_visibility(&self, writes: Vec<StateWrite>) -> Result<(), BrokerError> {
        self.shared.publish_visibility(writes).await
    }

    async fn request(
        &self,
        partition: Partition,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, BrokerError> {
        self.shared.request(partition, call, timeout).await
    }

    async fn serve(
        &self,
        partition: Partition,
    ) -> Result<BoxStream<'static, Incoming>, BrokerError> {
        self.shared.serve(partition).await
    }

    async fn announce(&self, member: &Member) -> Result<(), BrokerError> {
        self.shared.announce(member).await
    }

    async fn retire(&self, member_id: &str) -> Result<(), BrokerError> {
        self.shared.retire(member_id).await
    }

    async fn watch_members(&self) -> Result<BoxStream<'static, Watched<Member>>, BrokerError> {
        self.shared.watch_members().await
    }

    async fn watch_workers(
        &self,
    ) -> Result<BoxStream<'static, Watched<WorkerRecord>>, BrokerError> {
        self.shared.watch_workers().await
    }

    async fn create_namespace(&self, record: &NamespaceRecord) -> Result<(), BrokerError> {
        self.shared.create_namespace(record).await
    }

    async fn watch_namespaces(
        &self,
    ) -> Result<BoxStream<'static, Watched<NamespaceRecord>>, BrokerError> {
        self.shared.watch_namespaces().await
    }

    fn trouble(&self) -> Option<String> {
        if !self.shared.is_connected() {
            return Some("not connected to NATS".to_owned());
        }
        self.shared
            .storage_trouble
            .lock()
            .expect("nothing panics while it holds this lock")
            .clone()
    }
}
