//! What the simulated broker holds, and what each message that arrives does to it. No waiting here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::ids::{Partition, StreamSequence};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::presence::WorkerRecord;
use fermata_proto::rpc::TaskReference;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::faults::Faults;
use super::network::{Arrival, Connection, Network, Way};
use crate::broker::{
    APPENDS_IN_FLIGHT_MAX, AppendError, BrokerError, ClusterRecord, LogEntry, MEMBER_TTL, Member,
    STATE_BATCH_MAX, StateWrite, TASK_DUPLICATE_WINDOW, Watched,
};

/// As in the configuration that Fermata asks for.
pub(super) const PAYLOAD_BYTES_MAX: usize = 8 << 20;
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Messages that wait for one subscriber; more are dropped, as NATS does with a slow consumer.
pub(super) const SUBSCRIPTION_MESSAGES_MAX: usize = 65_536;
/// When a dispatch without an acknowledgement is taken for lost.
const ACKNOWLEDGEMENT_MAX: Duration = Duration::from_secs(5);

/// A request as it comes to a server: the encoded call, and the way back.
pub(super) struct Served {
    pub(super) call: Bytes,
    pub(super) answer: Answering,
}

/// Sends the encoded answer back; only the first one counts.
pub(super) type Answering = Box<dyn FnOnce(Bytes) + Send>;

pub(super) struct World {
    pub(super) network: Network,
    pub(super) random: fastrand::Rng,
    pub(super) faults: Faults,
    pub(super) is_down: bool,
    pub(super) trace: Option<Vec<String>>,
    began: Instant,
    /// Handles that live, by their replicas.
    pub(super) connections: BTreeMap<Connection, String>,
    connections_made: Connection,
    logs: BTreeMap<Partition, Log>,
    /// What purges have removed from the logs, if that is kept.
    pub(super) purged: Option<BTreeMap<Partition, BTreeMap<u64, Bytes>>>,
    states: BTreeMap<Partition, State>,
    pub(super) visibility: BTreeMap<String, Record>,
    queues: BTreeMap<String, VecDeque<TaskReference>>,
    message_ids: BTreeMap<String, Instant>,
    /// A task came to some queue: pollers look anew. No `watch`: that wakes those who wait in an order that no seed decides.
    pub(super) task_came: Arc<Notify>,
    tasks_lost: Vec<mpsc::Sender<()>>,
    listeners: BTreeMap<String, Vec<mpsc::Sender<TaskReference>>>,
    unheard: BTreeMap<(Connection, Partition), mpsc::Sender<TaskReference>>,
    servers: BTreeMap<Partition, Vec<Subscriber<Served>>>,
    cluster: Option<ClusterRecord>,
    members: BTreeMap<String, Announced>,
    member_watchers: Vec<Subscriber<Watched<Member>>>,
    workers: BTreeMap<String, WorkerRecord>,
    worker_watchers: Vec<Subscriber<Watched<WorkerRecord>>>,
    namespaces: BTreeMap<String, NamespaceRecord>,
    namespace_watchers: Vec<Subscriber<Watched<NamespaceRecord>>>,
}

#[derive(Default)]
struct Log {
    last: u64,
    entries: BTreeMap<u64, Bytes>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<String, Record>,
    /// Counts stores.
    stores: u64,
    /// How far each handle knows `stores`: at its open, and after its own.
    known: BTreeMap<Connection, u64>,
}

pub(super) struct Record {
    bytes: Bytes,
    expires: Option<Instant>,
}

struct Announced {
    member: Member,
    at: Instant,
}

