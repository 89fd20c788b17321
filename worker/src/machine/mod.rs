//! One run of a workflow as its code sees it: history events in, commands out.
//!
//! A [`Machine`] is fed the events of a workflow task, lets the code go on until it waits, takes ends of local activities
//! if there are any, and hands out the commands that the code asked for. Fed a longer history, it does so for every workflow task of it and throws away the commands of all
//! but the last: replay and live are the same path. A cached machine is fed only what is new.
//!
//! Invariants: the code is polled only when a workflow task starts; it sees no clock, thread or randomness but what
//! events say; each command meets its event, in order, or the task fails with [`NonDeterminism`].
//!
//! Deliberately absent: I/O, threads, time. Who feeds it: [`crate::worker`]. What code calls: [`crate::workflow`].
//! Where to read: [`command`] (matching), [`slot`] (what futures wait on), [`executor`] (who is polled when), then one
//! file a concept.

mod activity;
mod child_workflow;
mod close;
mod command;
mod executor;
mod external;
mod failure;
mod local_activity;
mod marker;
mod patch;
mod random;
mod scope;
mod side_effect;
mod signal;
mod slot;
mod state;
#[cfg(test)]
mod tests;
mod timer;
mod update;

use std::cell::{RefCell, RefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fermata_proto::command::Command;
use fermata_proto::common::Payloads;
use fermata_proto::enums::{CommandType, WorkflowTaskFailedCause};
use fermata_proto::event::{
    HistoryEvent, HistoryEventAttributes, WorkflowTaskStartedEventAttributes,
};
use fermata_proto::failure::Failure;
use fermata_proto::protocol::Message;
use fermata_proto::query::WorkflowQuery;
use futures::future::LocalBoxFuture;

pub use activity::ActivityCancellation;
pub use child_workflow::ChildCancellation;
pub(crate) use child_workflow::ChildSteps;
pub use command::NonDeterminism;
pub use failure::TaskFailure;
pub(crate) use local_activity::{
    LocalActivity, LocalActivityEnd, LocalActivityResult, LocalActivityTask,
};
pub(crate) use scope::{ROOT, SHIELDED, ScopeId};
pub(crate) use side_effect::SideEffect;
pub(crate) use signal::{Signal, SignalHandler};
pub(crate) use slot::{Outcome, Sequence, Step};
pub(crate) use state::{Ended, QueryHandler, State};
pub(crate) use update::{UpdateHandler, input as update_input};

use crate::converter::Converter;
use crate::error::{ApplicationError, panic_message};
use crate::workflow::{WorkflowContext, WorkflowInfo};
use executor::Executor;
use marker::Recorded;
use random::Random;
use update::Arrived;

/// Workflow code, by type name in the registry.
pub(crate) type Definition =
    Arc<dyn Fn(WorkflowContext, Option<&Payloads>) -> LocalBoxFuture<'static, Ended> + Send + Sync>;

/// What the contexts and futures of one run hold on to.
pub(crate) struct Shared {
    state: RefCell<State>,
    pub info: WorkflowInfo,
    pub converter: Converter,
}

impl Shared {
    /// Borrowed for a few lines only: never while code of a user runs.
    pub fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }
}

/// What a run is called; the rest of [`WorkflowInfo`] comes from its first event.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunName {
    pub namespace: String,
    pub workflow_id: String,
    pub run_id: String,
}

/// See the module.
pub(crate) struct Machine {
    name: RunName,
    definition: Definition,
    converter: Converter,
    executor: Executor,
    /// None before the first event.
    shared: Option<Rc<Shared>>,
    next_event_id: i64,
    /// Events up to [`Self::next_event_id`] may come once more.
    is_rewound: bool,
    /// Updates that came with the next live task.
    arrived: Vec<Arrived>,
    is_closed: bool,
    /// Counted up whenever the code is polled: whoever watches sees that it gives way.
    pulse: Arc<AtomicU64>,
    /// What replayed tasks asked for.
    #[cfg(test)]
    pub replayed: Vec<Vec<Command>>,
}

