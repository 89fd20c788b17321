//! Materialising the log: what is dirty goes into the state store, and the log behind it is purged.
//!
//! A checkpoint is of one acknowledged sequence of the log. It works on a snapshot beside the loop, which goes on:
//! 1. visibility records of the runs that lists show differently;
//! 2. each run's new chunks of history, its record, and its workflow's record of the current run, in atomic batches; all
//!    of one run in one batch;
//! 3. in the last batch the checkpoint record, and only then the purge of the log.
//!
//! Everything may happen twice or break off in the middle: records tell the sequence up to which they are true.
//!
//! A run that is closed and has nothing left to send moves from `run.` to `closed.`, and the broker deletes all of its records
//! when the namespace's retention is over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_core::Run;
use fermata_proto::codec;
use fermata_proto::common::WorkflowExecution;
use fermata_proto::ids::{NamespaceId, Partition, StreamSequence};
use fermata_proto::subjects;
use fermata_proto::time::Timestamp;
use fermata_proto::visibility::VisibilityRecord;
use fermata_proto::workflow::WorkflowExecutionInfo;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::address::WorkflowKey;
use super::history::{self, Batch, RunAddress};
use super::owner::{Exit, Owner};
use super::publish::Published;
use super::state::{Loaded, RunId};
use crate::broker::{BrokerError, STATE_BATCH_MAX, StateWrite};
use crate::engine::Shared;
use crate::record::{self, Checkpoint, CurrentRun, Deletion, HistoryChunk, RunRecord};

/// So much log brings the next checkpoint forward.
const LOG_BYTES_SOON: usize = 8 << 20;
/// A checkpoint rests at least this many times as long as the last one took: at most a fifth of the time goes into it.
const REST_FACTOR: u32 = 4;
/// Bytes in one batch, unless one run alone has more.
const BATCH_BYTES_TARGET: usize = 4 << 20;
/// Runs encoded between two chances for others to run.
const RUNS_BETWEEN_YIELDS: usize = 16;
/// How long lists are told that a run was deleted.
const DELETED_VISIBLE: Duration = Duration::from_secs(24 * 3600);

/// When checkpoints were and will be.
pub struct Checkpoints {
    /// What the state store holds.
    applied: StreamSequence,
    /// Bytes of log behind it.
    log_bytes: usize,
    next_at: Instant,
    rest_until: Instant,
    /// When visibility records may go out ahead of the next checkpoint.
    pub(super) publish_at: Instant,
    /// At most one.
    under_way: JoinSet<Finished>,
}

/// The end of what was under way.
pub enum Finished {
    Checkpoint(Done),
    Publication(Published),
}

/// The end of a checkpoint.
pub struct Done {
    sequence: StreamSequence,
    log_bytes: usize,
    took: Duration,
    result: Result<Vec<StoredRun>, BrokerError>,
}

/// What a checkpoint wrote of a run.
struct StoredRun {
    run_id: RunId,
    until: i64,
    full_chunks: u32,
    full_batches: usize,
    bytes: usize,
    published: bool,
    current_stored: bool,
    goes_on: bool,
}

impl Checkpoints {
    pub fn new(applied: StreamSequence, log_bytes: usize) -> Self {
        let now = Instant::now();
        Self {
            applied,
            log_bytes,
            next_at: now,
            rest_until: now,
            publish_at: now,
            under_way: JoinSet::new(),
        }
    }

    pub fn add_log(&mut self, bytes: usize) {
        self.log_bytes += bytes;
    }

    pub fn log_bytes(&self) -> usize {
        self.log_bytes
    }

    /// The end of the one under way. Cancellation-safe.
    pub async fn next(&mut self) -> Option<Finished> {
        // One that panicked is forgotten: the next one writes what it should have.
        self.under_way.join_next().await?.ok()
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    pub(super) fn begin(&mut self, work: impl Future<Output = Finished> + Send + 'static) {
        self.under_way.spawn(work);
    }
}

impl Owner {
    /// When the next checkpoint is due, unless one is under way or there is nothing to write.
    pub(super) fn next_checkpoint(&self) -> Option<Instant> {
        let checkpoints = &self.checkpoints;
        if checkpoints.is_under_way() || self.durable <= checkpoints.applied {
            return None;
        }
        Some(if checkpoints.log_bytes >= LOG_BYTES_SOON {
            checkpoints.rest_until
        } else {
            checkpoints.next_at.max(checkpoints.rest_until)
        })
    }

