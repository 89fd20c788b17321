//! One engine replica's handle on the simulated broker: each operation goes there, takes place, and its answer comes back.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::ids::{NamespaceId, Partition, StreamSequence};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::presence::WorkerRecord;
use fermata_proto::rpc::{Answer, Call, Rejection, TaskReference};
use fermata_proto::subjects::{self, TaskKind};
use futures::future::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::oneshot;

use super::network::{Connection, Way};
use super::world::{PAYLOAD_BYTES_MAX, Served, World};
use super::{SimulatedBroker, receiver_stream, unless_lost};
use crate::broker::{
    Acknowledged, AppendError, Broker, BrokerError, ClusterRecord, Incoming, LogEntry, Member,
    StateWrite, Watched,
};

/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Made by [`SimulatedBroker::connect`].
pub struct SimulatedReplica {
    broker: SimulatedBroker,
    connection: Connection,
}

impl SimulatedReplica {
    pub(super) fn new(broker: SimulatedBroker, connection: Connection) -> Self {
        Self { broker, connection }
    }

    /// Sends an operation now. Nothing if there is no connection.
    fn send<R: Send + 'static>(
        &self,
        lost_on_the_way: impl FnOnce(&mut World) -> bool,
        answer_lost: impl FnOnce(&World) -> f64 + Send + 'static,
        operation: impl FnOnce(&mut World) -> R + Send + 'static,
    ) -> Option<oneshot::Receiver<R>> {
        let mut world = self.broker.shared.world();
        let connection = self.connection;
        if world.is_down || !world.connections.contains_key(&connection) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        if lost_on_the_way(&mut world) {
            return Some(receiver);
        }
        let arrival = move |world: &mut World| {
            let result = operation(world);
            let probability = answer_lost(world);
            if world.happens(probability) {
                world.note(connection, || "answer lost".to_owned());
                return;
            }
            let answer = move |_: &mut World| {
                // The caller may have given up.
                let _ = sender.send(result);
            };
            world.send(Way::FromBroker(connection), Box::new(answer));
        };
        world.send(Way::ToBroker(connection), Box::new(arrival));
        Some(receiver)
    }

    /// An operation and its answer.
    async fn ask<R: Send + 'static>(
        &self,
        attempted: &str,
        operation: impl FnOnce(&mut World, Connection) -> R + Send + 'static,
    ) -> Result<R, BrokerError> {
        let connection = self.connection;
        let sent = self.send(
            |_| false,
            |world| world.faults.answer_lost,
            move |world| operation(world, connection),
        );
        let receiver = sent.ok_or_else(|| BrokerError::new(attempted, "not connected"))?;
        tokio::time::timeout(ANSWER_MAX, unless_lost(receiver))
            .await
            .map_err(|_| BrokerError::new(attempted, "no answer in time"))
    }

    /// Sends an append of `bytes` a record.
    fn send_append(
        &self,
        partition: Partition,
        bytes: usize,
        operation: impl FnOnce(&mut World) -> Result<StreamSequence, AppendError> + Send + 'static,
    ) -> Acknowledged {
        let refused = |reason: &str| {
            let reason = reason.to_owned();
            futures::future::ready(Err(AppendError::Refused { partition, reason })).boxed()
        };
        if bytes > PAYLOAD_BYTES_MAX {
            return refused("larger than the server's max_payload");
        }
        let connection = self.connection;
        let sent = self.send(
            move |world| {
                let lost = world.happens(world.faults.append_lost);
                if lost {
                    world.note(connection, || format!("append {partition} lost"));
                }
                lost
            },
            |world| world.faults.acknowledgement_lost,
            operation,
        );
        let Some(receiver) = sent else {
            return refused("not connected");
        };
        async move {
            match tokio::time::timeout(ANSWER_MAX, unless_lost(receiver)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(AppendError::Ambiguous {
                    partition,
                    reason: "no acknowledgement in time".to_owned(),
                }),
            }
        }
        .boxed()
    }

    /// A message that is not answered.
    fn tell(
        &self,
        attempted: &str,
        operation: impl FnOnce(&mut World) + Send + 'static,
    ) -> Result<(), BrokerError> {
        self.send(|_| false, |_| 0.0, operation)
            .map(drop)
            .ok_or_else(|| BrokerError::new(attempted, "not connected"))
    }
}