impl Machine {
    pub fn new(name: RunName, definition: Definition) -> Self {
        Self {
            name,
            definition,
            converter: Converter::default(),
            executor: Executor::default(),
            shared: None,
            next_event_id: 1,
            is_rewound: false,
            arrived: Vec::new(),
            is_closed: false,
            pulse: Arc::default(),
            #[cfg(test)]
            replayed: Vec::new(),
        }
    }

    pub fn with_converter(mut self, converter: Converter) -> Self {
        self.converter = converter;
        self
    }

    /// Counts in `pulse` whenever the code is polled.
    pub fn watched_by(mut self, pulse: Arc<AtomicU64>) -> Self {
        self.pulse = pulse;
        self
    }

    /// The event that it must be fed next.
    pub fn next_event_id(&self) -> i64 {
        self.next_event_id
    }

    /// Whether events from this one on go on where the last ones ended.
    pub fn takes_from(&self, event_id: i64) -> bool {
        event_id == self.next_event_id || self.is_rewound && event_id < self.next_event_id
    }

    /// Takes what came with a workflow task, before it is fed the task's events.
    ///
    /// # Errors
    /// If one is no update.
    pub fn bring(&mut self, messages: &[Message]) -> Result<(), TaskFailure> {
        let arrived = messages.iter().map(Arrived::from_message);
        self.arrived = arrived.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The workflow task that `started_event_id` started did nothing but refuse updates, and history shows nothing of it: the
    /// next events take the place of those that told of it.
    pub fn rewind(&mut self, started_event_id: i64) {
        if self.next_event_id == started_event_id + 1 {
            // The task was scheduled right before it was started.
            self.next_event_id = started_event_id - 1;
            self.is_rewound = true;
        }
    }

    /// The code has ended: nothing comes after.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// [`Self::feed`] and [`Self::finish_task`] in one, for who runs no local activities.
    ///
    /// # Errors
    /// After an error the machine is of no use any more.
    #[cfg(any(test, feature = "testing"))]
    pub fn advance(
        &mut self,
        events: &[HistoryEvent],
        started_event_id: i64,
    ) -> Result<Vec<Command>, TaskFailure> {
        self.feed(events, started_event_id)?;
        Ok(self.finish_task())
    }

    /// Feeds `events`, which go on where the last ones ended, and lets the code work on the workflow task that
    /// `started_event_id` started; 0 for a history that is only read, as for a query. The task's commands are kept until
    /// [`Self::finish_task`]: it may go on with ends of local activities.
    ///
    /// # Errors
    /// After an error the machine is of no use any more.
    pub fn feed(
        &mut self,
        events: &[HistoryEvent],
        started_event_id: i64,
    ) -> Result<(), TaskFailure> {
        for (index, event) in events.iter().enumerate() {
            if self.is_rewound && event.event_id < self.next_event_id {
                continue;
            }
            self.is_rewound = false;
            if event.event_id != self.next_event_id {
                return Err(TaskFailure::Gap {
                    expected: self.next_event_id,
                    found: event.event_id,
                });
            }
            self.next_event_id += 1;
            let Some(attributes) = &event.attributes else {
                if event.worker_may_ignore {
                    continue;
                }
                let event_id = event.event_id;
                return Err(TaskFailure::UnknownEvent { event_id });
            };
            if let HistoryEventAttributes::WorkflowTaskStarted(started) = attributes {
                let is_this_task = event.event_id == started_event_id;
                // A task that failed or timed out left no trace in the code: only those that were completed count.
                if is_this_task || is_completed(events.get(index + 1)) {
                    let ahead = (!is_this_task).then(|| &events[index + 1..]);
                    self.start_task(event, started, ahead)?;
                }
            } else {
                self.apply(event, attributes)?;
            }
        }
        Ok(())
    }

    /// Ends the workflow task and gives what it asks for; what it says of updates is in [`Self::take_messages`].
    pub fn finish_task(&mut self) -> Vec<Command> {
        // Updates of a run that has closed end with it.
        let is_open = !self.is_closed;
        self.with_state(|state| {
            if is_open {
                state.reject_unhandled_updates();
            }
            state.commands.send()
        })
    }

    /// What the workflow task that was finished last says about updates. The placing commands are among its commands.
    pub fn take_messages(&mut self) -> Vec<Message> {
        self.with_state(|state| state.updates.take_messages())
    }

    /// Goes on with what local activities gave, one after the other.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn end_local_activities(&mut self, ends: Vec<LocalActivityEnd>) -> Result<(), TaskFailure> {
        let shared = self.shared()?.clone();
        for end in ends {
            if self.is_closed {
                break;
            }
            if shared.state().end_local_activity(end) {
                self.go_on(&shared)?;
            }
        }
        Ok(())
    }

