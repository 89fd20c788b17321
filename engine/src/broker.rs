//! What the engine needs of a broker, in words of durability: a log, a state store, dispatch and requests.
//!
//! There are two forms: [`crate::jetstream`] on a real NATS, and [`crate::simulated`], which keeps the same contract in
//! memory, can be crashed and slowed, and runs by a seeded schedule. One conformance suite (`tests/broker.rs`) holds both
//! to what is written here, so that the simulation can be believed.
//!
//! Everything the engine learns of the outside comes through here: no other module knows NATS.

use std::time::Duration;

use bytes::Bytes;
pub use fermata_proto::cluster::ClusterRecord;
use fermata_proto::ids::{NamespaceId, Partition, StreamSequence};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::presence::WorkerRecord;
use fermata_proto::rpc::{Answer, Call, TaskReference};
use fermata_proto::subjects::TaskKind;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

/// Largest number of records in one atomic write of state (NATS ADR-50 allows 1,000 messages in a batch).
pub const STATE_BATCH_MAX: usize = 1_000;

/// More appends than one owner may have under way in one partition. Persisted, in effect: a new owner fences off as many.
pub const APPENDS_IN_FLIGHT_MAX: usize = 16;

/// How long the broker remembers the message ids of tasks. Each costs it some 250 bytes: at 10,000 tasks a second two minutes
/// of them, NATS' default, would be 300 MB.
pub const TASK_DUPLICATE_WINDOW: Duration = Duration::from_secs(20);

/// One record of a partition's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub sequence: StreamSequence,
    pub record: Bytes,
}

/// One write of state: the last one under a subject stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The full subject.
    pub subject: String,
    /// Nothing deletes the record, in the same atomic write as the others.
    pub record: Option<Bytes>,
    /// The broker deletes the record after this; whole seconds, at least one.
    pub ttl: Option<Duration>,
}

/// An engine replica as the others see it. Persisted: names never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: String,
    /// A replica that shuts down still answers, but gets no partitions.
    pub leaving: bool,
}

/// Why an append did not take place, as far as one can tell.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log's last sequence is another one. Certain: nothing was written by this append.
    #[error("append to the log of partition {partition}: its last sequence is not {expected}")]
    Conflict {
        partition: Partition,
        expected: StreamSequence,
    },
    /// No answer, or a broken one: the record may or may not be in the log.
    #[error("append to the log of partition {partition}: {reason}")]
    Ambiguous {
        partition: Partition,
        reason: String,
    },
    /// The broker refused it (its disk is full, the record is too large), or it could not be sent at all (no connection).
    /// Certain: nothing was written.
    #[error("append to the log of partition {partition}: refused: {reason}")]
    Refused {
        partition: Partition,
        reason: String,
    },
}

/// The broker is away, slow, or says no; repeating later may help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{attempted}: {reason}")]
pub struct BrokerError {
    /// Such as `load fm.state.3.run.x`.
    pub attempted: String,
    pub reason: String,
    /// Another replica has written to the partition's state store since this one opened it: repeating is of no use, the
    /// partition has to be taken over anew (or left). Only [`Broker::store`] says so.
    pub superseded: bool,
}

impl BrokerError {
    /// A failure that may pass.
    pub fn new(attempted: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self {
            attempted: attempted.into(),
            reason: reason.to_string(),
            superseded: false,
        }
    }

    /// A write of one who is no longer the owner.
    pub fn superseded(attempted: impl Into<String>) -> Self {
        Self {
            attempted: attempted.into(),
            reason: "another replica has written there since".to_owned(),
            superseded: true,
        }
    }
}

/// The acknowledgement of an append that has been sent.
pub type Acknowledged = BoxFuture<'static, Result<StreamSequence, AppendError>>;

/// A request from the outside, and the way to answer it. Dropped without an answer, the caller repeats by itself.
pub struct Incoming {
    pub call: Call,
    pub reply: Box<dyn FnOnce(Answer) + Send>,
}

/// What a member, a worker or a namespace has become.
#[derive(Debug, Clone)]
pub enum Watched<T> {
    Put(T),
    /// Deleted or expired; the key.
    Gone(String),
    /// Everything that existed when the watch began has been told.
    Complete,
}

