//! Everything that can move a workflow, decided one after the other on the speculative state.
//!
//! | work | addressed by |
//! |---|---|
//! | a request | its namespace and workflow id, and the run it names |
//! | a reset, with the history it has to see ([`super::reset`]) | as a request |
//! | a deadline that is due | the run |
//! | the answer to an outbox entry | the run that sent it |
//! | a sticky task that nobody heard | the run of the task |
//! | the end of a worker | each run of which it holds something |
//!
//! Work whose workflow is not in memory is parked with that workflow while its records are loaded; other workflows go on.
//! Nothing here waits: what leaves is put into the group in the making, and goes out with the log's acknowledgement.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fermata_core::reset::Past;
use fermata_core::{Context, Decision, Effect, Input, Reply, Run, View, decide};
use fermata_proto::enums::TaskQueueKind;
use fermata_proto::error_details::NamespaceNotFoundFailure;
use fermata_proto::ids::NamespaceId;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::*;
use fermata_proto::subjects::TaskKind;
use tracing::{error, warn};

use super::address::{self, WorkflowKey};
use super::claimants::Lost;
use super::commit::{DECISION_BYTES_MAX, Delivery};
use super::owner::Owner;
use super::release::{Answering, Asker, Dispatch, message_id};
use super::state::{Loaded, RunId, Workflow};
use crate::record::Deletion;

/// A deadline that stays due although nothing is done about it is looked at again after this.
const STUCK_DEADLINE: std::time::Duration = std::time::Duration::from_secs(1);

/// See the module.
pub enum Work {
    Request {
        call: Box<Call>,
        asker: Asker,
    },
    /// A reset, with as much of the history it has to see as was read so far.
    Reset {
        call: Box<Call>,
        asker: Asker,
        past: Vec<Past>,
    },
    Deadline {
        key: WorkflowKey,
        run_id: RunId,
    },
    Delivered {
        key: WorkflowKey,
        run_id: RunId,
        outbox_id: u64,
        answer: Answer,
    },
    Unheard(Box<TaskReference>),
    WorkerLost {
        key: WorkflowKey,
        lost: Lost,
    },
}

/// Work that waits for its workflow's records.
pub struct Parked {
    pub work: Work,
    pub address: Address,
}

/// What has to be in memory for a piece of work.
#[derive(Debug, Clone)]
pub struct Address {
    pub key: WorkflowKey,
    /// The run that is named; none for the current one.
    pub run_id: Option<RunId>,
}

enum Residency {
    Ready,
    /// Its records are on the way.
    Waits,
    /// Its records have to be loaded.
    Absent,
}

impl Work {
    fn address(&self) -> Address {
        match self {
            Self::Request { call, .. } | Self::Reset { call, .. } => Address {
                key: WorkflowKey::of(&call.namespace_id, &call.workflow_id),
                run_id: address::run_id(&call.request).map(Into::into),
            },
            Self::Deadline { key, run_id } | Self::Delivered { key, run_id, .. } => Address {
                key: *key,
                run_id: Some(run_id.clone()),
            },
            Self::WorkerLost { key, lost } => Address {
                key: *key,
                run_id: Some(lost.run_id.clone()),
            },
            Self::Unheard(task) => Address {
                key: WorkflowKey::of(&task.namespace_id, &task.workflow_id),
                run_id: Some(task.run_id.as_str().into()),
            },
        }
    }
}

/// Who a decision is about, and who asked.
pub(super) struct Asked {
    pub address: Address,
    pub namespace: Arc<NamespaceRecord>,
    pub asker: Option<Asker>,
    /// How long whoever asked still waits.
    pub wait_ms: u32,
}

impl Owner {
    /// Decides `work`, or parks it until its workflow is in memory.
    pub(super) fn on_work(&mut self, work: Work) {
        let address = work.address();
        match self.residency(&address) {
            Residency::Ready => self.execute(work, address),
            Residency::Waits => self.park(Parked { work, address }),
            Residency::Absent => {
                self.begin_load(&address);
                self.park(Parked { work, address });
            }
        }
    }

    fn residency(&mut self, address: &Address) -> Residency {
        let state = &mut self.state;
        let Some(workflow) = state.workflows.get(&address.key) else {
            if state.presence.is_certainly_absent(address.key) {
                state.workflows.insert(address.key, Workflow::default());
                return Residency::Ready;
            }
            return Residency::Absent;
        };
        if workflow.loading {
            return Residency::Waits;
        }
        let is_loaded =
            |run_id: &RunId| state.runs.contains_key(run_id) || state.deleted.contains_key(run_id);
        let needed = [workflow.current.as_ref(), address.run_id.as_ref()];
        if needed.into_iter().flatten().all(is_loaded) {
            Residency::Ready
        } else {
            Residency::Absent
        }
    }