    pub(super) fn maybe_checkpoint(&mut self) {
        let now = Instant::now();
        if self.next_checkpoint().is_some_and(|due| due <= now) {
            self.begin_checkpoint();
        }
    }

    fn begin_checkpoint(&mut self) {
        let snapshot = self.snapshot();
        for dirty in snapshot.runs.iter().filter(|dirty| goes_on(&dirty.run)) {
            // From now on: a write whose answer is lost may have taken place.
            if let Some(loaded) = self.state.runs.get_mut(&dirty.run_id) {
                loaded.is_stored = true;
            }
        }
        let shared = self.shared.clone();
        let log_bytes = self.checkpoints.log_bytes;
        self.checkpoints.begin(async move {
            let began = Instant::now();
            let sequence = snapshot.checkpoint.applied;
            let result = snapshot.write(&shared).await;
            Finished::Checkpoint(Done {
                sequence,
                log_bytes,
                took: began.elapsed(),
                result,
            })
        });
    }

    /// # Errors
    /// If another owner has written to the state store.
    pub(super) fn on_finished(&mut self, finished: Finished) -> Result<(), Exit> {
        match finished {
            Finished::Checkpoint(done) => self.on_checkpoint(done),
            Finished::Publication(published) => {
                self.on_published(published);
                Ok(())
            }
        }
    }

    fn on_checkpoint(&mut self, done: Done) -> Result<(), Exit> {
        let now = Instant::now();
        self.checkpoints.rest_until = now + done.took * REST_FACTOR;
        self.checkpoints.next_at = now + self.shared.options.checkpoint_interval;
        let metrics = &self.shared.metrics;
        metrics.checkpoint_seconds.observe(done.took.as_secs_f64());
        let stored = match done.result {
            Ok(stored) => stored,
            Err(error) if error.superseded => return Err(Exit::Lost(error.to_string())),
            Err(error) => {
                warn!(partition = %self.partition, %error, "a checkpoint broke off; it is tried again");
                return Ok(());
            }
        };
        debug!(partition = %self.partition, sequence = %done.sequence, runs = stored.len(), took = ?done.took, "checkpoint");
        self.checkpoints.applied = done.sequence;
        self.checkpoints.log_bytes -= done.log_bytes;
        for run in stored {
            self.on_run_stored(&run, done.sequence);
        }
        let gone: Vec<RunId> = self
            .state
            .deleted
            .iter()
            .filter(|(_, (sequence, _))| *sequence <= done.sequence)
            .map(|(run_id, _)| run_id.clone())
            .collect();
        for run_id in gone {
            self.state.still_listed.remove(&run_id);
            if let Some((_, deletion)) = self.state.deleted.remove(&run_id) {
                let key = WorkflowKey::of(&deletion.namespace_id, &deletion.workflow_id);
                self.state.forget_workflow(key);
            }
        }
        self.state.evict(self.shared.cache_share());
        let state = &mut self.state;
        let live = state.runs.len() + state.idle.len();
        let mut deadlines = std::mem::take(&mut state.deadlines);
        deadlines.compact(live, |run_id, deadline| state.is_due(run_id, deadline));
        state.deadlines = deadlines;
        self.gauge();
        Ok(())
    }

    fn on_run_stored(&mut self, stored: &StoredRun, sequence: StreamSequence) {
        let Some(loaded) = self.state.runs.get_mut(&stored.run_id) else {
            return;
        };
        loaded
            .history
            .on_stored(stored.until, stored.full_chunks, stored.full_batches);
        loaded.set_state_bytes(stored.bytes);
        loaded.is_stored = stored.goes_on;
        if stored.current_stored {
            loaded.current_stored_at = sequence;
        }
        if loaded.changed_at <= sequence {
            self.state.dirty.remove(&stored.run_id);
        }
        if stored.published {
            self.state.on_published(&stored.run_id, sequence);
        }
        self.state.recount(&stored.run_id);
        if !stored.goes_on {
            self.state.evict_closed(&stored.run_id);
        }
    }

