//! The broker's simulated form: the same contract in memory, with faults at will, and the same run for the same seed.
//!
//! It waits by `tokio::time` alone: under a paused clock and a single-threaded runtime (`#[tokio::test(start_paused =
//! true)]`) hours pass in a moment, and a run depends on nothing but the seeds. What is on the broker's other side in
//! production (workers, the edge) is here too: [`SimulatedBroker::call`], [`SimulatedBroker::poll_task`],
//! [`SimulatedBroker::listen_sticky`].
//!
//! Deliberately absent: what NATS could do and Fermata does not rely on. `tests/broker` holds it to the real one.
//!
//! Start reading at [`world`] (what happens) and [`network`] (when).

mod faults;
mod network;
mod replica;
mod world;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::ids::{NamespaceId, Partition, StreamSequence};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::presence::WorkerRecord;
use fermata_proto::rpc::{Answer, Call, TaskReference};
use fermata_proto::subjects::{self, TaskKind};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

pub use faults::Faults;
pub use replica::SimulatedReplica;

use crate::broker::{BrokerError, LogEntry};
use network::{Connection, Shared, Way};
use world::{Served, World};

/// Everybody who is no engine replica.
const OUTSIDE: Connection = 0;

/// The broker as the test holds it; clones are the same one.
#[derive(Clone)]
pub struct SimulatedBroker {
    shared: Arc<Shared>,
    /// Ends with the last clone and the last replica.
    _driver: Arc<AbortOnDropHandle<()>>,
}