    fn park(&mut self, parked: Parked) {
        if self.parked >= self.shared.options.requests_queued_max
            && let Work::Request { asker, .. } | Work::Reset { asker, .. } = parked.work
        {
            asker.answer(Err(super::intake::overloaded()));
            return;
        }
        self.parked += 1;
        let workflow = self.state.workflows.entry(parked.address.key).or_default();
        workflow.parked.push_back(parked);
    }

    /// Goes on with what waited for a workflow's records, in order; the first one takes what was found as all there is.
    pub(super) fn resume(&mut self, key: WorkflowKey) {
        let mut is_first = true;
        while let Some(workflow) = self.state.workflows.get_mut(&key)
            && !workflow.loading
            && let Some(parked) = workflow.parked.pop_front()
        {
            if !is_first && !matches!(self.residency(&parked.address), Residency::Ready) {
                self.begin_load(&parked.address);
                if let Some(workflow) = self.state.workflows.get_mut(&key) {
                    workflow.parked.push_front(parked);
                }
                return;
            }
            is_first = false;
            self.parked -= 1;
            self.execute(parked.work, parked.address);
        }
        self.state.forget_workflow(key);
    }

    fn execute(&mut self, work: Work, address: Address) {
        let key = address.key;
        self.group.decisions += 1;
        match work {
            Work::Request { call, asker } => self.on_request(*call, asker, address),
            Work::Reset { call, asker, past } => self.on_reset(call, asker, past, address),
            Work::Deadline { run_id, .. } => self.on_deadline(run_id, address),
            Work::Delivered {
                outbox_id, answer, ..
            } => {
                let input = Input::Delivered { outbox_id, answer };
                self.on_internal(input, address);
            }
            Work::Unheard(task) => self.on_unheard(*task),
            Work::WorkerLost { lost, .. } => {
                let input = Input::WorkerLost {
                    worker_id: lost.worker_id.to_string(),
                    silent_for: lost.silent_for,
                };
                self.on_internal(input, address);
            }
        }
        for work in std::mem::take(&mut self.again) {
            self.on_work(work);
        }
        let is_unused = self
            .state
            .workflows
            .get(&key)
            .is_some_and(|workflow| workflow.current.is_none());
        if is_unused {
            self.state.forget_workflow(key);
        }
    }

    fn on_request(&mut self, call: Call, asker: Asker, address: Address) {
        if let Some(reason) = self.state.corrupt.get(&address.key) {
            let rejection = Rejection::new(RejectionKind::Corrupt, &**reason);
            self.answer(asker, Answering::Ready(Err(rejection)));
            return;
        }
        let Some(namespace) = self.namespaces.record(&call.namespace_id).cloned() else {
            self.answer(
                asker,
                Answering::Ready(Err(no_namespace(&call.namespace_id))),
            );
            return;
        };
        match call.request {
            Request::DescribeWorkflowExecution(_)
            | Request::GetWorkflowExecutionHistory(_)
            | Request::GetWorkflowExecutionHistoryReverse(_)
            | Request::QueryWorkflow(_)
            | Request::PollWorkflowExecutionUpdate(_)
            | Request::RespondQueryTaskCompleted(_) => self.on_read(call, asker, &address),
            Request::ClaimWorkflowTask(claim) if claim.task.query_id.is_some() => {
                self.on_claim_query(&claim, asker, &address);
            }
            Request::DescribeSchedule(_) if self.waits_for_starts(&address, &asker) => {
                self.park_describe(call, asker, &address);
            }
            Request::ResetWorkflowExecution(_) => {
                self.on_reset(Box::new(call), asker, Vec::new(), address);
            }
            request => {
                let asked = Asked {
                    address,
                    namespace,
                    asker: Some(asker),
                    wait_ms: call.wait_ms,
                };
                self.on_input(asked, &Input::Request(request));
            }
        }
    }

