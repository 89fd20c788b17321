//! Becoming the owner of a partition: the fence, then the state behind it.
//!
//! 1. The log's last epoch is found, and a `Takeover` with the next one is appended behind the last record, as often as an
//!    owner may have appends under way ([`Broker::fence_log`]). From then on every append of an older owner fails, so that
//!    the log is ours to read.
//! 2. The open runs' records give the next deadlines, the tasks to dispatch again and the outbox entries to send.
//! 3. The log behind the checkpoint is replayed onto the runs that it touches; these are loaded, the others come when asked for.
//!
//! A checkpoint that broke off leaves records newer than the checkpoint record says: each tells up to which sequence it is
//! true, and the replay skips what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_core::{Run, Transition};
use fermata_proto::codec::{self, CodecError};
use fermata_proto::event::HistoryEvent;
use fermata_proto::ids::{Partition, StreamSequence};
use fermata_proto::subjects;
use fermata_proto::time::Timestamp;
use futures::StreamExt;
use tracing::{error, info};

use super::address::WorkflowKey;
use super::commit::Delivery;
use super::history::History;
use super::load::{LoadError, is_superseded, load_current, load_open_chunk, load_run};
use super::release::{Dispatch, dispatch_one};
use super::state::{Idle, Loaded, RunId, State};
use super::work::dispatch;
use crate::broker::{AppendError, Broker, BrokerError, LogEntry};
use crate::engine::Shared;
use crate::record::{self, Checkpoint, Deletion, LogRecord, RunRecord, SealError, Takeover};

/// Reads of the state store at the same time.
const READS_MAX: usize = 32;
/// How often the fence is tried before the takeover as a whole begins again.
const FENCE_TRIES: u32 = 20;

/// What a new owner goes on from.
pub struct Taken {
    pub epoch: u64,
    /// The `Takeover` record.
    pub last: StreamSequence,
    /// What the state store holds.
    pub applied: StreamSequence,
    pub log_bytes: usize,
    pub time: Timestamp,
    pub state: State,
    pub dispatches: Vec<Dispatch>,
    pub deliveries: Vec<Delivery>,
}

