//! A gate between an engine replica and the broker: a replica that stands still, or that the others cannot see.
//!
//! | the replica is | then |
//! |---|---|
//! | paused | nothing goes in or out until it goes on: as a process that was stopped, with all its memory |
//! | isolated | its announcements do not arrive and it hears nothing of the members; all else goes on, beside the next owner |

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fermata_engine::broker::*;
use fermata_engine::simulated::SimulatedReplica;
use fermata_proto::ids::{NamespaceId, Partition, StreamSequence};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::presence::WorkerRecord;
use fermata_proto::rpc::{Answer, Call, TaskReference};
use fermata_proto::subjects::TaskKind;
use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::Notify;

/// What the gate lets through.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gate {
    pub paused: bool,
    pub isolated: bool,
}

/// The gate as the world holds it. No `watch`: that wakes those who wait in an order that no seed decides.
#[derive(Clone, Default)]
pub struct Keeper(Arc<(Mutex<Gate>, Notify)>);

impl Keeper {
    pub fn gate(&self) -> Gate {
        *self.0.0.lock().unwrap()
    }

    pub fn set(&self, gate: Gate) {
        *self.0.0.lock().unwrap() = gate;
        self.0.1.notify_waiters();
    }

    async fn opened(&self, is_open: fn(Gate) -> bool) {
        loop {
            let changed = self.0.1.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if is_open(self.gate()) {
                return;
            }
            changed.await;
        }
    }
}

/// See the module.
pub struct Gated {
    inner: SimulatedReplica,
    keeper: Keeper,
}

impl Gated {
    pub fn new(inner: SimulatedReplica, keeper: Keeper) -> Self {
        Self { inner, keeper }
    }

    async fn passed<T>(&self, operation: impl Future<Output = T>) -> T {
        self.keeper.opened(not_paused).await;
        let result = operation.await;
        self.keeper.opened(not_paused).await;
        result
    }

    fn stream<T: Send + 'static>(
        &self,
        inner: BoxStream<'static, T>,
        is_open: fn(Gate) -> bool,
    ) -> BoxStream<'static, T> {
        let keeper = self.keeper.clone();
        // An item that came is kept over a dropped `next`, as the engine's `select!` does with streams.
        stream::unfold((inner, keeper), move |(mut inner, keeper)| async move {
            let item = inner.next().await?;
            keeper.opened(is_open).await;
            Some((item, (inner, keeper)))
        })
        .boxed()
    }
}

fn not_paused(gate: Gate) -> bool {
    !gate.paused
}

#[async_trait]
impl Broker for Gated {
    async fn cluster(&self, wanted: ClusterRecord) -> Result<ClusterRecord, BrokerError> {
        self.passed(self.inner.cluster(wanted)).await
    }

    async fn open(&self, partition: Partition) -> Result<(), BrokerError> {
        self.passed(self.inner.open(partition)).await
    }

    async fn append(
        &self,
        partition: Partition,
        expected_last: StreamSequence,
        record: Bytes,
    ) -> Acknowledged {
        self.keeper.opened(not_paused).await;
        let acknowledged = self.inner.append(partition, expected_last, record).await;
        let keeper = self.keeper.clone();
        async move {
            let verdict = acknowledged.await;
            keeper.opened(not_paused).await;
            verdict
        }
        .boxed()
    }

    async fn fence_log(
        &self,
        partition: Partition,
        expected_last: StreamSequence,
        record: Bytes,
    ) -> Result<StreamSequence, AppendError> {
        self.passed(self.inner.fence_log(partition, expected_last, record))
            .await
    }

    async fn log_last(&self, partition: Partition) -> Result<StreamSequence, BrokerError> {
        self.passed(self.inner.log_last(partition)).await
    }

    async fn read_log(
        &self,
        partition: Partition,
        from: StreamSequence,
    ) -> Result<Vec<LogEntry>, BrokerError> {
        self.passed(self.inner.read_log(partition, from)).await
    }

    async fn purge_log(
        &self,
        partition: Partition,
        below: StreamSequence,
    ) -> Result<(), BrokerError> {
        self.passed(self.inner.purge_log(partition, below)).await
    }