    fn on_deadline(&mut self, run_id: RunId, address: Address) {
        // Its entry in the heap is used up: whatever comes next is armed anew.
        if let Some(loaded) = self.state.runs.get_mut(&run_id) {
            loaded.deadline = None;
        }
        let key = address.key;
        self.on_internal(Input::Deadline, address);
        if self.state.corrupt.contains_key(&key) {
            return;
        }
        self.rearm(&run_id);
        let now = self.now;
        let Some(loaded) = self.state.runs.get_mut(&run_id) else {
            return;
        };
        if loaded.deadline.is_some_and(|deadline| deadline <= now)
            && loaded.changed_at < self.appended.next()
        {
            warn!(partition = %self.partition, %run_id, "a deadline stays due; nothing is done about it");
            let again = now + STUCK_DEADLINE;
            loaded.deadline = Some(again);
            self.state.deadlines.arm(again, run_id);
        }
    }

    /// Work that nobody asked for. A namespace that is gone does not stop its workflows.
    fn on_internal(&mut self, input: Input, address: Address) {
        if self.state.corrupt.contains_key(&address.key) {
            return;
        }
        let run = address
            .run_id
            .as_ref()
            .and_then(|run_id| self.state.runs.get(run_id));
        let Some(run) = run.map(|loaded| loaded.run.clone()) else {
            return;
        };
        let namespace = self
            .namespaces
            .record(&run.namespace_id)
            .cloned()
            .unwrap_or_else(|| {
                Arc::new(NamespaceRecord {
                    id: run.namespace_id.clone(),
                    ..NamespaceRecord::default()
                })
            });
        let asked = Asked {
            address,
            namespace,
            asker: None,
            wait_ms: 0,
        };
        self.on_input(asked, &input);
    }

    /// A sticky task goes to the normal queue, if it is still wanted.
    fn on_unheard(&mut self, task: TaskReference) {
        let Some(loaded) = self.state.touch(&task.run_id) else {
            return;
        };
        let is_query = task.query_id.is_some();
        let is_open = loaded.run.workflow_task.as_ref().is_some_and(|open| {
            !open.is_started()
                && open.scheduled_event_id == task.scheduled_event_id
                && open.attempt == task.attempt
                && open.stamp == task.stamp
        });
        if !is_open && !is_query {
            return;
        }
        let queue = loaded.run.started.task_queue.clone().unwrap_or_default();
        let message_id = message_id(&task, &self.round());
        self.group.released.dispatches.push(Dispatch::Queue {
            kind: TaskKind::Workflow,
            queue: queue.name,
            task,
            message_id,
        });
    }

    /// The one place where the rules are asked.
    pub(super) fn on_input(&mut self, asked: Asked, input: &Input) {
        let (current, run) = self.view(&asked.address);
        let view = View {
            current: current.as_deref(),
            run: run.as_deref(),
        };
        let span = tracing::debug_span!(
            "decide",
            namespace = asked.namespace.name,
            workflow_id = view
                .run
                .or(view.current)
                .map(|run| run.workflow_id.as_str()),
            run_id = asked.address.run_id.as_deref(),
        );
        let _in_span = span.enter();
        let ctx = Context::new(
            self.now,
            self.rng.u64(..),
            &asked.namespace,
            &*self.namespaces,
            &self.shared.options.limits,
        );
        // A broken invariant of one workflow stops that workflow alone.
        let decided = catch_unwind(AssertUnwindSafe(|| decide(&view, input, &ctx)));
        match decided {
            Ok(Ok(decision)) => self.stage(asked, input, decision),
            Ok(Err(rejection)) => {
                if let Some(asker) = asked.asker {
                    self.answer(asker, Answering::Ready(Err(rejection)));
                }
            }
            Err(panic) => self.on_corrupt(asked, &panic_words(&*panic)),
        }
    }

    fn on_corrupt(&mut self, asked: Asked, words: &str) {
        let reason = format!("this workflow has stopped: a broken invariant: {words}");
        self.stop_workflow(asked.address.key, &reason);
        if let Some(asker) = asked.asker {
            let rejection = Rejection::new(RejectionKind::Corrupt, reason);
            self.answer(asker, Answering::Ready(Err(rejection)));
        }
    }

    /// Stops one workflow: its requests are refused in these words until an operator has looked at it.
    pub(super) fn stop_workflow(&mut self, key: WorkflowKey, reason: &str) {
        error!(partition = %self.partition, key = format!("{:032x}", key.0), reason, "a workflow has stopped");
        self.state.corrupt.insert(key, reason.into());
    }