    /// Local activities that the worker is to run, each handed out once.
    pub fn local_activities_to_start(&mut self) -> Vec<LocalActivityTask> {
        self.with_state(|state| state.local_activities.take_to_start())
    }

    /// Local activities that were handed out and are to stop.
    pub fn local_activities_to_cancel(&mut self) -> Vec<Sequence> {
        self.with_state(|state| state.local_activities.take_to_cancel())
    }

    /// The workflow task should wait for ends of local activities.
    pub fn waits_for_local_activities(&self) -> bool {
        !self.is_closed
            && self
                .shared
                .as_ref()
                .is_some_and(|shared| shared.state().local_activities.has_open())
    }

    /// Whether others wait for what this task asks for: an activity to be scheduled, the caller of an update.
    pub fn has_urgent_commands(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| {
            let state = shared.state();
            state.commands.has_more_than_markers() || state.updates.has_messages()
        })
    }

    /// How long the workflow says that a workflow task may take.
    pub fn headers(&self) -> std::collections::BTreeMap<String, fermata_proto::common::Payload> {
        self.shared
            .as_ref()
            .map(|shared| shared.info.headers.clone())
            .unwrap_or_default()
    }

    pub fn task_timeout(&self) -> Option<std::time::Duration> {
        self.shared.as_ref()?.info.task_timeout
    }

    fn with_state<T: Default>(&mut self, take: impl FnOnce(&mut State) -> T) -> T {
        match &self.shared {
            Some(shared) => take(&mut shared.state()),
            None => T::default(),
        }
    }

    /// Asks the code.
    pub fn query(&self, query: &WorkflowQuery) -> Result<Option<Payloads>, Box<Failure>> {
        let (handler, known) = {
            let state = self.shared.as_ref().map(|shared| shared.state());
            let handler = state
                .as_ref()
                .and_then(|state| state.queries.get(&query.query_type).cloned());
            let known: Vec<String> = state
                .map(|state| state.queries.keys().cloned().collect())
                .unwrap_or_default();
            (handler, known)
        };
        let refusal = |error_type: &str, text: String| {
            let error = ApplicationError::new(text).with_type(error_type);
            Err(Box::new(error.into_failure()))
        };
        let Some(handler) = handler else {
            let text = format!(
                "unknown query type {:?}; this workflow answers [{}]",
                query.query_type,
                known.join(", ")
            );
            return refusal("UnknownQuery", text);
        };
        let read_only = |is_read_only| {
            if let Some(shared) = &self.shared {
                shared.state().is_read_only = is_read_only;
            }
        };
        read_only(true);
        let asked = AssertUnwindSafe(|| handler(query.query_args.as_ref()));
        let answer = catch_unwind(asked);
        read_only(false);
        answer.unwrap_or_else(|panic| {
            let text = format!("the query handler panicked: {}", panic_message(&*panic));
            refusal("Panic", text)
        })
    }

    fn shared(&self) -> Result<&Rc<Shared>, TaskFailure> {
        self.shared.as_ref().ok_or(TaskFailure::NotStarted)
    }

    fn apply(
        &mut self,
        event: &HistoryEvent,
        attributes: &HistoryEventAttributes,
    ) -> Result<(), TaskFailure> {
        use HistoryEventAttributes as A;
        if let A::WorkflowExecutionStarted(started) = attributes {
            return self.begin(event, started);
        }
        let mut state = self.shared()?.state();
        if state.passes_over(event) {
            return Ok(());
        }
        let mut scratch = String::new();
        if let Some(shown) = command::shown(event, &mut scratch) {
            let sequence = state.commands.meet(event, &shown)?;
            match shown.kind {
                CommandType::ScheduleActivityTask => state.met_activity(sequence, event),
                CommandType::StartChildWorkflowExecution => state.met_child(sequence, event),
                CommandType::SignalExternalWorkflowExecution
                | CommandType::RequestCancelExternalWorkflowExecution => {
                    state.met_external(sequence, event);
                }
                _ => {}
            }
            return Ok(());
        }
        let known = match attributes {
            A::ActivityTaskCompleted(_)
            | A::ActivityTaskFailed(_)
            | A::ActivityTaskTimedOut(_)
            | A::ActivityTaskCanceled(_) => state.end_activity(attributes),
            A::TimerFired(fired) => state.fire_timer(&fired.timer_id),
            A::ChildWorkflowExecutionStarted(_)
            | A::StartChildWorkflowExecutionFailed(_)
            | A::ChildWorkflowExecutionCompleted(_)
            | A::ChildWorkflowExecutionFailed(_)
            | A::ChildWorkflowExecutionCanceled(_)
            | A::ChildWorkflowExecutionTimedOut(_)
            | A::ChildWorkflowExecutionTerminated(_) => state.move_child(event, attributes),
            A::ExternalWorkflowExecutionSignaled(_)
            | A::ExternalWorkflowExecutionCancelRequested(_)
            | A::SignalExternalWorkflowExecutionFailed(_)
            | A::RequestCancelExternalWorkflowExecutionFailed(_) => {
                state.answer_external(attributes)
            }
            A::WorkflowExecutionSignaled(signal) => {
                state.signals.arrived.push_back(Signal {
                    name: signal.signal_name.clone(),
                    input: signal.input.clone(),
                });
                true
            }
            A::WorkflowExecutionUpdateAdmitted(admitted) => {
                if let Some(request) = &admitted.request {
                    state.updates.admit(event.event_id, request);
                }
                true
            }
            A::WorkflowExecutionCancelRequested(cancel) => {
                state
                    .cancel_requested
                    .get_or_insert_with(|| cancel.cause.clone());
                true
            }
            A::WorkflowTaskFailed(failed)
                if failed.cause == WorkflowTaskFailedCause::ResetWorkflow =>
            {
                // A run that was reset must not repeat the random numbers of the run it branched off from.
                state.reseed(Random::seeded_by(&failed.new_run_id));
                true
            }
            _ => true,
        };
        if !known {
            return Err(NonDeterminism::Unknown {
                event_id: event.event_id,
                event: format!("{:?}", attributes.event_type()),
            }
            .into());
        }
        Ok(())
    }

    fn begin(
        &mut self,
        event: &HistoryEvent,
        started: &fermata_proto::event::WorkflowExecutionStartedEventAttributes,
    ) -> Result<(), TaskFailure> {
        let seed = if started.original_execution_run_id.is_empty() {
            &self.name.run_id
        } else {
            &started.original_execution_run_id
        };
        let info = WorkflowInfo::new(&self.name, event, started);
        let mut state = State::new(Random::seeded_by(seed));
        state.memo.clone_from(&info.memo);
        state.search_attributes.clone_from(&info.search_attributes);
        let shared = Rc::new(Shared {
            state: RefCell::new(state),
            info,
            converter: self.converter.clone(),
        });
        let context = WorkflowContext::new(shared.clone());
        let (definition, input) = (&self.definition, started.input.as_ref());
        let code = catch_unwind(AssertUnwindSafe(|| definition(context, input)))
            .map_err(|panic| TaskFailure::Panic(panic_message(&*panic).to_owned()))?;
        let ended = Rc::downgrade(&shared);
        self.executor.spawn(Box::pin(async move {
            let result = code.await;
            if let Some(shared) = ended.upgrade() {
                shared.state().result = Some(result);
            }
        }));
        self.shared = Some(shared);
        Ok(())
    }

    /// Lets the code go on from a started workflow task. A task of history comes with the events after it.
    fn start_task(
        &mut self,
        event: &HistoryEvent,
        started: &WorkflowTaskStartedEventAttributes,
        ahead: Option<&[HistoryEvent]>,
    ) -> Result<(), TaskFailure> {
        let shared = self.shared()?.clone();
        {
            let mut state = shared.state();
            state.commands.check_all_met(event.event_id)?;
            state.now = event.event_time.unwrap_or(state.now);
            state.task_started = state.now;
            state.is_replaying = ahead.is_some();
            state.recorded = ahead.map(Recorded::ahead).unwrap_or_default();
            state.history_length = event.event_id;
            state.history_bytes = started.history_size_bytes;
            state.suggest_continue_as_new = started.suggest_continue_as_new;
            if ahead.is_some() {
                let accepted = std::mem::take(&mut state.recorded.updates);
                state.updates.replay_task(accepted.iter().map(|a| &**a));
            } else {
                let arrived = std::mem::take(&mut self.arrived);
                state.updates.begin_task(arrived);
            }
        }
        self.go_on(&shared)?;
        if ahead.is_none() {
            return Ok(());
        }
        while !self.is_closed {
            let Some(recorded) = shared.state().recorded.local_activities.pop_front() else {
                break;
            };
            shared.state().replay_local_activity(recorded)?;
            self.go_on(&shared)?;
        }
        let mut state = shared.state();
        let _sent = state.commands.send();
        // They were said when the task was live.
        drop(state.updates.take_messages());
        drop(state);
        #[cfg(test)]
        self.replayed.push(_sent);
        Ok(())
    }

    /// Polls the code until it can go no further.
    fn go_on(&mut self, shared: &Rc<Shared>) -> Result<(), TaskFailure> {
        self.pulse.fetch_add(1, Ordering::Relaxed);
        catch_unwind(AssertUnwindSafe(|| {
            deliver_signals(shared);
            deliver_cancel(shared);
            loop {
                update::deliver(shared, &mut self.executor);
                self.executor.run(shared);
                // The code may have registered a handler for an update that waited.
                let state = shared.state();
                if state.result.is_some() || !state.updates.has_next() {
                    break;
                }
            }
        }))
        .map_err(|panic| TaskFailure::Panic(panic_message(&*panic).to_owned()))?;
        let mut state = shared.state();
        if let Some(ended) = state.result.take() {
            let closing = close::closing_command(&state, &shared.info, ended)?;
            let sequence = state.next_sequence();
            state.commands.push(sequence, closing);
            self.is_closed = true;
            if !state.is_replaying {
                state.updates.warn_of_unfinished(&shared.info.workflow_id);
            }
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else {
            return;
        };
        // Handlers may hold contexts, which hold the state: take them out, or the run would keep itself alive.
        let held = {
            let mut state = shared.state();
            state.is_torn_down = true;
            let queries = std::mem::take(&mut state.queries);
            let signals = std::mem::take(&mut state.signals.handlers);
            let updates = std::mem::take(&mut state.updates.handlers);
            let spawned = std::mem::take(&mut state.spawned);
            (queries, signals, updates, spawned)
        };
        let executor = std::mem::take(&mut self.executor);
        // What the code holds is code of users too, and whoever drops a run is at work on another.
        let dropped = catch_unwind(AssertUnwindSafe(|| {
            drop(held);
            drop(executor);
        }));
        if let Err(panic) = dropped {
            tracing::warn!(
                workflow_id = self.name.workflow_id,
                panic = panic_message(&*panic),
                "workflow code panicked while its run left the memory"
            );
        }
    }
}

fn is_completed(next: Option<&HistoryEvent>) -> bool {
    matches!(
        next.and_then(|event| event.attributes.as_ref()),
        Some(HistoryEventAttributes::WorkflowTaskCompleted(_))
    )
}

/// Hands signals to their handlers, in the order of history; what has none waits for a stream.
fn deliver_signals(shared: &Rc<Shared>) {
    loop {
        let (signal, handler) = {
            let mut state = shared.state();
            let Some(signal) = state.signals.arrived.pop_front() else {
                break;
            };
            let handler = state.signals.handlers.get(&signal.name).cloned();
            (signal, handler)
        };
        match handler {
            Some(handler) => handler(signal.input.as_ref()),
            None => shared.state().signals.keep(signal),
        }
    }
}

fn deliver_cancel(shared: &Rc<Shared>) {
    let mut state = shared.state();
    if state.cancel_requested.is_some() && !state.is_cancel_delivered {
        state.is_cancel_delivered = true;
        state.cancel_workflow();
    }
}