/// Why a partition could not be taken over; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the fence was not accepted")]
    Fence(#[source] AppendError),
    #[error("others take the partition over at the same time")]
    Contended,
    #[error("record {sequence} of the log cannot be read")]
    Log {
        sequence: StreamSequence,
        #[source]
        source: CodecError,
    },
    #[error("the log's records from {from} to {to} are missing")]
    Hole {
        from: StreamSequence,
        to: StreamSequence,
    },
    #[error("the checkpoint record is damaged")]
    Checkpoint(#[source] SealError),
    #[error("a record cannot be loaded")]
    Load(#[source] LoadError),
}

impl TakeoverError {
    /// Whether the broker takes no records, so that callers should hear it rather than wait.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Fence(AppendError::Refused { .. }))
    }
}

/// Takes `partition` over.
///
/// # Errors
/// If the broker is away or refuses, if others are faster, or if the log or the checkpoint is damaged.
pub async fn take(shared: &Arc<Shared>, partition: Partition) -> Result<Taken, TakeoverError> {
    let broker = &*shared.broker;
    broker.open(partition).await?;
    let fence = fence(shared, partition).await?;
    // An older owner's last checkpoint may come in between: then the log begins later than the record that was read.
    let taking = loop {
        let checkpoint = load_checkpoint(broker, partition).await?;
        let mut taking = Taking::new(shared.clone(), partition, &fence, &checkpoint);
        match taking.read(&checkpoint).await {
            Err(TakeoverError::Hole { .. })
                if load_checkpoint(broker, partition).await? != checkpoint =>
            {
                info!(%partition, "the checkpoint moved during the takeover; it is read again");
            }
            read => {
                read?;
                break taking;
            }
        }
    };
    let runs = taking.state.idle.len() + taking.state.runs.len();
    info!(%partition, epoch = fence.epoch, runs, tasks = taking.dispatches.len(), "partition taken over");
    shared.metrics.takeovers.inc();
    Ok(Taken {
        epoch: fence.epoch,
        last: fence.sequence,
        applied: taking.applied,
        log_bytes: taking.log_bytes,
        time: taking.time,
        state: taking.state,
        dispatches: taking.dispatches,
        deliveries: taking.deliveries,
    })
}

/// Our place in the log: everything before it is final.
struct Fence {
    epoch: u64,
    sequence: StreamSequence,
}

async fn fence(shared: &Shared, partition: Partition) -> Result<Fence, TakeoverError> {
    let broker = &*shared.broker;
    for _ in 0..FENCE_TRIES {
        let mut last = broker.log_last(partition).await?;
        let tail = match last {
            StreamSequence(0) => Vec::new(),
            _ => broker.read_log(partition, last).await?,
        };
        // The last record tells the epoch. If a checkpoint has purged it, the checkpoint does: it is read after the log, since
        // an owner that lives may store it and purge in between.
        let checkpoint = load_checkpoint(broker, partition).await?;
        let (mut epoch, mut time) = (checkpoint.epoch, checkpoint.time);
        for entry in tail {
            let record = decode(&entry)?;
            let (record_epoch, record_time) = match &record {
                LogRecord::Takeover(takeover) => (takeover.epoch, takeover.time),
                LogRecord::Commit(commit) => (commit.epoch, commit.time),
            };
            epoch = epoch.max(record_epoch);
            time = time.max(record_time);
            last = last.max(entry.sequence);
        }
        let takeover = Takeover {
            owner: shared.options.id.clone(),
            epoch: epoch + 1,
            time: time.max(shared.clock.now()),
        };
        let record = codec::encode(&LogRecord::Takeover(takeover));
        let appended = broker.fence_log(partition, last, record.clone()).await;
        match appended {
            Ok(sequence) => {
                return Ok(Fence {
                    epoch: epoch + 1,
                    sequence,
                });
            }
            Err(error @ AppendError::Refused { .. }) => return Err(TakeoverError::Fence(error)),
            Err(AppendError::Conflict { .. }) => {}
            Err(AppendError::Ambiguous { .. }) => {
                let tail = broker.read_log(partition, last.next()).await?;
                if let Some(end) = tail.last()
                    && tail.iter().all(|entry| entry.record == record)
                {
                    return Ok(Fence {
                        epoch: epoch + 1,
                        sequence: end.sequence,
                    });
                }
            }
        }
    }
    Err(TakeoverError::Contended)
}

async fn load_checkpoint(
    broker: &dyn Broker,
    partition: Partition,
) -> Result<Checkpoint, TakeoverError> {
    match broker
        .load(partition, &subjects::checkpoint(partition))
        .await?
    {
        Some(bytes) => record::unseal(&bytes).map_err(TakeoverError::Checkpoint),
        None => Ok(Checkpoint::default()),
    }
}

fn decode(entry: &LogEntry) -> Result<LogRecord, TakeoverError> {
    codec::decode(&entry.record).map_err(|source| TakeoverError::Log {
        sequence: entry.sequence,
        source,
    })
}

/// A run that the log touches, as far as it is replayed.
struct Replayed {
    key: WorkflowKey,
    run: Run,
    /// Of the state store; nothing for a run that begins in the log.
    record: Option<(RunRecordHead, usize)>,
    /// Of each transition, with the bytes of its events.
    batches: Vec<(Vec<Vec<Arc<HistoryEvent>>>, usize)>,
    changed_at: StreamSequence,
    current_at: StreamSequence,
}

/// What of a run's record is not the run.
struct RunRecordHead {
    chunks: u32,
    applied: StreamSequence,
    next_event_id: i64,
}

struct Taking {
    shared: Arc<Shared>,
    partition: Partition,
    round: String,
    fence: StreamSequence,
    applied: StreamSequence,
    log_bytes: usize,
    time: Timestamp,
    state: State,
    dispatches: Vec<Dispatch>,
    deliveries: Vec<Delivery>,
    touched: BTreeSet<RunId>,
    replayed: BTreeMap<RunId, Replayed>,
    /// The last run that begins in the log, by workflow.
    begun: BTreeMap<WorkflowKey, RunId>,
    deleted: BTreeMap<RunId, (StreamSequence, Deletion)>,
}

impl Taking {
    fn new(
        shared: Arc<Shared>,
        partition: Partition,
        fence: &Fence,
        checkpoint: &Checkpoint,
    ) -> Self {
        Self {
            round: format!("/{}.0", fence.epoch),
            time: checkpoint.time.max(shared.clock.now()),
            shared,
            partition,
            fence: fence.sequence,
            applied: checkpoint.applied,
            log_bytes: 0,
            state: State::default(),
            dispatches: Vec::new(),
            deliveries: Vec::new(),
            touched: BTreeSet::new(),
            replayed: BTreeMap::new(),
            begun: BTreeMap::new(),
            deleted: BTreeMap::new(),
        }
    }

    async fn read(&mut self, checkpoint: &Checkpoint) -> Result<(), TakeoverError> {
        let from = checkpoint.applied.next();
        let mut at = from;
        while let Some(page) = self.page(at).await? {
            at = page[page.len() - 1].sequence.next();
            for entry in &page {
                self.note(decode(entry)?);
            }
        }
        self.scan_open_runs().await?;
        let mut at = from;
        while let Some(page) = self.page(at).await? {
            at = page[page.len() - 1].sequence.next();
            for entry in &page {
                self.log_bytes += entry.record.len();
                let record = decode(entry)?;
                self.replay(entry.sequence, record).await?;
            }
        }
        self.keep_replayed().await
    }

    /// The log from `at` up to the fence, without a hole.
    async fn page(&mut self, at: StreamSequence) -> Result<Option<Vec<LogEntry>>, TakeoverError> {
        if at > self.fence {
            return Ok(None);
        }
        let page = self.shared.broker.read_log(self.partition, at).await?;
        let mut expected = at;
        for entry in &page {
            if entry.sequence != expected {
                return Err(TakeoverError::Hole {
                    from: expected,
                    to: entry.sequence,
                });
            }
            expected = expected.next();
        }
        if page.is_empty() {
            return Err(TakeoverError::Hole {
                from: at,
                to: self.fence,
            });
        }
        Ok(Some(page))
    }

    /// First pass: which runs does the log touch?
    fn note(&mut self, record: LogRecord) {
        match record {
            LogRecord::Takeover(takeover) => self.time = self.time.max(takeover.time),
            LogRecord::Commit(commit) => {
                self.time = self.time.max(commit.time);
                let runs = commit.transitions.into_iter().map(|one| one.run_id.into());
                self.touched.extend(runs);
                let deleted = commit.deletions.into_iter().map(|one| one.run_id.into());
                self.touched.extend(deleted);
            }
        }
    }

    async fn scan_open_runs(&mut self) -> Result<(), TakeoverError> {
        let filter = subjects::runs(self.partition);
        let broker = self.shared.broker.clone();
        let records = broker.scan(self.partition, &filter).await?;
        let partition = self.partition;
        let touched = std::mem::take(&mut self.touched);
        let is_touched = &touched;
        let mut open = records
            .map(|found| examine(&*broker, partition, is_touched, found))
            .buffer_unordered(READS_MAX);
        while let Some(found) = open.next().await {
            let Some((record, bytes)) = found? else {
                continue;
            };
            let run_id: RunId = record.run.run_id.as_str().into();
            let key = WorkflowKey::of(&record.run.namespace_id, &record.run.workflow_id);
            if is_touched.contains(&run_id) {
                let replayed = Replayed::stored(key, record, bytes);
                self.replayed.insert(run_id, replayed);
            } else {
                self.note_open(key, &run_id, &record.run);
                self.state.claimants.note(&run_id, &record.run.claimants());
                if let Some(deadline) = record.run.next_deadline() {
                    self.state.deadlines.arm(deadline, run_id.clone());
                    self.state.idle.insert(run_id, Idle { key, deadline });
                }
            }
        }
        Ok(())
    }

    /// Everything of a run that has to be on its way.
    fn note_open(&mut self, key: WorkflowKey, run_id: &RunId, run: &Run) {
        let round = &self.round;
        self.dispatches.extend(
            run.dispatches()
                .into_iter()
                .filter_map(|effect| dispatch(effect, round)),
        );
        let entries = run.outbox.values().map(|entry| Delivery {
            key,
            run_id: run_id.clone(),
            entry: Arc::new(entry.clone()),
        });
        self.deliveries.extend(entries);
    }

    /// Second pass.
    async fn replay(
        &mut self,
        sequence: StreamSequence,
        record: LogRecord,
    ) -> Result<(), TakeoverError> {
        let LogRecord::Commit(commit) = record else {
            return Ok(());
        };
        for transition in commit.transitions {
            let run_id: RunId = transition.run_id.as_str().into();
            if !self.replayed.contains_key(&run_id) && !self.begin(&run_id, &transition).await? {
                continue;
            }
            let Some(replayed) = self.replayed.get_mut(&run_id) else {
                continue;
            };
            if transition.creates {
                self.begun.insert(replayed.key, run_id.clone());
            }
            if let Err(words) = replayed.apply(sequence, &transition) {
                let key = replayed.key;
                error!(partition = %self.partition, %run_id, words, "a run's log cannot be replayed; it has stopped");
                let reason =
                    format!("this workflow has stopped: its log cannot be replayed: {words}");
                self.state.corrupt.insert(key, reason.into());
            }
        }
        for deletion in commit.deletions {
            let run_id: RunId = deletion.run_id.as_str().into();
            self.replayed.remove(&run_id);
            self.begun.retain(|_, begun| *begun != run_id);
            self.deleted.insert(run_id, (sequence, deletion));
        }
        Ok(())
    }

    /// Finds the run that a transition is of. False if it is gone: then a deletion follows, or its retention has ended.
    async fn begin(
        &mut self,
        run_id: &RunId,
        transition: &Transition,
    ) -> Result<bool, TakeoverError> {
        let key = WorkflowKey::of(&transition.namespace_id, &transition.workflow_id);
        let replayed = if transition.creates {
            Replayed::begun(
                key,
                Run::new(
                    transition.namespace_id.clone(),
                    transition.workflow_id.clone(),
                    transition.run_id.clone(),
                ),
            )
        } else {
            let broker = &*self.shared.broker;
            match load_run(broker, self.partition, run_id).await {
                Ok(Some(stored)) => Replayed::stored(key, stored.record, stored.bytes),
                Ok(None) => return Ok(false),
                Err(LoadError::Broker(error)) => return Err(error.into()),
                Err(damaged @ LoadError::Damaged { .. }) => {
                    let reason = format!("this workflow has stopped: {damaged}");
                    error!(partition = %self.partition, %run_id, reason, "a run is damaged");
                    self.state.corrupt.insert(key, reason.into());
                    return Ok(false);
                }
            }
        };
        self.replayed.insert(run_id.clone(), replayed);
        Ok(true)
    }

    /// Puts the replayed runs into memory.
    async fn keep_replayed(&mut self) -> Result<(), TakeoverError> {
        let replayed = std::mem::take(&mut self.replayed);
        let partition = self.partition;
        let keys: BTreeSet<_> = replayed
            .values()
            .map(|run| run.key)
            .filter(|key| !self.begun.contains_key(key))
            .collect();
        let shared = self.shared.clone();
        let mut currents = futures::stream::iter(keys.into_iter().map(|key| {
            let broker = shared.broker.clone();
            async move { (key, load_current(&*broker, partition, key).await) }
        }))
        .buffered(READS_MAX);
        while let Some((key, current)) = currents.next().await {
            let current: Option<RunId> = current
                .map_err(TakeoverError::Load)?
                .map(|record| record.run_id.into());
            let current = current.filter(|run_id| !self.deleted.contains_key(run_id));
            self.know(key, current);
        }
        for (key, run_id) in std::mem::take(&mut self.begun) {
            self.know(key, Some(run_id));
        }
        let shared = self.shared.clone();
        let mut loaded = futures::stream::iter(replayed.into_iter().map(|(run_id, replayed)| {
            let broker = shared.broker.clone();
            async move { replayed.loaded(&*broker, partition, run_id).await }
        }))
        .buffered(READS_MAX);
        while let Some((run_id, loaded)) = loaded.next().await {
            match loaded {
                Ok(loaded) => self.keep(run_id, loaded),
                Err((_, LoadError::Broker(error))) => return Err(error.into()),
                Err((key, damaged @ LoadError::Damaged { .. })) => {
                    error!(%partition, %run_id, error = %damaged, "a run's history is damaged");
                    let reason = format!("this workflow has stopped: {damaged}");
                    self.state.corrupt.insert(key, reason.into());
                }
            }
        }
        self.state.deleted = std::mem::take(&mut self.deleted);
        Ok(())
    }

    fn know(&mut self, key: WorkflowKey, current: Option<RunId>) {
        let workflow = self.state.workflows.entry(key).or_default();
        workflow.durable.clone_from(&current);
        workflow.current = current;
    }

    fn keep(&mut self, run_id: RunId, loaded: Loaded) {
        let run = loaded.run.clone();
        self.note_open(loaded.key, &run_id, &run);
        if loaded.changed_at > StreamSequence(0) {
            self.state.dirty.insert(run_id);
        }
        self.state.insert(loaded);
    }
}

/// The record of an open run and its size, unless it is damaged or of a time gone by.
async fn examine(
    broker: &dyn Broker,
    partition: Partition,
    touched: &BTreeSet<RunId>,
    found: Result<(String, Bytes), BrokerError>,
) -> Result<Option<(RunRecord, usize)>, BrokerError> {
    let (subject, bytes) = found?;
    let record: RunRecord = match record::unseal(&bytes) {
        Ok(record) => record,
        Err(damage) => {
            // It stops that workflow alone: whoever asks for it hears of the damage.
            error!(%partition, subject, error = %damage, "the record of an open run is damaged");
            return Ok(None);
        }
    };
    // What became of a run that the log touches, the log says.
    let is_touched = touched.contains(record.run.run_id.as_str());
    if is_touched || !is_superseded(broker, partition, &record.run).await? {
        return Ok(Some((record, bytes.len())));
    }
    info!(%partition, run_id = record.run.run_id, "the broker brought the record of a run back that has closed; it is dropped");
    // If this fails, the next takeover finds it.
    if let Err(error) = broker.purge_state(partition, &subject).await {
        info!(%partition, subject, %error, "the record was not dropped");
    }
    Ok(None)
}

impl Replayed {
    fn begun(key: WorkflowKey, run: Run) -> Self {
        Self {
            key,
            run,
            record: None,
            batches: Vec::new(),
            changed_at: StreamSequence(0),
            current_at: StreamSequence(0),
        }
    }

    fn stored(key: WorkflowKey, record: RunRecord, bytes: usize) -> Self {
        let head = RunRecordHead {
            chunks: record.chunks,
            applied: record.applied,
            next_event_id: record.run.next_event_id,
        };
        Self {
            record: Some((head, bytes)),
            ..Self::begun(key, record.run)
        }
    }

    /// Replays one transition unless the record holds it.
    fn apply(&mut self, sequence: StreamSequence, transition: &Transition) -> Result<(), String> {
        if let Some((head, _)) = &self.record
            && head.applied >= sequence
        {
            return Ok(());
        }
        let (bytes, was_open) = (self.run.history_bytes, self.run.is_open());
        let run = &mut self.run;
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.apply(transition)))
            .map_err(|panic| super::work::panic_words(&*panic))?;
        let bytes = usize::try_from(self.run.history_bytes - bytes).unwrap_or(0);
        self.batches.push((transition.batches(), bytes));
        self.changed_at = sequence;
        if transition.creates || was_open != self.run.is_open() {
            self.current_at = sequence;
        }
        Ok(())
    }

    async fn loaded(
        self,
        broker: &dyn Broker,
        partition: Partition,
        run_id: RunId,
    ) -> (RunId, Result<Loaded, (WorkflowKey, LoadError)>) {
        let key = self.key;
        let (mut history, bytes) = match self.record {
            None => (History::default(), 0),
            Some((head, bytes)) => {
                // The check that the chunk ends where the run says needs the run as the record has it.
                let record = RunRecord {
                    run: Run {
                        next_event_id: head.next_event_id,
                        ..Run::new(
                            self.run.namespace_id.clone(),
                            self.run.workflow_id.clone(),
                            self.run.run_id.clone(),
                        )
                    },
                    chunks: head.chunks,
                    applied: head.applied,
                };
                match load_open_chunk(broker, partition, &run_id, &record).await {
                    Ok(chunk) => (
                        History::stored(head.chunks, chunk, head.next_event_id),
                        bytes,
                    ),
                    Err(error) => return (run_id, Err((key, error))),
                }
            }
        };
        for (batches, bytes) in self.batches {
            history.push_all(batches, bytes);
        }
        let is_stored = bytes > 0;
        let mut loaded = Loaded::stored(key, Arc::new(self.run), history, bytes);
        loaded.is_stored = is_stored;
        loaded.changed_at = self.changed_at;
        // Whether lists know of it is not known: they are told again.
        loaded.visible_at = self.changed_at;
        loaded.current_at = self.current_at;
        (run_id, Ok(loaded))
    }
}

