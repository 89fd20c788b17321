//! What workflow code and the events of its history share.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Waker;

use fermata_proto::common::{Payload, Payloads};
use fermata_proto::failure::Failure;
use fermata_proto::time::Timestamp;
use futures::future::LocalBoxFuture;

use super::activity::Activities;
use super::child_workflow::Children;
use super::command::Commands;
use super::external::ExternalRequests;
use super::local_activity::LocalActivities;
use super::marker::Recorded;
use super::patch::Patches;
use super::random::Random;
use super::scope::{ROOT, ScopeId, Scopes};
use super::signal::Signals;
use super::slot::{Sequence, Slots};
use super::timer::Timers;
use super::update::Updates;
use crate::error::WorkflowError;

pub(crate) type QueryHandler =
    Rc<dyn Fn(Option<&Payloads>) -> Result<Option<Payloads>, Box<Failure>>>;

/// How the workflow code ended.
pub(crate) type Ended = Result<Option<Payloads>, WorkflowError>;

pub(crate) struct State {
    /// When the workflow task that is worked on was started, or the last local activity ended: the only clock that
    /// workflow code sees.
    pub now: Timestamp,
    /// When the workflow task that is worked on was started.
    pub task_started: Timestamp,
    /// Markers of the workflow task that is replayed.
    pub recorded: Recorded,
    pub(super) last_side_effect: i64,
    /// The code only repeats what it did before.
    pub is_replaying: bool,
    /// The last event that the code has seen.
    pub history_length: i64,
    pub history_bytes: i64,
    pub suggest_continue_as_new: bool,
    random: Random,
    last_sequence: Sequence,

    pub commands: Commands,
    pub slots: Slots,
    pub activities: Activities,
    pub timers: Timers,
    pub children: Children,
    pub local_activities: LocalActivities,
    pub patches: Patches,
    pub scopes: Scopes,
    pub externals: ExternalRequests,
    pub signals: Signals,
    pub updates: Updates,
    pub queries: BTreeMap<String, QueryHandler>,

    /// As started, with what the code has set since.
    pub memo: BTreeMap<String, Payload>,
    pub search_attributes: BTreeMap<String, Payload>,

    /// Set once; the reason.
    pub cancel_requested: Option<String>,
    /// Steps were cancelled and waiters woken.
    pub is_cancel_delivered: bool,
    pub cancel_wakers: Vec<Waker>,
    /// Who waits for a condition.
    pub conditions: Vec<Waker>,
    /// Counts what lets code go on: outcomes taken, conditions come true, tasks ended.
    pub progress: u64,
    /// New tasks for the executor.
    pub spawned: Vec<LocalBoxFuture<'static, ()>>,
    pub result: Option<Ended>,
    /// A query is asked, or a validator: the code only looks.
    pub is_read_only: bool,
    /// The run is being dropped: futures that go down with it ask for nothing more.
    pub is_torn_down: bool,
}

impl State {
    pub fn new(random: Random) -> Self {
        Self {
            now: Timestamp::default(),
            task_started: Timestamp::default(),
            recorded: Recorded::default(),
            last_side_effect: 0,
            is_replaying: true,
            history_length: 0,
            history_bytes: 0,
            suggest_continue_as_new: false,
            random,
            last_sequence: 0,
            commands: Commands::default(),
            slots: Slots::default(),
            activities: Activities::default(),
            timers: Timers::default(),
            children: Children::default(),
            local_activities: LocalActivities::default(),
            patches: Patches::default(),
            scopes: Scopes::default(),
            externals: ExternalRequests::default(),
            signals: Signals::default(),
            updates: Updates::default(),
            queries: BTreeMap::new(),
            memo: BTreeMap::new(),
            search_attributes: BTreeMap::new(),
            cancel_requested: None,
            is_cancel_delivered: false,
            cancel_wakers: Vec::new(),
            conditions: Vec::new(),
            progress: 0,
            spawned: Vec::new(),
            result: None,
            is_read_only: false,
            is_torn_down: false,
        }
    }

    /// # Panics
    /// In a query handler or a validator: neither leaves a trace in history, so a replay would not take the step.
    pub fn next_sequence(&mut self) -> Sequence {
        self.check_writable();
        self.last_sequence += 1;
        self.last_sequence
    }

    pub fn random(&mut self) -> &mut Random {
        self.check_writable();
        &mut self.random
    }

    pub fn reseed(&mut self, random: Random) {
        self.random = random;
    }

    pub fn spawn(&mut self, future: LocalBoxFuture<'static, ()>) {
        self.check_writable();
        self.spawned.push(future);
    }

    /// # Panics
    /// As [`Self::next_sequence`].
    pub(super) fn check_writable(&self) {
        assert!(
            !self.is_read_only,
            "a query handler or a validator only looks: it cannot take steps, spawn or draw random numbers"
        );
    }

    /// The workflow is asked to cancel: everything that is not shielded from it is cancelled too.
    pub fn cancel_workflow(&mut self) {
        self.cancel_scope(ROOT);
    }

    /// Cancels what was begun in a scope and in those below it.
    pub fn cancel_scope(&mut self, scope: ScopeId) {
        let scopes = self.scopes.cancel(scope);
        if scopes.is_empty() {
            return;
        }
        for sequence in self.activities.within(&scopes) {
            self.cancel_activity(sequence);
        }
        for sequence in self.timers.within(&scopes) {
            self.cancel_timer(sequence);
        }
        for sequence in self.children.within(&scopes) {
            self.cancel_child(sequence);
        }
        for sequence in self.local_activities.within(&scopes) {
            self.cancel_local_activity(sequence);
        }
        // Who waits for a condition or a signal in one of them looks again.
        self.progress += 1;
        for waker in self.cancel_wakers.drain(..) {
            waker.wake();
        }
    }
}
