//! The loop of one partition, and its one order:
//!
//! receive everything that waits -> decide each ([`super::work`]) -> **append one commit** -> on the log's
//! acknowledgement: release answers, tasks and deliveries ([`super::release`]).
//!
//! Appends are pipelined: `appended` is the log's sequence that the last one sent will get, `durable` the last one
//! acknowledged. Decisions build on the first, what leaves is of the second. A commit in the making takes
//! `appended + 1`.
//!
//! What the log's refusals mean is in [`super::append`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::ids::{Partition, StreamSequence};
use fermata_proto::rpc::{Rejection, RejectionKind, TaskReference};
use fermata_proto::time::Timestamp;
use futures::StreamExt;
use futures::stream::{BoxStream, FuturesOrdered};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::checkpoint::Checkpoints;
use super::commit::{Group, InFlight, Released};
use super::confirm::Confirmations;
use super::intake::Queued;
use super::load::LoadDone;
use super::outbox::Outbox;
use super::release::{self, Answering, Asker, Dispatch};
use super::reset::Resets;
use super::state::State;
use super::takeover::Taken;
use super::waiting::Waiting;
use super::work::{Work, dispatch};
use crate::broker::{APPENDS_IN_FLIGHT_MAX, Acknowledged, Broker, BrokerError};
use crate::engine::Shared;
use crate::namespaces::Namespaces;
use crate::workers::Workers;

/// Loads of workflows' records at the same time.
const LOADS_MAX: usize = 64;
/// Log that no checkpoint covers; when there is more, requests wait.
const LOG_BYTES_MAX: usize = 64 << 20;
/// The loop looks at the clock at least this often, since a machine's clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Tasks that could not be dispatched are tried again after this.
const DISPATCH_AGAIN: Duration = Duration::from_secs(1);
/// How long a hand-over may wait for the log, and then for the last checkpoint.
const HAND_OVER_MAX: Duration = Duration::from_millis(400);

/// Why an owner stopped.
#[derive(Debug)]
pub enum Exit {
    /// It was told to, and has handed everything over.
    Stopped,
    /// Somebody else owns the partition.
    Lost(String),
    /// The broker refused an append: the speculative state is void, the log is as it was.
    Refused(String),
}

/// See the module.
pub struct Owner {
    pub(super) shared: Arc<Shared>,
    pub(super) partition: Partition,
    pub(super) epoch: u64,
    /// Of the last commit sent.
    pub(super) number: u64,
    pub(super) appended: StreamSequence,
    pub(super) durable: StreamSequence,
    /// Never goes back, whatever the machine's clock does.
    pub(super) now: Timestamp,
    pub(super) state: State,
    pub(super) group: Group,
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) acknowledgements: FuturesOrdered<Acknowledged>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) rng: fastrand::Rng,
    pub(super) waiting: Waiting,
    pub(super) outbox: Outbox,
    pub(super) loads: JoinSet<LoadDone>,
    pub(super) resets: Resets,
    pub(super) load_permits: Arc<Semaphore>,
    pub(super) parked: usize,
    /// Requests that the owner asks anew itself, behind the one that is decided.
    pub(super) again: Vec<Work>,
    pub(super) checkpoints: Checkpoints,
    pub(super) confirmations: Confirmations,
    /// Counts the times that all tasks were dispatched again.
    pub(super) rounds: u64,
    released: mpsc::Sender<Released>,
    tasks_lost: Arc<Notify>,
    dispatching: Dispatching,
    aside: JoinSet<Aside>,
    workers: watch::Receiver<Arc<Workers>>,
}

/// All tasks being dispatched again: one round at a time, since the next one repeats what this one does.
#[derive(Default)]
struct Dispatching {
    under_way: bool,
    /// Tasks were lost since it began.
    once_more: bool,
}

/// What goes on beside the loop.
enum Aside {
    /// The workflow ids of the state store.
    Presence(Vec<super::address::WorkflowKey>),
    /// Tasks that may be on their queues already.
    DispatchedAgain,
}