    /// How long what is closed is kept.
    pub(super) fn retention(&self, namespace_id: &NamespaceId) -> Duration {
        self.namespaces
            .record(namespace_id)
            .map_or(self.shared.options.default_retention, |namespace| {
                namespace.retention
            })
    }

    /// Everything that the state store lacks, as of the last acknowledged commit.
    fn snapshot(&self) -> Snapshot {
        let runs = self
            .state
            .dirty
            .iter()
            .filter_map(|run_id| {
                let loaded = self.state.runs.get(run_id)?;
                let workflow = self.state.workflows.get(&loaded.key);
                let is_current =
                    workflow.is_some_and(|workflow| workflow.durable.as_ref() == Some(run_id));
                let durable = loaded.durable.clone()?;
                let retention = self.retention(&durable.namespace_id);
                Some(DirtyRun::new(
                    run_id.clone(),
                    loaded,
                    durable,
                    is_current,
                    retention,
                ))
            })
            .collect();
        let deletions = self
            .state
            .deleted
            .values()
            .filter(|(sequence, _)| *sequence <= self.durable)
            .map(|(_, deletion)| {
                let key = WorkflowKey::of(&deletion.namespace_id, &deletion.workflow_id);
                let workflow = self.state.workflows.get(&key);
                let was_current = workflow.is_none_or(|workflow| workflow.current.is_none());
                (deletion.clone(), was_current)
            })
            .collect();
        Snapshot {
            partition: self.partition,
            checkpoint: Checkpoint {
                applied: self.durable,
                epoch: self.epoch,
                time: self.now,
            },
            runs,
            deletions,
        }
    }

    /// Writes the last state before a hand-over, if no commit is under way.
    pub(super) async fn last_checkpoint(&mut self) -> Result<(), Exit> {
        if let Some(done) = self.checkpoints.next().await {
            self.on_finished(done)?;
        }
        if self.durable > self.checkpoints.applied {
            self.begin_checkpoint();
            if let Some(done) = self.checkpoints.next().await {
                self.on_finished(done)?;
            }
        }
        Ok(())
    }

    fn gauge(&self) {
        let metrics = &self.shared.metrics;
        let partition = self.partition.to_string();
        let label = &[partition.as_str()];
        let set = |gauge: &prometheus::IntGaugeVec, value: usize| {
            gauge
                .with_label_values(label)
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&metrics.loaded_runs, self.state.runs.len());
        set(&metrics.cache_bytes, self.state.bytes());
        set(&metrics.deadlines, self.state.deadlines.len());
        set(&metrics.outbox, self.outbox.len());
    }
}

struct Snapshot {
    partition: Partition,
    checkpoint: Checkpoint,
    runs: Vec<DirtyRun>,
    /// With whether the workflow is left without a current run.
    deletions: Vec<(Deletion, bool)>,
}

struct DirtyRun {
    run_id: RunId,
    key: WorkflowKey,
    run: Arc<Run>,
    sealed: u32,
    chunks: u32,
    unstored: Option<Vec<Batch>>,
    writes_current: bool,
    publishes: bool,
    was_stored: bool,
    retention: Duration,
}

/// Whether a run still has something to do, and so belongs to those that a takeover looks at.
fn goes_on(run: &Run) -> bool {
    run.is_open() || !run.outbox.is_empty()
}

/// How long the broker keeps the records of a closed run; for ever while it is open.
pub(super) fn ttl(run: &Run, retention: Duration, now: Timestamp) -> Option<Duration> {
    let closed = run.close_time.filter(|_| !run.is_open())?;
    let left = retention.saturating_sub(now.since(closed));
    Some(Duration::from_secs(left.as_secs().max(1)))
}

impl DirtyRun {
    fn new(
        run_id: RunId,
        loaded: &Loaded,
        durable: Arc<Run>,
        is_current: bool,
        retention: Duration,
    ) -> Self {
        // What was written while the run went on has no end yet: closing writes it once more, with one.
        let ends = !goes_on(&durable);
        Self {
            run_id,
            key: loaded.key,
            sealed: loaded.history.sealed(),
            chunks: loaded.history.chunks(durable.next_event_id),
            unstored: loaded.history.unstored(durable.next_event_id, ends),
            writes_current: is_current && loaded.current_at > loaded.current_stored_at,
            publishes: loaded.visible_at > loaded.published_at,
            was_stored: loaded.is_stored,
            run: durable,
            retention,
        }
    }

