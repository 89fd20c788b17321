//! What an owner holds in memory: loaded runs, which run is current, and of the other open runs the next deadline.
//!
//! A run has two states here: the one that decisions build on, which may not be in the log yet (`run`), and the one that
//! the log has acknowledged (`durable`). Only the second may be shown or stored.
//!
//! | a run is | why it stays |
//! |---|---|
//! | dirty | the state store does not hold its last acknowledged state |
//! | in flight | a commit with it is not acknowledged |
//! | waited for | a long poll, a query or the caller of an update hangs on it |
//! | none of these | it goes when the cache is full, least recently used first |
//!
//! Invariant: the workflow of a loaded run is known.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use fermata_core::{Queries, Run};
use fermata_proto::ids::StreamSequence;
use fermata_proto::time::Timestamp;

use super::address::WorkflowKey;
use super::claimants::Claimants;
use super::deadlines::Deadlines;
use super::history::History;
use super::release::Asker;
use super::waiting::{Describer, HistoryWaiter, UpdateCaller};
use super::work::{Parked, Work};
use crate::record::Deletion;

pub type RunId = Arc<str>;

/// How much larger a run's state is in memory than in MessagePack, roughly.
const MEMORY_FACTOR: usize = 2;
/// What a run costs besides: itself, its first event's attributes once more, a workflow task, maps and their keys.
const RUN_OVERHEAD_BYTES: usize = 4_096;

/// A run in memory.
pub struct Loaded {
    pub key: WorkflowKey,
    pub run: Arc<Run>,
    /// None until its first commit is acknowledged.
    pub durable: Option<Arc<Run>>,
    pub history: History,
    pub queries: Queries,
    pub waiters: Vec<HistoryWaiter>,
    pub callers: Vec<UpdateCaller>,
    pub describers: Vec<Describer>,
    /// The last commit that changed it, acknowledged or not.
    pub changed_at: StreamSequence,
    /// The last commit after which lists show it differently, and the one up to which they do.
    pub visible_at: StreamSequence,
    pub published_at: StreamSequence,
    /// The last commit after which the workflow's record of its current run is different, and the one up to which it is written.
    pub current_at: StreamSequence,
    pub current_stored_at: StreamSequence,
    pub deadline: Option<Timestamp>,
    /// The state store may hold a record of it as a run that goes on.
    pub is_stored: bool,
    state_bytes: usize,
    counted_bytes: usize,
    used: u64,
}

/// A workflow id of which a run is loaded or asked for.
#[derive(Default)]
pub struct Workflow {
    /// The current run that decisions build on.
    pub current: Option<RunId>,
    /// The current run as far as the log has acknowledged it.
    pub durable: Option<RunId>,
    /// Its records are on the way from the store.
    pub loading: bool,
    pub parked: VecDeque<Parked>,
}

/// An open run that is not loaded.
#[derive(Debug, Clone)]
pub struct Idle {
    pub key: WorkflowKey,
    pub deadline: Timestamp,
}

/// The workflow ids that the state store may hold.
#[derive(Debug, Default)]
pub struct Presence {
    keys: HashSet<u64>,
    is_complete: bool,
}

impl Presence {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "half of a hash is a hash; two keys that share it cost one read of the store"
    )]
    fn short(key: WorkflowKey) -> u64 {
        key.0 as u64
    }

    pub fn insert(&mut self, key: WorkflowKey) {
        self.keys.insert(Self::short(key));
    }

    /// Everything that the store held when this owner began is known.
    pub fn complete(&mut self, keys: Vec<WorkflowKey>) {
        self.keys.extend(keys.into_iter().map(Self::short));
        self.is_complete = true;
    }

    pub fn is_certainly_absent(&self, key: WorkflowKey) -> bool {
        self.is_complete && !self.keys.contains(&Self::short(key))
    }
}