/// What the loop listens to besides requests.
struct Ears {
    unheard: BoxStream<'static, TaskReference>,
    tasks_lost: BoxStream<'static, ()>,
}

/// Dispatches what a takeover found waiting.
async fn dispatch_all(
    shared: Arc<Shared>,
    partition: Partition,
    dispatches: Vec<Dispatch>,
    lost: Arc<Notify>,
) {
    for one in dispatches {
        if release::dispatch_one(&shared, partition, &one)
            .await
            .is_err()
        {
            tokio::time::sleep(DISPATCH_AGAIN).await;
            lost.notify_one();
            return;
        }
    }
}

impl Ears {
    async fn open(broker: &dyn Broker, partition: Partition) -> Result<Self, BrokerError> {
        Ok(Self {
            unheard: broker.unheard(partition).await?,
            tasks_lost: broker.tasks_lost().await?,
        })
    }
}

/// A stream of the broker's that ended: the partition is taken over anew, and with it every subscription.
fn stream_ended(what: &str) -> Exit {
    Exit::Lost(format!("the broker's stream of {what} ended"))
}

impl Owner {
    /// Goes on from what a takeover found.
    pub fn new(shared: Arc<Shared>, partition: Partition, taken: Taken) -> Self {
        let tasks_lost = Arc::new(Notify::new());
        let released = release::start(shared.clone(), partition, tasks_lost.clone());
        let mut outbox = Outbox::new(shared.clone());
        outbox.send(taken.deliveries);
        let mut aside = JoinSet::new();
        let dispatching = dispatch_all(
            shared.clone(),
            partition,
            taken.dispatches,
            tasks_lost.clone(),
        );
        aside.spawn(async move {
            dispatching.await;
            Aside::DispatchedAgain
        });
        let broker = shared.broker.clone();
        aside.spawn(async move {
            Aside::Presence(super::takeover::scan_presence(broker, partition).await)
        });
        let seed = match shared.options.seed {
            Some(seed) => seed
                .wrapping_add(u64::from(partition.0) << 32)
                .wrapping_add(taken.epoch),
            None => fastrand::u64(..),
        };
        let namespaces = shared.namespaces.borrow().clone();
        Self {
            checkpoints: Checkpoints::new(taken.applied, taken.log_bytes),
            workers: shared.workers.clone(),
            confirmations: Confirmations::default(),
            shared,
            partition,
            epoch: taken.epoch,
            number: 0,
            appended: taken.last,
            durable: taken.last,
            now: taken.time,
            state: taken.state,
            group: Group::default(),
            in_flight: VecDeque::new(),
            acknowledgements: FuturesOrdered::new(),
            namespaces,
            rng: fastrand::Rng::with_seed(seed),
            waiting: Waiting::default(),
            outbox,
            loads: JoinSet::new(),
            resets: Resets::default(),
            load_permits: Arc::new(Semaphore::new(LOADS_MAX)),
            parked: 0,
            again: Vec::new(),
            rounds: 0,
            released,
            tasks_lost,
            dispatching: Dispatching {
                under_way: true,
                once_more: false,
            },
            aside,
        }
    }

    /// Runs until told to stop or until the log says that it is over.
    pub async fn run(mut self, intake: mpsc::Receiver<Queued>, stop: CancellationToken) -> Exit {
        let broker = self.shared.broker.clone();
        let mut ears = match Ears::open(&*broker, self.partition).await {
            Ok(ears) => ears,
            Err(error) => return Exit::Lost(error.to_string()),
        };
        let exit = match self.run_loop(intake, &mut ears, &stop).await {
            Ok(()) => Exit::Stopped,
            Err(exit) => exit,
        };
        self.let_go(&exit);
        exit
    }