    fn ttl(&self, now: Timestamp) -> Option<Duration> {
        ttl(&self.run, self.retention, now)
    }

    fn visibility(&self, now: Timestamp) -> StateWrite {
        StateWrite {
            subject: subjects::visibility(&self.run.namespace_id, &self.run_id),
            record: Some(codec::encode(&self.run.visibility())),
            ttl: self.ttl(now),
        }
    }

    fn writes(
        &self,
        partition: Partition,
        checkpoint: &Checkpoint,
    ) -> (Vec<StateWrite>, StoredRun) {
        let (run_id, ttl) = (&self.run_id, self.ttl(checkpoint.time));
        let goes_on = goes_on(&self.run);
        let record_ttl = ttl.filter(|_| !goes_on);
        let put = |subject: String, record: Bytes, ttl: Option<Duration>| StateWrite {
            subject,
            record: Some(record),
            ttl,
        };
        let mut writes = Vec::new();
        let (mut full_chunks, mut full_batches, mut chunks) = (0, 0, self.chunks);
        if let Some(unstored) = &self.unstored {
            chunks = self.sealed;
            for chunk in history::cut(unstored) {
                let batches = chunk.iter().map(|batch| batch.events.clone()).collect();
                let subject = subjects::history_chunk(partition, run_id, chunks);
                writes.push(put(
                    subject,
                    record::seal(&HistoryChunk { batches }),
                    record_ttl,
                ));
                chunks += 1;
                if history::is_full(chunk) {
                    full_chunks += 1;
                    full_batches += chunk.len();
                }
            }
        }
        let record = record::seal(&RunRecordRef {
            run: &self.run,
            chunks,
            applied: checkpoint.applied,
        });
        let bytes = record.len();
        if goes_on {
            writes.push(put(subjects::run(partition, run_id), record, None));
        } else {
            writes.push(put(
                subjects::closed_run(partition, run_id),
                record,
                record_ttl,
            ));
            if self.was_stored {
                writes.push(StateWrite {
                    subject: subjects::run(partition, run_id),
                    record: None,
                    ttl: None,
                });
            }
        }
        if self.writes_current {
            let current = CurrentRun {
                namespace_id: self.run.namespace_id.clone(),
                workflow_id: self.run.workflow_id.clone(),
                run_id: run_id.to_string(),
                is_open: self.run.is_open(),
            };
            let subject = subjects::current_run_of_hash(partition, self.key.0);
            writes.push(put(subject, record::seal(&current), ttl));
        }
        let stored = StoredRun {
            run_id: run_id.clone(),
            until: self.run.next_event_id,
            full_chunks,
            full_batches,
            bytes,
            published: self.publishes,
            current_stored: self.writes_current,
            goes_on,
        };
        (writes, stored)
    }
}

/// [`RunRecord`] without a copy of the run.
#[derive(serde::Serialize)]
#[serde(rename = "RunRecord")]
struct RunRecordRef<'a> {
    run: &'a Run,
    chunks: u32,
    applied: StreamSequence,
}

const _: fn(RunRecord) -> (Run, u32, StreamSequence) = |record| {
    let RunRecord {
        run,
        chunks,
        applied,
    } = record;
    (run, chunks, applied)
};