/// See the module.
#[derive(Default)]
pub struct State {
    pub runs: HashMap<RunId, Loaded>,
    pub workflows: HashMap<WorkflowKey, Workflow>,
    pub idle: HashMap<RunId, Idle>,
    pub deadlines: Deadlines,
    pub presence: Presence,
    /// Who holds started tasks, of loaded runs and of others.
    pub claimants: Claimants,
    /// Loaded runs whose last state is not in the state store.
    pub dirty: BTreeSet<RunId>,
    /// Loaded runs that lists do not show as they are.
    pub unpublished: BTreeSet<RunId>,
    /// Those of `deleted` that lists still show.
    pub still_listed: BTreeSet<RunId>,
    /// Deleted runs whose records are still in the state store, by the commit that deleted them.
    pub deleted: BTreeMap<RunId, (StreamSequence, Deletion)>,
    /// Workflows that have stopped, and why.
    pub corrupt: HashMap<WorkflowKey, Arc<str>>,
    bytes: usize,
    clock: u64,
}

impl State {
    /// Bytes of all loaded runs, estimated.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes that a run was used and gives it.
    pub fn touch(&mut self, run_id: &str) -> Option<&mut Loaded> {
        self.clock += 1;
        let loaded = self.runs.get_mut(run_id)?;
        loaded.used = self.clock;
        Some(loaded)
    }

    /// Puts a run into memory: a new one, or one from the store.
    pub fn insert(&mut self, loaded: Loaded) {
        let run_id: RunId = loaded.run.run_id.as_str().into();
        self.idle.remove(&run_id);
        if let Some(deadline) = loaded.deadline {
            self.deadlines.arm(deadline, run_id.clone());
        }
        self.presence.insert(loaded.key);
        self.claimants.note(&run_id, &loaded.run.claimants());
        self.runs.insert(run_id.clone(), loaded);
        self.recount(&run_id);
    }

    /// Brings the estimate of the cache's size up to date after a run grew or shrank.
    pub fn recount(&mut self, run_id: &str) {
        let Some(loaded) = self.runs.get_mut(run_id) else {
            return;
        };
        let now =
            RUN_OVERHEAD_BYTES + MEMORY_FACTOR * loaded.state_bytes + loaded.history.memory_bytes();
        self.bytes = self.bytes - loaded.counted_bytes + now;
        loaded.counted_bytes = now;
    }

    /// Takes a run out of memory for good.
    pub fn remove(&mut self, run_id: &str) -> Option<Loaded> {
        let loaded = self.runs.remove(run_id)?;
        self.bytes -= loaded.counted_bytes;
        self.dirty.remove(run_id);
        self.unpublished.remove(run_id);
        Some(loaded)
    }

    /// Lists show a run as it was at `sequence`.
    pub fn on_published(&mut self, run_id: &RunId, sequence: StreamSequence) {
        let Some(loaded) = self.runs.get_mut(run_id) else {
            return;
        };
        loaded.published_at = loaded.published_at.max(sequence);
        if loaded.visible_at <= sequence {
            self.unpublished.remove(run_id);
        }
    }

    /// The workflow of an open run, loaded or not.
    pub fn key_of(&self, run_id: &str) -> Option<WorkflowKey> {
        match self.runs.get(run_id) {
            Some(loaded) => Some(loaded.key),
            None => self.idle.get(run_id).map(|idle| idle.key),
        }
    }

    /// Whether anything hangs on `run_id`, loaded or not, at `deadline`.
    pub fn is_due(&self, run_id: &str, deadline: Timestamp) -> bool {
        match self.runs.get(run_id) {
            Some(loaded) => loaded.deadline == Some(deadline),
            None => self
                .idle
                .get(run_id)
                .is_some_and(|idle| idle.deadline == deadline),
        }
    }

    /// Everybody who waits for a run's history, for its updates or for a workflow's records, workflow by workflow.
    pub fn take_askers(&mut self) -> Vec<Asker> {
        let mut askers: Vec<(WorkflowKey, Asker)> = Vec::new();
        for loaded in self.runs.values_mut() {
            let waiters = std::mem::take(&mut loaded.waiters);
            askers.extend(waiters.into_iter().map(|waiter| (loaded.key, waiter.asker)));
            let callers = std::mem::take(&mut loaded.callers);
            askers.extend(callers.into_iter().map(|caller| (loaded.key, caller.asker)));
            let describers = std::mem::take(&mut loaded.describers);
            askers.extend(
                describers
                    .into_iter()
                    .map(|describer| (loaded.key, describer.asker)),
            );
        }
        for (key, workflow) in &mut self.workflows {
            for parked in std::mem::take(&mut workflow.parked) {
                if let Work::Request { asker, .. } | Work::Reset { asker, .. } = parked.work {
                    askers.push((*key, asker));
                }
            }
        }
        askers.sort_by_key(|(key, _)| *key);
        askers.into_iter().map(|(_, asker)| asker).collect()
    }