    /// The states that a decision about `address` builds on.
    pub(super) fn view(&mut self, address: &Address) -> (Option<Arc<Run>>, Option<Arc<Run>>) {
        let current = self
            .state
            .workflows
            .get(&address.key)
            .and_then(|workflow| workflow.current.clone())
            .and_then(|run_id| Some(self.state.touch(&run_id)?.run.clone()))
            .filter(|run| self.is_retained(run));
        let run = match &address.run_id {
            None => current.clone(),
            Some(run_id) => self
                .state
                .touch(run_id)
                .filter(|loaded| loaded.key == address.key)
                .map(|loaded| loaded.run.clone())
                .filter(|run| self.is_retained(run)),
        };
        (current, run)
    }

    /// Whether a run has not outlived its namespace's retention: the store has dropped it then, memory may not have.
    fn is_retained(&self, run: &Run) -> bool {
        let Some(closed) = run.close_time.filter(|_| !run.is_open()) else {
            return true;
        };
        self.namespaces
            .record(&run.namespace_id)
            .is_none_or(|namespace| closed + namespace.retention > self.now)
    }

    /// Keeps the states after a decision and puts all that follows from it into the group.
    fn stage(&mut self, asked: Asked, input: &Input, decision: Decision) {
        let mark = self.group.writer.mark();
        for transition in &decision.transitions {
            self.group.writer.push(transition);
        }
        let bytes = self.group.writer.bytes() - mark.0;
        if bytes > DECISION_BYTES_MAX {
            self.group.writer.take_back(mark);
            if let Some(asker) = asked.asker {
                let rejection = Rejection::invalid_argument(format!(
                    "the request leads to {bytes} bytes of history at once; at most {DECISION_BYTES_MAX} are possible"
                ));
                self.answer(asker, Answering::Ready(Err(rejection)));
            }
            return;
        }
        self.shared
            .metrics
            .transitions
            .inc_by(decision.transitions.len() as u64);
        let key = asked.address.key;
        let mut settled = Vec::new();
        for (transition, run) in decision.transitions.into_iter().zip(decision.runs) {
            let creates = transition.creates;
            let batches = transition.batches();
            settled.push(self.keep(key, creates, batches, Arc::new(run)));
        }
        for effect in decision.effects {
            self.on_effect(key, effect);
        }
        self.on_queries(&settled, input, decision.reply.is_ok());
        match decision.reply {
            Ok(Reply::Update(awaited)) => {
                if let Some(asker) = asked.asker {
                    self.on_awaited(*awaited, asked.wait_ms, asker);
                }
            }
            reply => {
                let answering = self.answering(reply, input);
                if let Some(asker) = asked.asker {
                    self.answer(asker, answering);
                }
            }
        }
        for (run_id, _) in &settled {
            self.settle_queries(run_id);
            self.settle_describes(run_id);
        }
    }

    /// Replaces a run's speculative state; gives the state before.
    fn keep(
        &mut self,
        key: WorkflowKey,
        creates: bool,
        batches: Vec<Vec<Arc<fermata_proto::event::HistoryEvent>>>,
        run: Arc<Run>,
    ) -> (RunId, Option<Arc<Run>>) {
        let sequence = self.appended.next();
        let run_id: RunId = run.run_id.as_str().into();
        if creates {
            let workflow = self.state.workflows.entry(key).or_default();
            workflow.current = Some(run_id.clone());
            self.state.insert(Loaded::begun(key, run.clone()));
        }
        let loaded = self
            .state
            .touch(&run_id)
            .expect("a decision changes runs that are loaded or that it creates");
        let before = (!creates).then(|| loaded.run.clone());
        let bytes_before = before.as_ref().map_or(0, |run| run.history_bytes);
        let bytes = usize::try_from(run.history_bytes - bytes_before).unwrap_or(0);
        if creates || before.as_ref().is_some_and(|before| before.is_open()) != run.is_open() {
            loaded.current_at = sequence;
        }
        loaded.history.push_all(batches, bytes);
        loaded.run = run.clone();
        loaded.changed_at = sequence;
        self.state.claimants.note(&run_id, &run.claimants());
        self.state.dirty.insert(run_id.clone());
        self.state.recount(&run_id);
        self.rearm(&run_id);
        self.group.applied.push((run_id.clone(), run));
        (run_id, before)
    }

    /// Arms a run's next deadline if it has moved.
    fn rearm(&mut self, run_id: &RunId) {
        let Some(loaded) = self.state.runs.get_mut(run_id) else {
            return;
        };
        let next = loaded.run.next_deadline();
        if next != loaded.deadline {
            loaded.deadline = next;
            if let Some(deadline) = next {
                self.state.deadlines.arm(deadline, run_id.clone());
            }
        }
    }