impl Snapshot {
    async fn write(self, shared: &Shared) -> Result<Vec<StoredRun>, BrokerError> {
        let (broker, partition) = (&*shared.broker, self.partition);
        self.publish(shared).await?;
        let mut stored = Vec::with_capacity(self.runs.len());
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (count, run) in self.runs.iter().enumerate() {
            if count % RUNS_BETWEEN_YIELDS == RUNS_BETWEEN_YIELDS - 1 {
                tokio::task::yield_now().await;
            }
            if !goes_on(&run.run) {
                self.expire_old_chunks(shared, run).await?;
            }
            let (mut writes, done) = run.writes(partition, &self.checkpoint);
            // More than fits one batch: history first, which is harmless without the record that counts it.
            while writes.len() >= STATE_BATCH_MAX {
                let rest = writes.split_off(STATE_BATCH_MAX / 2);
                broker.store(partition, writes).await?;
                writes = rest;
            }
            if batch.len() + writes.len() >= STATE_BATCH_MAX || bytes >= BATCH_BYTES_TARGET {
                broker.store(partition, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += writes
                .iter()
                .filter_map(|write| write.record.as_ref())
                .map(Bytes::len)
                .sum::<usize>();
            batch.extend(writes);
            stored.push(done);
        }
        for (deletion, was_current) in &self.deletions {
            if batch.len() + 4 >= STATE_BATCH_MAX {
                broker.store(partition, std::mem::take(&mut batch)).await?;
            }
            batch.extend(self.deleting(deletion, *was_current));
            let chunks = subjects::history_chunks(partition, &deletion.run_id);
            broker.purge_state(partition, &chunks).await?;
        }
        batch.push(StateWrite {
            subject: subjects::checkpoint(partition),
            record: Some(record::seal(&self.checkpoint)),
            ttl: None,
        });
        broker.store(partition, batch).await?;
        let below = self.checkpoint.applied.next();
        if let Err(error) = broker.purge_log(partition, below).await {
            // The next checkpoint purges more.
            warn!(%partition, %error, "the log behind a checkpoint is not purged yet");
        }
        Ok(stored)
    }

    async fn publish(&self, shared: &Shared) -> Result<(), BrokerError> {
        let now = self.checkpoint.time;
        let changed = self
            .runs
            .iter()
            .filter(|run| run.publishes)
            .map(|run| run.visibility(now));
        let deleted = self
            .deletions
            .iter()
            .map(|(deletion, _)| deleted_visibility(deletion));
        // Encoded batch by batch: after a burst of starts all of them together would be large.
        let mut writes = changed.chain(deleted);
        loop {
            let batch: Vec<_> = writes.by_ref().take(STATE_BATCH_MAX).collect();
            if batch.is_empty() {
                return Ok(());
            }
            shared.broker.publish_visibility(batch).await?;
        }
    }

    /// Full chunks were written while the run was open, and so without an end: they get one.
    async fn expire_old_chunks(&self, shared: &Shared, run: &DirtyRun) -> Result<(), BrokerError> {
        let (broker, partition) = (&*shared.broker, self.partition);
        for chunk in 0..run.sealed {
            let address = RunAddress {
                partition,
                run_id: run.run_id.clone(),
            };
            let subject = subjects::history_chunk(partition, &address.run_id, chunk);
            if let Some(record) = broker.load(partition, &subject).await? {
                let write = StateWrite {
                    subject,
                    record: Some(record),
                    ttl: run.ttl(self.checkpoint.time),
                };
                broker.store(partition, vec![write]).await?;
            }
        }
        Ok(())
    }

    fn deleting(&self, deletion: &Deletion, was_current: bool) -> Vec<StateWrite> {
        let partition = self.partition;
        let mut subjects = vec![
            subjects::run(partition, &deletion.run_id),
            subjects::closed_run(partition, &deletion.run_id),
        ];
        if was_current {
            subjects.push(subjects::current_run(
                partition,
                &deletion.namespace_id,
                &deletion.workflow_id,
            ));
        }
        subjects
            .into_iter()
            .map(|subject| StateWrite {
                subject,
                record: None,
                ttl: None,
            })
            .collect()
    }
}

/// What tells lists that a run is gone.
pub(super) fn deleted_visibility(deletion: &Deletion) -> StateWrite {
    StateWrite {
        subject: subjects::visibility(&deletion.namespace_id, &deletion.run_id),
        record: Some(codec::encode(&deleted_record(deletion))),
        ttl: Some(DELETED_VISIBLE),
    }
}

fn deleted_record(deletion: &Deletion) -> VisibilityRecord {
    VisibilityRecord {
        namespace_id: deletion.namespace_id.clone(),
        info: WorkflowExecutionInfo {
            execution: Some(WorkflowExecution {
                workflow_id: deletion.workflow_id.0.clone(),
                run_id: deletion.run_id.clone(),
            }),
            ..WorkflowExecutionInfo::default()
        },
        deleted: true,
    }
}