    /// Frees clean runs, least recently used first, until the estimate is within `bytes_max` with some room.
    /// Returns how many went.
    pub fn evict(&mut self, bytes_max: usize) -> usize {
        if self.bytes <= bytes_max {
            return 0;
        }
        let target = bytes_max / 10 * 9;
        let mut clean: Vec<(u64, RunId)> = self
            .runs
            .iter()
            .filter(|(run_id, loaded)| !self.dirty.contains(*run_id) && loaded.is_free())
            .filter(|(_, loaded)| {
                self.workflows
                    .get(&loaded.key)
                    .is_none_or(|workflow| !workflow.loading)
            })
            .map(|(run_id, loaded)| (loaded.used, run_id.clone()))
            .collect();
        clean.sort_unstable();
        let mut evicted = 0;
        for (_, run_id) in clean {
            if self.bytes <= target {
                break;
            }
            self.evict_one(&run_id);
            evicted += 1;
        }
        evicted
    }

    /// A closed run whose end is stored leaves memory: what is asked of it later is read from the store.
    pub fn evict_closed(&mut self, run_id: &RunId) {
        let is_idle = self.runs.get(run_id).is_some_and(|loaded| {
            let is_loading = self
                .workflows
                .get(&loaded.key)
                .is_some_and(|workflow| workflow.loading || !workflow.parked.is_empty());
            !is_loading && loaded.is_free() && !self.dirty.contains(run_id)
        });
        if is_idle {
            self.evict_one(run_id);
        }
    }

    fn evict_one(&mut self, run_id: &RunId) {
        let Some(loaded) = self.remove(run_id) else {
            return;
        };
        if let Some(deadline) = loaded.deadline {
            let key = loaded.key;
            self.idle.insert(run_id.clone(), Idle { key, deadline });
        }
        self.forget_workflow(loaded.key);
    }

    /// Forgets which run is current once none of the workflow's runs is in memory and the store knows it.
    pub fn forget_workflow(&mut self, key: WorkflowKey) {
        let Some(workflow) = self.workflows.get(&key) else {
            return;
        };
        let is_used = workflow.loading
            || !workflow.parked.is_empty()
            || workflow
                .current
                .as_ref()
                .is_some_and(|current| self.runs.contains_key(current))
            || self.deleted.values().any(|(_, deletion)| {
                WorkflowKey::of(&deletion.namespace_id, &deletion.workflow_id) == key
            });
        if !is_used {
            self.workflows.remove(&key);
        }
    }
}

impl Loaded {
    /// A run that begins with the commit at `sequence`.
    pub fn begun(key: WorkflowKey, run: Arc<Run>) -> Self {
        Self {
            durable: None,
            is_stored: false,
            ..Self::stored(key, run, History::default(), 0)
        }
    }

    /// A run as the state store holds it, in so many bytes.
    pub fn stored(key: WorkflowKey, run: Arc<Run>, history: History, state_bytes: usize) -> Self {
        Self {
            key,
            deadline: run.next_deadline(),
            is_stored: true,
            durable: Some(run.clone()),
            run,
            history,
            queries: Queries::default(),
            waiters: Vec::new(),
            callers: Vec::new(),
            describers: Vec::new(),
            changed_at: StreamSequence(0),
            visible_at: StreamSequence(0),
            published_at: StreamSequence(0),
            current_at: StreamSequence(0),
            current_stored_at: StreamSequence(0),
            state_bytes,
            counted_bytes: 0,
            used: 0,
        }
    }

    pub fn set_state_bytes(&mut self, bytes: usize) {
        self.state_bytes = bytes;
    }

    fn is_free(&self) -> bool {
        self.waiters.is_empty()
            && self.callers.is_empty()
            && self.describers.is_empty()
            && self.queries.is_empty()
    }
}