    /// Nobody hears whether what was asked has happened: all are told to ask again, here or at the next owner, which is
    /// harmless, and faster than waiting for an answer that does not come.
    fn let_go(&mut self, exit: &Exit) {
        let rejection = match exit {
            Exit::Stopped | Exit::Lost(_) => super::intake::not_owner(),
            Exit::Refused(reason) => Rejection::new(RejectionKind::Unavailable, reason),
        };
        let in_flight = self.in_flight.drain(..).map(|commit| commit.released);
        let group = std::mem::take(&mut self.group).released;
        let mut askers: Vec<Asker> = in_flight
            .chain([group])
            .flat_map(|released| released.answers)
            .map(|(asker, _)| asker)
            .collect();
        askers.extend(self.confirmations.take_askers());
        askers.extend(self.waiting.take_queries());
        askers.extend(self.state.take_askers());
        askers.extend(self.resets.take_askers());
        for asker in askers {
            asker.answer(Err(rejection.clone()));
        }
    }

    async fn run_loop(
        &mut self,
        mut intake: mpsc::Receiver<Queued>,
        ears: &mut Ears,
        stop: &CancellationToken,
    ) -> Result<(), Exit> {
        let lost = self.tasks_lost.clone();
        loop {
            let accepts = self.accepts();
            let wake_at = self.wake_at();
            // Every arm is cancellation-safe: streams, join sets and channels keep what is not taken.
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    intake.close();
                    super::intake::refuse_all(&mut intake, &super::intake::not_owner());
                    return self.hand_over().await;
                }
                Some(result) = self.acknowledgements.next() => self.on_append_result(result, stop).await?,
                result = self.confirmations.next() => self.on_confirmation(result).await?,
                Some(done) = self.checkpoints.next() => self.on_finished(done)?,
                Some(aside) = self.aside.join_next() => match aside {
                    Ok(Aside::Presence(keys)) => self.state.presence.complete(keys),
                    Ok(Aside::DispatchedAgain) | Err(_) => {
                        self.dispatching.under_way = false;
                        if std::mem::take(&mut self.dispatching.once_more) {
                            self.dispatch_again();
                        }
                    }
                },
                Some(Ok(done)) = self.loads.join_next(), if accepts => {
                    self.begin_round();
                    self.on_loaded(done);
                    while !self.group.is_full() && let Some(Ok(done)) = self.loads.try_join_next() {
                        self.on_loaded(done);
                    }
                }
                Some(read) = self.resets.next(), if accepts && !self.resets.is_idle() => {
                    self.begin_round();
                    self.on_history_read(read);
                }
                Some(work) = self.outbox.next(), if accepts && !self.outbox.is_idle() => {
                    self.begin_round();
                    self.on_work(work);
                }
                task = ears.unheard.next(), if accepts => {
                    let task = task.ok_or_else(|| stream_ended("unheard tasks"))?;
                    self.begin_round();
                    self.on_work(Work::Unheard(Box::new(task)));
                }
                lost = ears.tasks_lost.next() => {
                    lost.ok_or_else(|| stream_ended("lost tasks"))?;
                    self.dispatch_again();
                }
                () = lost.notified() => self.dispatch_again(),
                Ok(()) = self.workers.changed() => self.judge_workers(),
                queued = intake.recv(), if accepts => {
                    let Some(queued) = queued else {
                        return Err(Exit::Lost("nobody takes its requests any more".to_owned()));
                    };
                    self.begin_round();
                    self.on_queued(queued);
                }
                () = tokio::time::sleep_until(wake_at) => {}
            }
            self.begin_round();
            if self.accepts() {
                // Whatever else waits goes into the same commit.
                while !self.group.is_full()
                    && let Ok(queued) = intake.try_recv()
                {
                    self.on_queued(queued);
                }
                self.on_deadlines();
                self.on_lost_workers();
            }
            self.on_expiries(Instant::now());
            self.maybe_checkpoint();
            self.maybe_publish();
            self.finish_round().await;
        }
    }

    /// Always fewer than the next owner fences off: then the log's last sequence tells of a fence.
    fn appends_in_flight_max(&self) -> usize {
        let wanted = self.shared.options.appends_in_flight_max;
        wanted.clamp(1, APPENDS_IN_FLIGHT_MAX - 1)
    }

    /// Whether another commit may be begun.
    fn accepts(&self) -> bool {
        self.in_flight.len() < self.appends_in_flight_max()
            && self.checkpoints.log_bytes() < LOG_BYTES_MAX
    }

    fn begin_round(&mut self) {
        self.now = self.now.max(self.shared.clock.now());
        self.namespaces = self.shared.namespaces.borrow().clone();
    }

    fn on_queued(&mut self, queued: Queued) {
        // Its caller has given up: an answer would reach nobody, and a repeat may be on its way.
        if queued.until > Instant::now() {
            self.on_work(queued.work);
        }
    }

    fn on_deadlines(&mut self) {
        while !self.group.is_full()
            && let Some((deadline, run_id)) = self.state.deadlines.take_due(self.now)
        {
            if !self.state.is_due(&run_id, deadline) {
                continue;
            }
            if let Some(key) = self.state.key_of(&run_id) {
                self.on_work(Work::Deadline { key, run_id });
            }
        }
    }

    fn judge_workers(&mut self) {
        let grace = self.shared.options.worker_grace;
        let present = self.workers.borrow_and_update().clone();
        self.state.claimants.judge(&present, grace, Instant::now());
    }

    /// What lost workers hold is taken from them.
    fn on_lost_workers(&mut self) {
        let claimants = &self.state.claimants;
        let check_at = claimants.next_check(self.shared.options.worker_grace);
        if claimants.has_new() || check_at.is_some_and(|at| at <= Instant::now()) {
            self.judge_workers();
        }
        while !self.group.is_full()
            && let Some(lost) = self.state.claimants.next_lost()
        {
            info!(partition = %self.partition, worker_id = &*lost.worker_id, run_id = &*lost.run_id, "a worker is gone; what it held goes to others");
            if let Some(key) = self.state.key_of(&lost.run_id) {
                self.on_work(Work::WorkerLost { key, lost });
            }
        }
    }

    /// Appends what the round has decided, or lets out what needs no append.
    async fn finish_round(&mut self) {
        if self.group.is_empty() {
            self.group.decisions = 0;
            return;
        }
        let group = std::mem::take(&mut self.group);
        if group.changes() {
            self.append(group).await;
        } else {
            let mut released = group.released;
            self.confirm(std::mem::take(&mut released.answers));
            match self.in_flight.back_mut() {
                // They may tell of what is not durable yet.
                Some(last) => last.released.extend(released),
                None => self.release(released).await,
            }
        }
    }

    async fn append(&mut self, group: Group) {
        self.number += 1;
        let record = group
            .writer
            .finish(self.epoch, self.number, self.now, &group.deletions);
        let metrics = &self.shared.metrics;
        metrics.commit_bytes.observe(record.len() as f64);
        metrics
            .commit_transitions
            .observe(f64::from(group.writer.count()));
        self.checkpoints.add_log(record.len());
        let expected = self.appended;
        let acknowledged = self
            .shared
            .broker
            .append(self.partition, expected, record.clone())
            .await;
        self.acknowledgements.push_back(acknowledged);
        self.appended = expected.next();
        self.in_flight.push_back(InFlight {
            sequence: self.appended,
            record,
            applied: group.applied,
            released: group.released,
            sent: Instant::now(),
        });
    }

    /// The log has the oldest commit under way: what follows from it goes out.
    pub(super) async fn on_acknowledged(&mut self, sequence: StreamSequence) -> Result<(), Exit> {
        let Some(commit) = self.in_flight.pop_front() else {
            return Err(Exit::Lost(
                "an acknowledgement without an append".to_owned(),
            ));
        };
        if commit.sequence != sequence {
            error!(partition = %self.partition, %sequence, expected = %commit.sequence, "the log gave another place than was expected");
            return Err(Exit::Lost(format!(
                "the log gave sequence {sequence} to commit {}",
                commit.sequence
            )));
        }
        self.shared
            .metrics
            .append_seconds
            .observe(commit.age().as_secs_f64());
        self.durable = sequence;
        let mut released = commit.released;
        for (run_id, run) in commit.applied {
            if let Some(loaded) = self.state.runs.get_mut(&run_id) {
                let is_new = loaded.durable.replace(run).is_none();
                if is_new && let Some(workflow) = self.state.workflows.get_mut(&loaded.key) {
                    workflow.durable = Some(run_id.clone());
                }
                if !loaded.waiters.is_empty() {
                    self.wake(&run_id, &mut released);
                }
            }
        }
        self.release(released).await;
        Ok(())
    }

    pub(super) async fn release_answers(&mut self, answers: Vec<(Asker, Answering)>) {
        self.release(Released {
            answers,
            ..Released::default()
        })
        .await;
    }

    async fn release(&mut self, mut released: Released) {
        self.outbox.send(std::mem::take(&mut released.deliveries));
        // The receiver lives as long as this sender.
        let _ = self.released.send(released).await;
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let deadline = self.state.deadlines.next().map_or(SLEEP_MAX, |deadline| {
            deadline
                .since(self.now.max(self.shared.clock.now()))
                .min(SLEEP_MAX)
        });
        let mut at = now + deadline;
        let claimants = &self.state.claimants;
        if let Some(check) = claimants.next_check(self.shared.options.worker_grace) {
            at = at.min(check);
        }
        if claimants.has_lost() {
            at = now;
        }
        if !self.accepts() {
            // An acknowledgement or a checkpoint comes first.
            at = now + SLEEP_MAX;
        }
        if let Some(expiry) = self.waiting.next_expiry() {
            at = at.min(expiry);
        }
        if let Some(checkpoint) = self.next_checkpoint() {
            at = at.min(checkpoint);
        }
        if let Some(publication) = self.next_publication() {
            at = at.min(publication);
        }
        at
    }

    /// Every task that should lie on a queue is put there once more: those that were there may be gone.
    fn dispatch_again(&mut self) {
        if std::mem::replace(&mut self.dispatching.under_way, true) {
            self.dispatching.once_more = true;
            return;
        }
        self.rounds += 1;
        let round = self.round();
        let mut loaded: Vec<_> = self
            .state
            .runs
            .iter()
            .filter_map(|(run_id, loaded)| Some((run_id.clone(), loaded.durable.clone()?)))
            .collect();
        loaded.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let (shared, partition) = (self.shared.clone(), self.partition);
        let lost = self.tasks_lost.clone();
        self.aside.spawn(async move {
            let dispatches = loaded
                .iter()
                .flat_map(|(_, run)| run.dispatches())
                .filter_map(|effect| dispatch(effect, &round));
            let mut all = true;
            for one in dispatches {
                all &= release::dispatch_one(&shared, partition, &one)
                    .await
                    .is_ok();
            }
            let is_loaded = |run_id: &str| {
                loaded
                    .binary_search_by(|(loaded, _)| (**loaded).cmp(run_id))
                    .is_ok()
            };
            all &= super::takeover::dispatch_stored(&shared, partition, &round, is_loaded).await;
            if !all {
                tokio::time::sleep(DISPATCH_AGAIN).await;
                lost.notify_one();
            }
            Aside::DispatchedAgain
        });
    }

    pub(super) fn new_id(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_be_bytes())
            .into_uuid()
            .to_string()
    }

    /// Lets the log acknowledge what is under way, and leaves little of it to the next owner.
    async fn hand_over(&mut self) -> Result<(), Exit> {
        let flushed = tokio::time::timeout(HAND_OVER_MAX, async {
            while let Some(result) = self.acknowledgements.next().await {
                match result {
                    Ok(sequence) => self.on_acknowledged(sequence).await?,
                    Err(error) => return Err(Exit::Lost(error.to_string())),
                }
            }
            Ok(())
        })
        .await;
        match flushed {
            Ok(result) => result?,
            Err(_) => return Err(Exit::Lost("the log did not answer in time".to_owned())),
        }
        // Without it the next owner replays a little more.
        tokio::time::timeout(HAND_OVER_MAX, self.last_checkpoint())
            .await
            .unwrap_or(Ok(()))
    }
}