struct Subscriber<T> {
    connection: Connection,
    sender: mpsc::Sender<T>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            network: Network::default(),
            random: fastrand::Rng::with_seed(seed),
            faults: Faults::none(),
            is_down: false,
            trace: None,
            began: Instant::now(),
            connections: BTreeMap::new(),
            connections_made: 0,
            logs: BTreeMap::new(),
            purged: None,
            states: BTreeMap::new(),
            visibility: BTreeMap::new(),
            queues: BTreeMap::new(),
            message_ids: BTreeMap::new(),
            task_came: Arc::default(),
            tasks_lost: Vec::new(),
            listeners: BTreeMap::new(),
            unheard: BTreeMap::new(),
            servers: BTreeMap::new(),
            cluster: None,
            workers: BTreeMap::new(),
            worker_watchers: Vec::new(),
            members: BTreeMap::new(),
            member_watchers: Vec::new(),
            namespaces: BTreeMap::new(),
            namespace_watchers: Vec::new(),
        }
    }

    // ---- the network ----

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.f64() < probability
    }

    fn delayed(&mut self) -> Instant {
        let milliseconds =
            |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = (
            milliseconds(self.faults.delay.start()),
            milliseconds(self.faults.delay.end()),
        );
        let delay = self.random.u64(least..=most.max(least));
        Instant::now() + Duration::from_millis(delay)
    }

    /// Sends a message one way, with a delay.
    pub(super) fn send(&mut self, way: Way, arrival: Arrival) {
        let at = self.delayed();
        self.network.send(way, at, arrival);
    }

    pub(super) fn note(&mut self, connection: Connection, words: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let replica = self
                .connections
                .get(&connection)
                .map_or("-", String::as_str);
            let at = self.began.elapsed().as_millis();
            trace.push(format!("{at} {replica}#{connection} {}", words()));
        }
    }

    pub(super) fn connect(&mut self, replica: &str) -> Connection {
        self.connections_made += 1;
        self.connections
            .insert(self.connections_made, replica.to_owned());
        self.note(self.connections_made, || "connect".to_owned());
        self.connections_made
    }

    /// Ends a handle and all that is under way for it.
    pub(super) fn crash(&mut self, connection: Connection) {
        self.note(connection, || "crash".to_owned());
        self.network.cut(connection, &mut self.random);
        self.connections.remove(&connection);
        self.unheard.retain(|(whose, _), _| *whose != connection);
        for servers in self.servers.values_mut() {
            servers.retain(|server| server.connection != connection);
        }
        self.member_watchers
            .retain(|watcher| watcher.connection != connection);
        self.namespace_watchers
            .retain(|watcher| watcher.connection != connection);
    }

    // ---- log and state ----

    pub(super) fn open(&mut self, connection: Connection, partition: Partition) {
        self.note(connection, || format!("open {partition}"));
        self.logs.entry(partition).or_default();
        let state = self.states.entry(partition).or_default();
        state.known.insert(connection, state.stores);
    }

    pub(super) fn append(
        &mut self,
        connection: Connection,
        partition: Partition,
        expected: StreamSequence,
        record: Bytes,
    ) -> Result<StreamSequence, AppendError> {
        let outcome = self.append_unnoted(partition, expected, record);
        self.note(connection, || match &outcome {
            Ok(sequence) => format!("append {partition} as {sequence}"),
            Err(error) => error.to_string(),
        });
        outcome
    }

    fn append_unnoted(
        &mut self,
        partition: Partition,
        expected: StreamSequence,
        record: Bytes,
    ) -> Result<StreamSequence, AppendError> {
        let disk_full = self.faults.disk_full;
        match self.logs.get_mut(&partition) {
            None => Err(AppendError::Refused {
                partition,
                reason: "no stream found for given subject".to_owned(),
            }),
            Some(log) if log.last != expected.0 => Err(AppendError::Conflict {
                partition,
                expected,
            }),
            Some(_) if disk_full => Err(AppendError::Refused {
                partition,
                reason: "insufficient resources".to_owned(),
            }),
            Some(log) => {
                log.last += 1;
                log.entries.insert(log.last, record);
                Ok(StreamSequence(log.last))
            }
        }
    }

    /// All copies or none.
    pub(super) fn fence_log(
        &mut self,
        connection: Connection,
        partition: Partition,
        expected: StreamSequence,
        record: &Bytes,
    ) -> Result<StreamSequence, AppendError> {
        let outcome = (0..APPENDS_IN_FLIGHT_MAX).try_fold(expected, |last, _| {
            self.append_unnoted(partition, last, record.clone())
        });
        self.note(connection, || match &outcome {
            Ok(sequence) => format!("fence log {partition} up to {sequence}"),
            Err(error) => error.to_string(),
        });
        outcome
    }

    pub(super) fn log_last(&self, partition: Partition) -> Result<StreamSequence, BrokerError> {
        self.log(partition).map(|log| StreamSequence(log.last))
    }

    pub(super) fn read_log(
        &self,
        partition: Partition,
        from: StreamSequence,
    ) -> Result<Vec<LogEntry>, BrokerError> {
        let mut page = Vec::new();
        let mut bytes = 0;
        for (sequence, record) in self.log(partition)?.entries.range(from.0..) {
            bytes += record.len();
            page.push(LogEntry {
                sequence: StreamSequence(*sequence),
                record: record.clone(),
            });
            if bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
        Ok(page)
    }

    pub(super) fn purge_log(
        &mut self,
        connection: Connection,
        partition: Partition,
        below: StreamSequence,
    ) -> Result<(), BrokerError> {
        self.note(connection, || {
            format!("purge log {partition} below {below}")
        });
        self.log(partition)?;
        if let Some(log) = self.logs.get_mut(&partition) {
            let kept = log.entries.split_off(&below.0);
            let removed = std::mem::replace(&mut log.entries, kept);
            if let Some(purged) = &mut self.purged {
                purged.entry(partition).or_default().extend(removed);
            }
        }
        Ok(())
    }

    /// Every record that a log ever held and that is kept, in order.
    pub(super) fn whole_log(&self, partition: Partition) -> Vec<LogEntry> {
        let purged = self.purged.iter().filter_map(|all| all.get(&partition));
        let present = self.logs.get(&partition).map(|log| &log.entries);
        purged
            .chain(present)
            .flatten()
            .map(|(sequence, record)| LogEntry {
                sequence: StreamSequence(*sequence),
                record: record.clone(),
            })
            .collect()
    }

    /// Every live record of a state store.
    pub(super) fn state_records(&self, partition: Partition) -> Vec<(String, Bytes)> {
        let records = self.states.get(&partition).map(|state| &state.records);
        records
            .into_iter()
            .flatten()
            .filter(|(_, record)| record.is_live())
            .map(|(subject, record)| (subject.clone(), record.bytes.clone()))
            .collect()
    }

    /// The first sequence that a log still holds, or the one that its next record will get.
    pub(super) fn log_first(&self, partition: Partition) -> StreamSequence {
        let first = self.logs.get(&partition).map_or(1, |log| {
            log.entries
                .first_key_value()
                .map_or(log.last + 1, |(sequence, _)| *sequence)
        });
        StreamSequence(first)
    }

    fn log(&self, partition: Partition) -> Result<&Log, BrokerError> {
        self.logs
            .get(&partition)
            .ok_or_else(|| BrokerError::new(format!("use log {partition}"), "stream not found"))
    }

    pub(super) fn load(
        &self,
        partition: Partition,
        subject: &str,
    ) -> Result<Option<Bytes>, BrokerError> {
        let record = self.state(partition)?.records.get(subject);
        Ok(record
            .filter(|record| record.is_live())
            .map(|record| record.bytes.clone()))
    }

    pub(super) fn scan(
        &self,
        partition: Partition,
        filter: &str,
    ) -> Result<Vec<(String, Bytes)>, BrokerError> {
        let found = self.state(partition)?.records.iter();
        Ok(found
            .filter(|(subject, record)| record.is_live() && matches(filter, subject))
            .map(|(subject, record)| (subject.clone(), record.bytes.clone()))
            .collect())
    }

    pub(super) fn store(
        &mut self,
        connection: Connection,
        partition: Partition,
        writes: Vec<StateWrite>,
    ) -> Result<(), BrokerError> {
        let attempted = format!("store {} records of partition {partition}", writes.len());
        self.note(connection, || attempted.clone());
        self.state(partition)?;
        if writes.len() > STATE_BATCH_MAX {
            return Err(BrokerError::new(attempted, "too many records"));
        }
        let disk_full = self.faults.disk_full;
        let state = self.states.entry(partition).or_default();
        let known = *state.known.entry(connection).or_insert(state.stores);
        if known != state.stores {
            return Err(BrokerError::superseded(attempted));
        }
        if disk_full {
            return Err(BrokerError::new(attempted, "insufficient resources"));
        }
        state.stores += 1;
        state.known.insert(connection, state.stores);
        put_all(&mut state.records, writes);
        Ok(())
    }

    pub(super) fn purge_state(
        &mut self,
        connection: Connection,
        partition: Partition,
        filter: &str,
    ) -> Result<(), BrokerError> {
        self.note(connection, || format!("purge state {filter}"));
        self.state(partition)?;
        if let Some(state) = self.states.get_mut(&partition) {
            state.records.retain(|subject, _| !matches(filter, subject));
        }
        Ok(())
    }

    fn state(&self, partition: Partition) -> Result<&State, BrokerError> {
        self.states
            .get(&partition)
            .ok_or_else(|| BrokerError::new(format!("use state {partition}"), "stream not found"))
    }

    pub(super) fn publish_visibility(
        &mut self,
        connection: Connection,
        writes: Vec<StateWrite>,
    ) -> Result<(), BrokerError> {
        let count = writes.len();
        self.note(connection, || format!("publish {count} visibility records"));
        if self.faults.disk_full {
            let attempted = format!("publish {count} visibility records");
            return Err(BrokerError::new(attempted, "insufficient resources"));
        }
        put_all(&mut self.visibility, writes);
        Ok(())
    }

    // ---- tasks ----

    pub(super) fn dispatch(
        &mut self,
        connection: Connection,
        subject: String,
        task: TaskReference,
        message_id: String,
    ) {
        if self.happens(self.faults.task_lost) {
            self.note(connection, || format!("dispatch {message_id} lost"));
            let at = Instant::now() + ACKNOWLEDGEMENT_MAX;
            let tell: Arrival = Box::new(|world| world.tell_tasks_lost());
            self.network.send(Way::Within, at, tell);
            return;
        }
        let now = Instant::now();
        self.message_ids
            .retain(|_, at| now.duration_since(*at) < TASK_DUPLICATE_WINDOW);
        if self.message_ids.contains_key(&message_id) {
            self.note(connection, || {
                format!("dispatch {message_id} again, dropped")
            });
            return;
        }
        self.note(connection, || format!("dispatch {message_id} to {subject}"));
        self.message_ids.insert(message_id, now);
        let copies = if self.happens(self.faults.task_repeated) {
            2
        } else {
            1
        };
        let queue = self.queues.entry(subject).or_default();
        queue.extend(std::iter::repeat_n(task, copies));
        self.task_came.notify_waiters();
    }

    pub(super) fn take_task(&mut self, subject: &str) -> Option<TaskReference> {
        if self.is_down {
            return None;
        }
        let task = self.queues.get_mut(subject)?.pop_front()?;
        self.note(0, || {
            let id = task.scheduled_event_id;
            format!("take task {id} of {} off {subject}", task.run_id)
        });
        Some(task)
    }

    /// Tasks waiting in all queues.
    pub(super) fn tasks_waiting(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    pub(super) fn lose_tasks(&mut self) {
        self.note(0, || "tasks lost".to_owned());
        self.queues.clear();
        self.message_ids.clear();
        self.tell_tasks_lost();
    }

    pub(super) fn tell_tasks_lost(&mut self) {
        self.tasks_lost.retain(|listener| !listener.is_closed());
        for listener in &self.tasks_lost {
            // A full one tells of it already.
            let _ = listener.try_send(());
        }
    }

    pub(super) fn hear_tasks_lost(&mut self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(1);
        self.tasks_lost.push(sender);
        receiver
    }

    pub(super) fn listen(&mut self, subject: String) -> mpsc::Receiver<TaskReference> {
        let (sender, receiver) = mpsc::channel(SUBSCRIPTION_MESSAGES_MAX);
        self.listeners.entry(subject).or_default().push(sender);
        receiver
    }

    pub(super) fn dispatch_sticky(
        &mut self,
        connection: Connection,
        partition: Partition,
        subject: &str,
        task: TaskReference,
    ) {
        let listeners = self.listeners.entry(subject.to_owned()).or_default();
        listeners.retain(|listener| !listener.is_closed());
        let heard = !listeners.is_empty();
        for listener in listeners {
            // A full queue is a slow consumer: NATS drops the message.
            let _ = listener.try_send(task.clone());
        }
        self.note(connection, || {
            let how = if heard { "heard" } else { "unheard" };
            format!("sticky task of {} on {subject} {how}", task.run_id)
        });
        if !heard {
            let arrival: Arrival = Box::new(move |world| {
                if let Some(sender) = world.unheard.get(&(connection, partition)) {
                    let _ = sender.try_send(task);
                }
            });
            self.send(Way::FromBroker(connection), arrival);
        }
    }

    pub(super) fn hear_unheard(
        &mut self,
        connection: Connection,
        partition: Partition,
    ) -> mpsc::Receiver<TaskReference> {
        let (sender, receiver) = mpsc::channel(SUBSCRIPTION_MESSAGES_MAX);
        self.unheard.insert((connection, partition), sender);
        receiver
    }

    // ---- requests ----

    pub(super) fn serve(
        &mut self,
        connection: Connection,
        partition: Partition,
    ) -> mpsc::Receiver<Served> {
        self.note(connection, || format!("serve {partition}"));
        let (sender, receiver) = mpsc::channel(SUBSCRIPTION_MESSAGES_MAX);
        let servers = self.servers.entry(partition).or_default();
        servers.push(Subscriber { connection, sender });
        receiver
    }

    /// Those who serve a partition now.
    pub(super) fn servers(&mut self, partition: Partition) -> Vec<Connection> {
        let servers = self.servers.entry(partition).or_default();
        servers.retain(|server| !server.sender.is_closed());
        servers.iter().map(|server| server.connection).collect()
    }

    pub(super) fn deliver(&mut self, partition: Partition, to: Connection, request: Served) {
        self.note(to, || format!("request to {partition}"));
        let servers = self.servers.entry(partition).or_default();
        // The latest of a handle: an earlier one is being dropped.
        let server = servers
            .iter()
            .rev()
            .find(|server| server.connection == to && !server.sender.is_closed());
        if let Some(server) = server {
            let _ = server.sender.try_send(request);
        }
    }

    // ---- members, namespaces, cluster ----

    pub(super) fn cluster(&mut self, wanted: ClusterRecord) -> ClusterRecord {
        self.cluster.get_or_insert(wanted).clone()
    }

    pub(super) fn announce(&mut self, member: Member) {
        let at = Instant::now();
        tell(&mut self.member_watchers, &Watched::Put(member.clone()));
        let id = member.id.clone();
        self.members.insert(id.clone(), Announced { member, at });
        self.expire_member(id, at);
    }

    /// Unless it is heard of after `at`. Not while the broker is away: nobody could be heard.
    fn expire_member(&mut self, id: String, at: Instant) {
        let expire: Arrival = Box::new(move |world| {
            let silent = world
                .members
                .get(&id)
                .is_some_and(|announced| announced.at == at);
            if silent && !world.is_down {
                world.note(0, || format!("member {id} expired"));
                world.retire(&id);
            }
        });
        self.network.send(Way::Within, at + MEMBER_TTL, expire);
    }

    /// After an absence all members get their time anew.
    pub(super) fn renew_members(&mut self) {
        let now = Instant::now();
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(announced) = self.members.get_mut(&id) {
                announced.at = now;
            }
            self.expire_member(id, now);
        }
    }

    pub(super) fn retire(&mut self, member_id: &str) {
        if self.members.remove(member_id).is_some() {
            tell(
                &mut self.member_watchers,
                &Watched::Gone(member_id.to_owned()),
            );
        }
    }

    pub(super) fn watch_members(
        &mut self,
        connection: Connection,
    ) -> mpsc::Receiver<Watched<Member>> {
        let present = self.members.values().map(|known| known.member.clone());
        let (watcher, receiver) = watcher(connection, present);
        self.member_watchers.push(watcher);
        receiver
    }

    /// Unlike members', announcements of workers do not expire here: whoever plays a worker takes its own back.
    pub(super) fn announce_worker(&mut self, record: WorkerRecord) {
        tell(&mut self.worker_watchers, &Watched::Put(record.clone()));
        self.workers.insert(record.id.clone(), record);
    }

    pub(super) fn retire_worker(&mut self, worker_id: &str) {
        if self.workers.remove(worker_id).is_some() {
            tell(
                &mut self.worker_watchers,
                &Watched::Gone(worker_id.to_owned()),
            );
        }
    }

    pub(super) fn watch_workers(
        &mut self,
        connection: Connection,
    ) -> mpsc::Receiver<Watched<WorkerRecord>> {
        let (watcher, receiver) = watcher(connection, self.workers.values().cloned());
        self.worker_watchers.push(watcher);
        receiver
    }

    pub(super) fn create_namespace(&mut self, record: NamespaceRecord) {
        if self.namespaces.contains_key(&record.id.0) {
            return;
        }
        self.put_namespace(record);
    }

    pub(super) fn put_namespace(&mut self, record: NamespaceRecord) {
        tell(&mut self.namespace_watchers, &Watched::Put(record.clone()));
        self.namespaces.insert(record.id.0.clone(), record);
    }

    pub(super) fn watch_namespaces(
        &mut self,
        connection: Connection,
    ) -> mpsc::Receiver<Watched<NamespaceRecord>> {
        let (watcher, receiver) = watcher(connection, self.namespaces.values().cloned());
        self.namespace_watchers.push(watcher);
        receiver
    }
}