#[async_trait]
impl Broker for SimulatedReplica {
    async fn cluster(&self, wanted: ClusterRecord) -> Result<ClusterRecord, BrokerError> {
        self.ask("read the cluster record", |world, _| world.cluster(wanted))
            .await
    }

    async fn open(&self, partition: Partition) -> Result<(), BrokerError> {
        self.ask("open partition", move |world, connection| {
            world.open(connection, partition);
        })
        .await
    }

    async fn append(
        &self,
        partition: Partition,
        expected: StreamSequence,
        record: Bytes,
    ) -> Acknowledged {
        let connection = self.connection;
        let bytes = record.len();
        self.send_append(partition, bytes, move |world| {
            world.append(connection, partition, expected, record)
        })
    }

    async fn fence_log(
        &self,
        partition: Partition,
        expected: StreamSequence,
        record: Bytes,
    ) -> Result<StreamSequence, AppendError> {
        let connection = self.connection;
        let bytes = record.len();
        self.send_append(partition, bytes, move |world| {
            world.fence_log(connection, partition, expected, &record)
        })
        .await
    }

    async fn log_last(&self, partition: Partition) -> Result<StreamSequence, BrokerError> {
        self.ask("look up the log", move |world, _| world.log_last(partition))
            .await?
    }

    async fn read_log(
        &self,
        partition: Partition,
        from: StreamSequence,
    ) -> Result<Vec<LogEntry>, BrokerError> {
        self.ask("read the log", move |world, _| {
            world.read_log(partition, from)
        })
        .await?
    }

    async fn purge_log(
        &self,
        partition: Partition,
        below: StreamSequence,
    ) -> Result<(), BrokerError> {
        self.ask("purge the log", move |world, connection| {
            world.purge_log(connection, partition, below)
        })
        .await?
    }

    async fn load(
        &self,
        partition: Partition,
        subject: &str,
    ) -> Result<Option<Bytes>, BrokerError> {
        let attempted = format!("load {subject}");
        let subject = subject.to_owned();
        self.ask(&attempted, move |world, _| world.load(partition, &subject))
            .await?
    }