    async fn load(
        &self,
        partition: Partition,
        subject: &str,
    ) -> Result<Option<Bytes>, BrokerError> {
        self.passed(self.inner.load(partition, subject)).await
    }

    async fn scan(
        &self,
        partition: Partition,
        filter: &str,
    ) -> Result<BoxStream<'static, Result<(String, Bytes), BrokerError>>, BrokerError> {
        self.passed(self.inner.scan(partition, filter)).await
    }

    async fn store(
        &self,
        partition: Partition,
        writes: Vec<StateWrite>,
    ) -> Result<(), BrokerError> {
        self.passed(self.inner.store(partition, writes)).await
    }

    async fn purge_state(&self, partition: Partition, filter: &str) -> Result<(), BrokerError> {
        self.passed(self.inner.purge_state(partition, filter)).await
    }

    async fn dispatch(
        &self,
        kind: TaskKind,
        namespace_id: &NamespaceId,
        queue: &str,
        task: &TaskReference,
        message_id: &str,
    ) -> Result<(), BrokerError> {
        self.passed(
            self.inner
                .dispatch(kind, namespace_id, queue, task, message_id),
        )
        .await
    }

    async fn dispatch_sticky(
        &self,
        partition: Partition,
        queue: &str,
        task: &TaskReference,
    ) -> Result<(), BrokerError> {
        self.passed(self.inner.dispatch_sticky(partition, queue, task))
            .await
    }

    async fn unheard(
        &self,
        partition: Partition,
    ) -> Result<BoxStream<'static, TaskReference>, BrokerError> {
        let tasks = self.passed(self.inner.unheard(partition)).await?;
        Ok(self.stream(tasks, not_paused))
    }

    async fn tasks_lost(&self) -> Result<BoxStream<'static, ()>, BrokerError> {
        let lost = self.passed(self.inner.tasks_lost()).await?;
        Ok(self.stream(lost, not_paused))
    }

    async fn publish_visibility(&self, writes: Vec<StateWrite>) -> Result<(), BrokerError> {
        self.passed(self.inner.publish_visibility(writes)).await
    }

    async fn request(
        &self,
        partition: Partition,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, BrokerError> {
        self.passed(self.inner.request(partition, call, timeout))
            .await
    }

    async fn serve(
        &self,
        partition: Partition,
    ) -> Result<BoxStream<'static, Incoming>, BrokerError> {
        let requests = self.passed(self.inner.serve(partition)).await?;
        let keeper = self.keeper.clone();
        let requests = requests.map(move |Incoming { call, reply }| {
            let keeper = keeper.clone();
            let reply = Box::new(move |answer: Answer| {
                if not_paused(keeper.gate()) {
                    return reply(answer);
                }
                tokio::spawn(async move {
                    keeper.opened(not_paused).await;
                    reply(answer);
                });
            });
            Incoming { call, reply }
        });
        Ok(self.stream(requests.boxed(), not_paused))
    }

    async fn announce(&self, member: &Member) -> Result<(), BrokerError> {
        if self.keeper.gate().isolated {
            return Err(BrokerError::new("announce", "no answer in time"));
        }
        self.passed(self.inner.announce(member)).await
    }

    async fn retire(&self, member_id: &str) -> Result<(), BrokerError> {
        self.passed(self.inner.retire(member_id)).await
    }

    async fn watch_members(&self) -> Result<BoxStream<'static, Watched<Member>>, BrokerError> {
        let members = self.passed(self.inner.watch_members()).await?;
        Ok(self.stream(members, |gate| !gate.paused && !gate.isolated))
    }

    async fn watch_workers(
        &self,
    ) -> Result<BoxStream<'static, Watched<WorkerRecord>>, BrokerError> {
        let workers = self.passed(self.inner.watch_workers()).await?;
        Ok(self.stream(workers, not_paused))
    }

    async fn create_namespace(&self, record: &NamespaceRecord) -> Result<(), BrokerError> {
        self.passed(self.inner.create_namespace(record)).await
    }

    async fn watch_namespaces(
        &self,
    ) -> Result<BoxStream<'static, Watched<NamespaceRecord>>, BrokerError> {
        let namespaces = self.passed(self.inner.watch_namespaces()).await?;
        Ok(self.stream(namespaces, not_paused))
    }

    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }
}