/// See the module.
#[async_trait::async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Reads the deployment's record, or makes it with `wanted` if there is none; what is stored wins.
    async fn cluster(&self, wanted: ClusterRecord) -> Result<ClusterRecord, BrokerError>;

    /// Makes the partition's log and state store if they do not exist. Idempotent. To be called before every takeover: the
    /// stores that follow are fenced from here (see [`Broker::store`]).
    async fn open(&self, partition: Partition) -> Result<(), BrokerError>;

    // ---- the log ----

    /// Sends one append; returns as soon as it is sent, in the order of calls. Several may be under way: each expects the
    /// sequence that the one before will get, and fails with it.
    async fn append(
        &self,
        partition: Partition,
        expected_last: StreamSequence,
        record: Bytes,
    ) -> Acknowledged;

    /// Appends `record` as [`APPENDS_IN_FLIGHT_MAX`] copies, all or nothing, and gives the sequence of the last.
    ///
    /// One record would not do: appends are pipelined, and the second that an older owner has under way expects the very
    /// sequence that one record takes. Behind so many, none of them finds what it expects.
    async fn fence_log(
        &self,
        partition: Partition,
        expected_last: StreamSequence,
        record: Bytes,
    ) -> Result<StreamSequence, AppendError>;

    /// The last sequence of the log, 0 for an empty one that never held a record; a purge does not lower it.
    async fn log_last(&self, partition: Partition) -> Result<StreamSequence, BrokerError>;

    /// Records from `from` on, in order without holes, at most about 8 MiB of them; empty at the end. Records below the
    /// purged sequence are gone: the first one returned may be later than `from`.
    async fn read_log(
        &self,
        partition: Partition,
        from: StreamSequence,
    ) -> Result<Vec<LogEntry>, BrokerError>;

    /// Removes all records below `below`.
    async fn purge_log(
        &self,
        partition: Partition,
        below: StreamSequence,
    ) -> Result<(), BrokerError>;

    // ---- state ----

    /// The record under an exact subject; reads what any completed [`Broker::store`] wrote.
    async fn load(&self, partition: Partition, subject: &str)
    -> Result<Option<Bytes>, BrokerError>;

    /// Every record whose subject matches a NATS filter, in no order. Reads the whole store: for takeovers and operators.
    async fn scan(
        &self,
        partition: Partition,
        filter: &str,
    ) -> Result<BoxStream<'static, Result<(String, Bytes), BrokerError>>, BrokerError>;

    /// Writes all or nothing, durably; at most [`STATE_BATCH_MAX`] writes.
    ///
    /// Fenced as the log is: it fails with [`BrokerError::superseded`] if another handle has stored to this partition since
    /// this one's [`Broker::open`], so that a late checkpoint of an old owner cannot undo a newer one. After any other
    /// failure the records may or may not have been written; a repeat finds out by itself. Records are never empty.
    async fn store(&self, partition: Partition, writes: Vec<StateWrite>)
    -> Result<(), BrokerError>;

    /// Removes all records whose subjects match a filter.
    async fn purge_state(&self, partition: Partition, filter: &str) -> Result<(), BrokerError>;

    // ---- to the outside ----

    /// Puts a task on its queue. Two with the same `message_id` within [`TASK_DUPLICATE_WINDOW`] are one, also when the first
    /// was taken off the queue: who dispatches again what may have been taken and lost needs a new id.
    /// Returns as soon as it is sent; a lost task shows as a task nobody claims, and is dispatched again by its owner.
    async fn dispatch(
        &self,
        kind: TaskKind,
        namespace_id: &NamespaceId,
        queue: &str,
        task: &TaskReference,
        message_id: &str,
    ) -> Result<(), BrokerError>;

    /// Sends a task to the worker that listens on a sticky queue. If nobody listens, the task comes back by
    /// [`Broker::unheard`]. At most once.
    async fn dispatch_sticky(
        &self,
        partition: Partition,
        queue: &str,
        task: &TaskReference,
    ) -> Result<(), BrokerError>;

    /// Tasks of this partition that nobody listened for. One call a partition at a time.
    async fn unheard(
        &self,
        partition: Partition,
    ) -> Result<BoxStream<'static, TaskReference>, BrokerError>;

    /// The task queues' stream was lost and made anew (memory storage, a restarted broker), or the connection was away: yields
    /// once each time; every waiting task has then to be dispatched again. Dispatches that the broker did not acknowledge show
    /// here too.
    async fn tasks_lost(&self) -> Result<BoxStream<'static, ()>, BrokerError>;

    /// Publishes visibility records durably, in atomic groups of up to [`STATE_BATCH_MAX`]. A deletion stays visible to
    /// consumers of the stream for a day.
    async fn publish_visibility(&self, writes: Vec<StateWrite>) -> Result<(), BrokerError>;

    /// Asks the owner of another partition once; an answer, or why there is none.
    async fn request(
        &self,
        partition: Partition,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, BrokerError>;

    /// The requests to a partition from now on, until the stream is dropped. Undecodable ones are answered
    /// INVALID_ARGUMENT by the broker's form and never come here.
    async fn serve(
        &self,
        partition: Partition,
    ) -> Result<BoxStream<'static, Incoming>, BrokerError>;

    // ---- members, workers and namespaces ----

    /// Announces this replica; to be repeated every [`MEMBER_REFRESH`], since the key expires after [`MEMBER_TTL`].
    async fn announce(&self, member: &Member) -> Result<(), BrokerError>;

    /// Takes the announcement back at once.
    async fn retire(&self, member_id: &str) -> Result<(), BrokerError>;

    async fn watch_members(&self) -> Result<BoxStream<'static, Watched<Member>>, BrokerError>;

    /// The workers that announce themselves: each is gone when it was not heard of for the time that it announced.
    async fn watch_workers(&self)
    -> Result<BoxStream<'static, Watched<WorkerRecord>>, BrokerError>;

    /// Makes the namespace if no one has its id.
    async fn create_namespace(&self, record: &NamespaceRecord) -> Result<(), BrokerError>;

    async fn watch_namespaces(
        &self,
    ) -> Result<BoxStream<'static, Watched<NamespaceRecord>>, BrokerError>;

    /// Why the broker cannot serve now, in words for an operator; nothing if it can.
    fn trouble(&self) -> Option<String>;
}

/// How often a replica announces itself.
pub const MEMBER_REFRESH: Duration = Duration::from_millis(700);
/// How long an announcement lasts: a replica that died is noticed after this.
pub const MEMBER_TTL: Duration = Duration::from_secs(3);