    async fn scan(
        &self,
        partition: Partition,
        filter: &str,
    ) -> Result<BoxStream<'static, Result<(String, Bytes), BrokerError>>, BrokerError> {
        let attempted = format!("scan {filter}");
        let filter = filter.to_owned();
        let found = self
            .ask(&attempted, move |world, _| world.scan(partition, &filter))
            .await??;
        Ok(stream::iter(found).map(Ok).boxed())
    }

    async fn store(
        &self,
        partition: Partition,
        writes: Vec<StateWrite>,
    ) -> Result<(), BrokerError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.ask("store state", move |world, connection| {
            world.store(connection, partition, writes)
        })
        .await?
    }

    async fn purge_state(&self, partition: Partition, filter: &str) -> Result<(), BrokerError> {
        let filter = filter.to_owned();
        self.ask("purge state", move |world, connection| {
            world.purge_state(connection, partition, &filter)
        })
        .await?
    }

    async fn dispatch(
        &self,
        kind: TaskKind,
        namespace_id: &NamespaceId,
        queue: &str,
        task: &TaskReference,
        message_id: &str,
    ) -> Result<(), BrokerError> {
        let subject = subjects::task(kind, namespace_id, queue);
        let (task, message_id) = (task.clone(), message_id.to_owned());
        let connection = self.connection;
        self.tell("dispatch a task", move |world| {
            world.dispatch(connection, subject, task, message_id);
        })
    }

    async fn dispatch_sticky(
        &self,
        partition: Partition,
        queue: &str,
        task: &TaskReference,
    ) -> Result<(), BrokerError> {
        let subject = subjects::sticky(&task.namespace_id, queue);
        let task = task.clone();
        let connection = self.connection;
        self.tell("dispatch a sticky task", move |world| {
            world.dispatch_sticky(connection, partition, &subject, task);
        })
    }

    async fn unheard(
        &self,
        partition: Partition,
    ) -> Result<BoxStream<'static, TaskReference>, BrokerError> {
        let mut world = self.broker.shared.world();
        Ok(receiver_stream(
            world.hear_unheard(self.connection, partition),
        ))
    }

    async fn tasks_lost(&self) -> Result<BoxStream<'static, ()>, BrokerError> {
        Ok(receiver_stream(
            self.broker.shared.world().hear_tasks_lost(),
        ))
    }

    async fn publish_visibility(&self, writes: Vec<StateWrite>) -> Result<(), BrokerError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.ask("publish visibility records", |world, connection| {
            world.publish_visibility(connection, writes)
        })
        .await?
    }

    async fn request(
        &self,
        partition: Partition,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, BrokerError> {
        self.broker
            .request(self.connection, partition, call, timeout)
            .await
    }

    async fn serve(
        &self,
        partition: Partition,
    ) -> Result<BoxStream<'static, Incoming>, BrokerError> {
        let requests = self
            .ask("serve a partition", move |world, connection| {
                world.serve(connection, partition)
            })
            .await?;
        Ok(receiver_stream(requests)
            .filter_map(|request| std::future::ready(incoming(request)))
            .boxed())
    }

    async fn announce(&self, member: &Member) -> Result<(), BrokerError> {
        let member = member.clone();
        self.ask("announce a member", |world, _| world.announce(member))
            .await
    }

    async fn retire(&self, member_id: &str) -> Result<(), BrokerError> {
        let member_id = member_id.to_owned();
        self.ask("retire a member", move |world, _| world.retire(&member_id))
            .await
    }

    async fn watch_members(&self) -> Result<BoxStream<'static, Watched<Member>>, BrokerError> {
        let changes = self
            .ask("watch the members", |world, connection| {
                world.watch_members(connection)
            })
            .await?;
        Ok(receiver_stream(changes))
    }

    async fn watch_workers(
        &self,
    ) -> Result<BoxStream<'static, Watched<WorkerRecord>>, BrokerError> {
        let changes = self
            .ask("watch the workers", |world, connection| {
                world.watch_workers(connection)
            })
            .await?;
        Ok(receiver_stream(changes))
    }

    async fn create_namespace(&self, record: &NamespaceRecord) -> Result<(), BrokerError> {
        let record = record.clone();
        self.ask("make a namespace", |world, _| {
            world.create_namespace(record)
        })
        .await
    }

    async fn watch_namespaces(
        &self,
    ) -> Result<BoxStream<'static, Watched<NamespaceRecord>>, BrokerError> {
        let changes = self
            .ask("watch the namespaces", |world, connection| {
                world.watch_namespaces(connection)
            })
            .await?;
        Ok(receiver_stream(changes))
    }

    fn trouble(&self) -> Option<String> {
        let world = self.broker.shared.world();
        if world.is_down {
            return Some("not connected".to_owned());
        }
        world
            .faults
            .disk_full
            .then(|| "insufficient resources".to_owned())
    }
}

fn incoming(request: Served) -> Option<Incoming> {
    let reply = request.answer;
    let reply = move |answer: Answer| reply(codec::encode(&answer));
    match codec::decode::<Call>(&request.call) {
        Ok(call) => Some(Incoming {
            call,
            reply: Box::new(reply),
        }),
        Err(error) => {
            let words = format!("request does not decode: {}", error.source);
            reply(Err(Rejection::invalid_argument(words)));
            None
        }
    }
}