impl Record {
    pub(super) fn is_live(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

fn put_all(records: &mut BTreeMap<String, Record>, writes: Vec<StateWrite>) {
    for write in writes {
        match write.record {
            Some(bytes) => {
                let expires = write
                    .ttl
                    .map(|ttl| Instant::now() + ttl.max(Duration::from_secs(1)));
                records.insert(write.subject, Record { bytes, expires });
            }
            None => {
                records.remove(&write.subject);
            }
        }
    }
}

fn watcher<T>(
    connection: Connection,
    present: impl Iterator<Item = T>,
) -> (Subscriber<Watched<T>>, mpsc::Receiver<Watched<T>>) {
    let (sender, receiver) = mpsc::channel(SUBSCRIPTION_MESSAGES_MAX);
    for change in present.map(Watched::Put).chain([Watched::Complete]) {
        let _ = sender.try_send(change);
    }
    (Subscriber { connection, sender }, receiver)
}

fn tell<T: Clone>(watchers: &mut Vec<Subscriber<Watched<T>>>, change: &Watched<T>) {
    watchers.retain(|watcher| !watcher.sender.is_closed());
    for watcher in watchers {
        let _ = watcher.sender.try_send(change.clone());
    }
}

/// NATS subject matching: `*` is one token, `>` the rest.
fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_in_nats() {
        assert!(matches("a.*.c", "a.b.c"));
        assert!(matches("a.>", "a.b.c"));
        assert!(!matches("a.>", "a"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(!matches("a.b.c", "a.b"));
    }
}