impl SimulatedBroker {
    /// An empty broker without faults.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(seed: u64) -> Self {
        let shared = Shared::new(World::new(seed));
        let driver = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&shared).drive()));
        Self {
            shared,
            _driver: Arc::new(driver),
        }
    }

    /// A handle for one engine replica.
    pub fn connect(&self, replica: &str) -> SimulatedReplica {
        let connection = self.shared.world().connect(replica);
        SimulatedReplica::new(self.clone(), connection)
    }

    /// Ends all handles of a replica as a killed process ends: of what it has sent some may still arrive, and it hears nothing
    /// more. The test has to drop the engine itself.
    pub fn crash(&self, replica: &str) {
        let mut world = self.shared.world();
        let connections: Vec<_> = world
            .connections
            .iter()
            .filter(|(_, name)| *name == replica)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in connections {
            world.crash(connection);
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.shared.world().faults = faults;
    }

    /// Takes the broker away: nothing gets through, and what was under way is lost.
    pub fn go_down(&self) {
        let mut world = self.shared.world();
        world.note(OUTSIDE, || "down".to_owned());
        world.is_down = true;
        world.network.cut_all();
    }

    /// Brings it back with all that it has in files; the tasks were in memory.
    pub fn come_back(&self) {
        let mut world = self.shared.world();
        world.note(OUTSIDE, || "back".to_owned());
        world.is_down = false;
        world.renew_members();
        world.lose_tasks();
    }

    /// Loses the stream of tasks alone.
    pub fn lose_tasks(&self) {
        self.shared.world().lose_tasks();
    }

    /// Tasks that wait in the queues.
    pub fn tasks_waiting(&self) -> usize {
        self.shared.world().tasks_waiting()
    }

    /// Begins to write down every operation, one line each.
    pub fn start_trace(&self) {
        self.shared.world().trace = Some(Vec::new());
    }

    /// What was written down since [`Self::start_trace`] or the last call.
    pub fn take_trace(&self) -> Vec<String> {
        let mut world = self.shared.world();
        world.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Writes a line of the test's own into the trace.
    pub fn note(&self, words: impl FnOnce() -> String) {
        self.shared.world().note(OUTSIDE, words);
    }

    /// From now on keeps what purges remove from the logs, for [`Self::whole_log`].
    pub fn keep_logs(&self) {
        self.shared.world().purged.get_or_insert_default();
    }

    /// Every record that a partition's log ever held, in order, and the first sequence that it still holds.
    pub fn whole_log(&self, partition: Partition) -> (Vec<LogEntry>, StreamSequence) {
        let world = self.shared.world();
        (world.whole_log(partition), world.log_first(partition))
    }

    /// A partition's state store as it is at this moment, by subject.
    pub fn state_records(&self, partition: Partition) -> Vec<(String, Bytes)> {
        self.shared.world().state_records(partition)
    }

    /// The visibility records that have not expired, by subject.
    pub fn visibility(&self) -> Vec<(String, Bytes)> {
        let world = self.shared.world();
        world
            .visibility
            .iter()
            .filter(|(_, record)| record.is_live())
            .map(|(subject, record)| (subject.clone(), record.bytes().clone()))
            .collect()
    }

    /// Writes a namespace's record, as the edge does.
    pub fn announce_worker(&self, record: WorkerRecord) {
        self.shared.world().announce_worker(record);
    }

    /// As if its key had expired.
    pub fn retire_worker(&self, worker_id: &str) {
        self.shared.world().retire_worker(worker_id);
    }

    pub fn put_namespace(&self, record: NamespaceRecord) {
        self.shared.world().put_namespace(record);
    }

    /// Asks a partition's owner once, as the edge and the workers do.
    ///
    /// # Errors
    /// If nobody serves the partition, or no answer comes in time.
    pub async fn call(
        &self,
        partition: Partition,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, BrokerError> {
        self.request(OUTSIDE, partition, call, timeout).await
    }

    /// Takes a waiting task off a queue, or waits for one. Dropped while it waits, it takes none.
    pub async fn poll_task(
        &self,
        kind: TaskKind,
        namespace_id: &NamespaceId,
        queue: &str,
    ) -> TaskReference {
        let subject = subjects::task(kind, namespace_id, queue);
        let came = Arc::clone(&self.shared.world().task_came);
        loop {
            let again = came.notified();
            tokio::pin!(again);
            // From here on: a task that comes between the look and the wait is not missed.
            again.as_mut().enable();
            if let Some(task) = self.shared.world().take_task(&subject) {
                return task;
            }
            again.await;
        }
    }

    /// Hears the tasks of a sticky queue until the stream is dropped.
    pub fn listen_sticky(
        &self,
        namespace_id: &NamespaceId,
        queue: &str,
    ) -> BoxStream<'static, TaskReference> {
        let subject = subjects::sticky(namespace_id, queue);
        receiver_stream(self.shared.world().listen(subject))
    }

    async fn request(
        &self,
        from: Connection,
        partition: Partition,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, BrokerError> {
        let attempted = || format!("request to partition {partition}");
        let (sender, answer) = oneshot::channel();
        {
            let mut world = self.shared.world();
            if world.is_down {
                return Err(BrokerError::new(attempted(), "not connected"));
            }
            let request = RequestUnderWay {
                broker: self.clone(),
                from,
                partition,
                call: codec::encode(call),
                answer: Arc::new(std::sync::Mutex::new(Some(sender))),
            };
            world.send(Way::ToBroker(from), Box::new(|world| request.arrive(world)));
        }
        let answered = tokio::time::timeout(timeout, unless_lost(answer)).await;
        match answered {
            Err(_) => Err(BrokerError::new(attempted(), "no answer in time")),
            Ok(None) => Err(BrokerError::new(attempted(), "no responders")),
            Ok(Some(bytes)) => {
                codec::decode(&bytes).map_err(|error| BrokerError::new(attempted(), error))
            }
        }
    }
}

/// The answer, or for ever nothing: whoever waits has a time-out.
async fn unless_lost<T>(answer: oneshot::Receiver<T>) -> T {
    match answer.await {
        Ok(answer) => answer,
        Err(_) => std::future::pending().await,
    }
}

fn receiver_stream<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> BoxStream<'static, T> {
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
    .boxed()
}

/// A request on its way to the owners, which may be none or, for a moment, two.
struct RequestUnderWay {
    broker: SimulatedBroker,
    from: Connection,
    partition: Partition,
    call: Bytes,
    /// Taken by the first answer; nothing means that nobody listens.
    answer: Arc<std::sync::Mutex<Option<oneshot::Sender<Option<Bytes>>>>>,
}

impl RequestUnderWay {
    fn arrive(self, world: &mut World) {
        if world.happens(world.faults.request_lost) {
            return;
        }
        let servers = world.servers(self.partition);
        if servers.is_empty() {
            self.answered(world, None);
            return;
        }
        let repeats = world.happens(world.faults.request_repeated);
        for to in servers {
            for _ in 0..=usize::from(repeats) {
                let request = Served {
                    call: self.call.clone(),
                    answer: self.answering(to),
                };
                let partition = self.partition;
                let arrival = move |world: &mut World| world.deliver(partition, to, request);
                world.send(Way::FromBroker(to), Box::new(arrival));
            }
        }
    }

    /// From the server over the broker to the caller.
    fn answering(&self, server: Connection) -> world::Answering {
        let back = Self {
            broker: self.broker.clone(),
            call: Bytes::new(),
            answer: Arc::clone(&self.answer),
            ..*self
        };
        Box::new(move |answer: Bytes| {
            let shared = Arc::clone(&back.broker.shared);
            let mut world = shared.world();
            if world.is_down {
                return;
            }
            let arrival = move |world: &mut World| {
                if !world.happens(world.faults.request_lost) {
                    back.answered(world, Some(answer));
                }
            };
            world.send(Way::ToBroker(server), Box::new(arrival));
        })
    }

    fn answered(&self, world: &mut World, answer: Option<Bytes>) {
        let waiting = Arc::clone(&self.answer);
        let arrival = move |_: &mut World| {
            let waiting = waiting
                .lock()
                .expect("nothing panics while it holds this lock")
                .take();
            if let Some(waiting) = waiting {
                // The caller may have given up.
                let _ = waiting.send(answer);
            }
        };
        world.send(Way::FromBroker(self.from), Box::new(arrival));
    }
}