    pub(super) fn on_effect(&mut self, key: WorkflowKey, effect: Effect) {
        match effect {
            Effect::DispatchWorkflowTask { .. } | Effect::DispatchActivityTask { .. } => {
                if let Some(dispatch) = dispatch(effect, "") {
                    self.group.released.dispatches.push(dispatch);
                }
            }
            Effect::Deliver { run_id, outbox_id } => {
                let run_id: RunId = run_id.into();
                let entry = self
                    .state
                    .runs
                    .get(&run_id)
                    .and_then(|loaded| loaded.run.outbox.get(&outbox_id));
                // An entry that the same decision took back again is not sent.
                if let Some(entry) = entry {
                    let entry = Arc::new(entry.clone());
                    self.group
                        .released
                        .deliveries
                        .push(Delivery { key, run_id, entry });
                }
            }
            Effect::PublishVisibility { run_id } => {
                let sequence = self.appended.next();
                if let Some(loaded) = self.state.runs.get_mut(run_id.as_str()) {
                    loaded.visible_at = sequence;
                    self.state.unpublished.insert(run_id.into());
                }
            }
            Effect::Delete { run_id } => self.on_delete(key, &run_id),
            Effect::UpdateMoved {
                run_id,
                update_id,
                status,
            } => self.on_update_moved(&run_id, &update_id, &status),
        }
    }

    fn on_delete(&mut self, key: WorkflowKey, run_id: &str) {
        let Some(loaded) = self.state.remove(run_id) else {
            return;
        };
        let run_id: RunId = run_id.into();
        let deletion = Deletion {
            namespace_id: loaded.run.namespace_id.clone(),
            workflow_id: loaded.run.workflow_id.clone(),
            run_id: run_id.to_string(),
        };
        if let Some(workflow) = self.state.workflows.get_mut(&key)
            && workflow.current.as_ref() == Some(&run_id)
        {
            workflow.current = None;
        }
        for waiter in loaded.waiters {
            self.waiting.done(waiter.id);
            let gone = super::reads::not_found(&deletion.workflow_id, &run_id);
            self.answer(waiter.asker, Answering::Ready(Err(gone)));
        }
        for caller in loaded.callers {
            self.waiting.done(caller.id);
            let gone = super::reads::not_found(&deletion.workflow_id, &run_id);
            let answer = caller.wait.refuse(gone);
            self.answer(caller.asker, Answering::Ready(answer));
        }
        for describer in loaded.describers {
            self.waiting.done(describer.id);
            self.again.push(describer.asks_again());
        }
        let sequence = self.appended.next();
        self.group.deletions.push(deletion.clone());
        self.state.still_listed.insert(run_id.clone());
        self.state.deleted.insert(run_id, (sequence, deletion));
    }

    /// What tells a dispatch that is meant to be repeated from one that happens twice.
    pub(super) fn round(&self) -> String {
        format!("/{}.{}", self.epoch, self.rounds)
    }
}

/// A task's way to its queue; nothing for other effects.
pub fn dispatch(effect: Effect, round: &str) -> Option<Dispatch> {
    match effect {
        Effect::DispatchWorkflowTask { task, queue } => {
            let message_id = message_id(&task, round);
            Some(if queue.kind == TaskQueueKind::Sticky {
                Dispatch::Sticky {
                    queue: queue.name,
                    otherwise: queue.normal_name,
                    task,
                    message_id,
                }
            } else {
                Dispatch::Queue {
                    kind: TaskKind::Workflow,
                    queue: queue.name,
                    task,
                    message_id,
                }
            })
        }
        Effect::DispatchActivityTask { task, queue } => {
            let message_id = message_id(&task, round);
            Some(Dispatch::Queue {
                kind: TaskKind::Activity,
                queue,
                task,
                message_id,
            })
        }
        Effect::Deliver { .. }
        | Effect::PublishVisibility { .. }
        | Effect::Delete { .. }
        | Effect::UpdateMoved { .. } => None,
    }
}

pub(super) fn no_namespace(id: &NamespaceId) -> Rejection {
    Rejection::new(
        RejectionKind::NotFound,
        format!("Namespace {id} is not found."),
    )
    .with(ErrorDetail::NamespaceNotFound(NamespaceNotFoundFailure {
        namespace: id.to_string(),
    }))
}

pub fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| {
            panic
                .downcast_ref::<&str>()
                .map(|words| (*words).to_owned())
        })
        .unwrap_or_else(|| "no words".to_owned())
}