/// The keys of all workflow ids in the state store, for [`super::state::Presence`]. Tried until it succeeds.
pub async fn scan_presence(broker: Arc<dyn Broker>, partition: Partition) -> Vec<WorkflowKey> {
    'again: loop {
        let mut keys = Vec::new();
        if let Ok(mut records) = broker
            .scan(partition, &subjects::current_runs(partition))
            .await
        {
            while let Some(found) = records.next().await {
                match found {
                    Ok((subject, _)) => keys.extend(WorkflowKey::from_subject(&subject)),
                    Err(_) => {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue 'again;
                    }
                }
            }
            return keys;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Dispatches the waiting tasks of all open runs of the state store but those that `is_loaded` knows. False if some may be missing.
pub async fn dispatch_stored(
    shared: &Shared,
    partition: Partition,
    round: &str,
    is_loaded: impl Fn(&str) -> bool,
) -> bool {
    let Ok(mut records) = shared
        .broker
        .scan(partition, &subjects::runs(partition))
        .await
    else {
        return false;
    };
    let mut all = true;
    while let Some(found) = records.next().await {
        let Ok((_, bytes)) = found else { return false };
        let Ok(record) = record::unseal::<RunRecord>(&bytes) else {
            continue;
        };
        if is_loaded(&record.run.run_id) {
            continue;
        }
        for one in record
            .run
            .dispatches()
            .into_iter()
            .filter_map(|effect| dispatch(effect, round))
        {
            all &= dispatch_one(shared, partition, &one).await.is_ok();
        }
    }
    all
}
