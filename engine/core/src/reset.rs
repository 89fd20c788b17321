//! Reset: a new run that keeps a run's history up to a workflow task and goes on from there with a new one.
//!
//! | part of the new run's history | from |
//! |---|---|
//! | up to the reset point | the base run, event by event, in the same batches |
//! | WorkflowTaskFailed (RESET_WORKFLOW) | the task at the reset point, started if it was not |
//! | signals, admitted updates, what became of kept children | the base run behind the point, and the runs it continued as |
//! | a workflow task | |
//!
//! The run that is open now, whichever it is, is terminated in the same decision. What the point leaves pending goes on in the
//! new run: timers at their time, activities as a new first attempt, requests to others under their old request ids.
//! Children from before the point are kept and report to the new run; those behind it end as their policy says.
//!
//! Deliberately absent: reading history. The shell hands over what [`Past`] asks for.

use std::collections::BTreeSet;
use std::sync::Arc;

use fermata_proto::enums::*;
use fermata_proto::event::*;
use fermata_proto::failure::{Failure, FailureFailureInfo, ResetWorkflowFailureInfo};
use fermata_proto::rpc::{Rejection, RejectionKind, Response, SignalWorkflow};
use fermata_proto::service::{
    ResetWorkflowExecutionRequest, ResetWorkflowExecutionResponse, SignalWorkflowExecutionRequest,
};
use fermata_proto::time::Timestamp;
use fermata_proto::workflow::PostResetOperationVariant;

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Effect, Reply, View};
use crate::run::{RequestIdRecord, ResetBase, ResetFrom, ResetTo, Run};
use crate::transaction::Transaction;
use crate::{activity, child_workflow, close, external, find, schedule, signal, workflow_task};

/// The request id of a started event that no worker asked for, as the reference server writes it.
const NO_REQUEST: &str = "emptyUuid";

/// The batches of one transition after the other.
pub type Batches = Vec<Arc<Vec<Arc<HistoryEvent>>>>;

/// History that a reset has to see: all of the base run, then of each run that the one before was continued as
/// ([`continued_as`]), if anything is to be applied again ([`looks_ahead`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    pub run_id: String,
    pub batches: Batches,
}

/// The base run of a reset that may succeed, before any history is read.
///
/// # Errors
/// As [`find::run`]; INVALID_ARGUMENT for what no history can make good.
pub fn base<'a>(
    view: &View<'a>,
    request: &ResetWorkflowExecutionRequest,
) -> Result<&'a Run, Rejection> {
    let run = find::run(view, request.workflow_execution.as_ref())?;
    if request.request_id.is_empty() {
        return Err(Rejection::invalid_argument(
            "RequestId is not set on request.",
        ));
    }
    let finish = request.workflow_task_finish_event_id;
    if finish <= 1 || finish >= run.next_event_id {
        return Err(Rejection::invalid_argument(
            "Workflow task finish ID must be > 1 && <= workflow last event ID.",
        ));
    }
    Ok(run)
}

/// The run that follows one whose last event this is, if it was continued as new.
pub fn continued_as(last: &HistoryEvent) -> Option<&str> {
    match last.attributes.as_ref()? {
        HistoryEventAttributes::WorkflowExecutionContinuedAsNew(attributes) => {
            Some(&attributes.new_execution_run_id)
        }
        _ => None,
    }
}

/// Whether the runs after the base run matter.
pub fn looks_ahead(request: &ResetWorkflowExecutionRequest) -> bool {
    let again = Again::of(request);
    again.signals || again.updates
}

/// What is applied again.
struct Again {
    signals: bool,
    updates: bool,
}

impl Again {
    fn of(request: &ResetWorkflowExecutionRequest) -> Self {
        let excluded = |kind| request.reset_reapply_exclude_types.contains(&kind);
        let (signals, updates) = match request.reset_reapply_type {
            ResetReapplyType::None => (false, false),
            ResetReapplyType::Signal => (true, false),
            ResetReapplyType::Unspecified | ResetReapplyType::AllEligible => (true, true),
        };
        Self {
            signals: signals && !excluded(ResetReapplyExcludeType::Signal),
            updates: updates && !excluded(ResetReapplyExcludeType::Update),
        }
    }
}

pub(crate) fn on_reset(
    view: &View<'_>,
    request: &ResetWorkflowExecutionRequest,
    past: &[Past],
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let base = base(view, request)?;
    let operations = operations(request)?;
    let point = request.workflow_task_finish_event_id - 1;
    let history = past
        .first()
        .filter(|past| past.run_id == base.run_id)
        .expect("the shell hands over the base run's history");
    let kept = kept(&history.batches, point)?;
    let again = Again::of(request);

    let mut reset = begin(base, kept, point, ctx);
    fail_task(&mut reset, base, request)?;
    let new_run_id = reset.run().run_id.clone();

    let current = view.current.filter(|run| run.is_open());
    let mut terminated = current.map(|current| {
        let mut tx = Transaction::of(current, ctx);
        let children_kept = (current.run_id == base.run_id).then_some(point);
        close::terminate_for_reset(&mut tx, &request.reason, children_kept);
        tx
    });
    // What the termination lets out of the buffer counts too, if the chain of runs leads there.
    let last_visited = past.last().map_or("", |past| past.run_id.as_str());
    let flushed: Vec<Arc<HistoryEvent>> = terminated
        .iter()
        .filter(|tx| tx.run().run_id == last_visited)
        .flat_map(Transaction::events)
        .cloned()
        .collect();
    let behind = past
        .iter()
        .flat_map(|past| past.batches.iter().flat_map(|batch| batch.iter()))
        .skip(kept_events(kept))
        .chain(&flushed);
    apply_again(&mut reset, behind, &again);
    for signal in operations {
        signal::write_event(&mut reset, &signal);
    }
    resume(&mut reset);
    workflow_task::schedule_if_none(&mut reset);
    reset.effect(Effect::PublishVisibility {
        run_id: new_run_id.clone(),
    });

    let reset_to = Fact::ResetTo(ResetTo {
        run_id: new_run_id.clone(),
        point,
    });
    let mut closed = None;
    match &mut terminated {
        Some(tx) if tx.run().run_id == base.run_id => tx.fact(reset_to),
        _ => {
            let mut tx = Transaction::of(base, ctx);
            tx.fact(reset_to);
            closed = Some(tx);
        }
    }
    let response = ResetWorkflowExecutionResponse { run_id: new_run_id };
    Ok(Decision::of(
        closed.into_iter().chain(terminated).chain([reset]),
        Reply::Response(Response::ResetWorkflowExecution(Box::new(response))),
    ))
}

/// The batches up to the point, which must be the end of one.
fn kept(batches: &Batches, point: i64) -> Result<&[Arc<Vec<Arc<HistoryEvent>>>], Rejection> {
    let last = |batch: &Arc<Vec<Arc<HistoryEvent>>>| batch.last().map_or(0, |last| last.event_id);
    let end = batches.partition_point(|batch| last(batch) < point);
    match batches.get(end) {
        Some(batch) if last(batch) == point => Ok(&batches[..=end]),
        _ => Err(Rejection::invalid_argument(format!(
            "StateRebuilder unable to Rebuild mutable state to event ID: {point}, version: 0, this event must be at the boundary"
        ))),
    }
}

fn kept_events(kept: &[Arc<Vec<Arc<HistoryEvent>>>]) -> usize {
    kept.iter().map(|batch| batch.len()).sum()
}

/// The new run with the history that it keeps.
fn begin<'a>(
    base: &Run,
    kept: &[Arc<Vec<Arc<HistoryEvent>>>],
    point: i64,
    ctx: &'a Context<'a>,
) -> Transaction<'a> {
    let run = Run::new(
        base.namespace_id.clone(),
        base.workflow_id.clone(),
        ctx.new_run_id(),
    );
    let mut tx = Transaction::create(run, ctx);
    for batch in kept {
        for event in batch.iter() {
            tx.copy(event.clone());
        }
        tx.fact(Fact::BatchEnds);
    }
    for (request_id, record) in base.request_ids.iter() {
        if record.event_id != 0 && record.event_id <= point {
            tx.fact(Fact::RequestId {
                request_id: request_id.clone(),
                record: record.clone(),
            });
        }
    }
    schedule::watch_again(&mut tx, base.watcher.as_deref());
    let mut bases = base
        .reset_from
        .as_ref()
        .map_or_else(Vec::new, |from| from.bases.clone());
    bases.push(ResetBase {
        run_id: base.run_id.clone(),
        point,
    });
    tx.fact(Fact::ResetFrom(Box::new(ResetFrom {
        bases,
        time: ctx.now,
        original_start_time: tx.run().start_time,
    })));
    tx
}

/// Fails the workflow task at the point.
fn fail_task(
    tx: &mut Transaction<'_>,
    base: &Run,
    request: &ResetWorkflowExecutionRequest,
) -> Result<(), Rejection> {
    let Some(task) = &tx.run().workflow_task else {
        return Err(Rejection::invalid_argument(format!(
            "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: {}",
            request.workflow_task_finish_event_id
        )));
    };
    if !task.is_started() {
        workflow_task::start(tx, close::HISTORY_SERVICE, NO_REQUEST, "");
    }
    let task = tx.run().workflow_task.as_ref().expect("a started task");
    let attributes = WorkflowTaskFailedEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        cause: WorkflowTaskFailedCause::ResetWorkflow,
        failure: Some(Failure {
            message: request.reason.clone(),
            failure_info: Some(FailureFailureInfo::ResetWorkflowFailureInfo(
                ResetWorkflowFailureInfo::default(),
            )),
            ..Failure::default()
        }),
        identity: close::HISTORY_SERVICE.to_owned(),
        base_run_id: base.run_id.clone(),
        new_run_id: tx.run().run_id.clone(),
        ..WorkflowTaskFailedEventAttributes::default()
    };
    tx.event(attributes);
    Ok(())
}

fn apply_again<'e>(
    tx: &mut Transaction<'_>,
    events: impl Iterator<Item = &'e Arc<HistoryEvent>>,
    again: &Again,
) {
    use HistoryEventAttributes as A;
    // Without a request of its own, an acceptance belongs to an admission that is applied again.
    let mut admitted = BTreeSet::new();
    for event in events {
        let attributes = match &event.attributes {
            Some(A::WorkflowExecutionSignaled(signaled)) if again.signals => {
                let event_id = tx.write(again_now(event, event.attributes.clone()));
                let request_id = &signaled.request_id;
                if !request_id.is_empty() && !tx.run().request_ids.contains_key(request_id) {
                    tx.fact(Fact::RequestId {
                        request_id: request_id.clone(),
                        record: RequestIdRecord {
                            event_type: EventType::WorkflowExecutionSignaled,
                            event_id,
                        },
                    });
                }
                continue;
            }
            Some(A::WorkflowExecutionUpdateAdmitted(update)) if again.updates => {
                update.request.clone()
            }
            Some(A::WorkflowExecutionUpdateAccepted(update)) if again.updates => {
                update.accepted_request.clone()
            }
            Some(_) => {
                if let Some(event) = child_workflow::again(tx.run(), event) {
                    tx.write(event);
                }
                continue;
            }
            None => continue,
        };
        let Some(update) = attributes else { continue };
        let update_id = update.meta.clone().unwrap_or_default().update_id;
        if admitted.insert(update_id) {
            let attributes = WorkflowExecutionUpdateAdmittedEventAttributes {
                request: Some(update),
                origin: UpdateAdmittedEventOrigin::Reapply,
            };
            tx.write(again_now(event, Some(attributes.into())));
        }
    }
}

/// An event of the base run as it happens once more.
fn again_now(event: &HistoryEvent, attributes: Option<HistoryEventAttributes>) -> HistoryEvent {
    HistoryEvent {
        links: event.links.clone(),
        attributes,
        ..HistoryEvent::default()
    }
}

/// What is pending at the point goes on.
fn resume(tx: &mut Transaction<'_>) {
    activity::resume_after_reset(tx);
    child_workflow::send_again(tx);
    external::send_again(tx);
}

/// What the caller wants done to the new run.
fn operations(request: &ResetWorkflowExecutionRequest) -> Result<Vec<SignalWorkflow>, Rejection> {
    request
        .post_reset_operations
        .iter()
        .filter_map(|operation| operation.variant.as_ref())
        .map(|operation| match operation {
            PostResetOperationVariant::SignalWorkflow(signal) => Ok(SignalWorkflow {
                request: SignalWorkflowExecutionRequest {
                    signal_name: signal.signal_name.clone(),
                    input: signal.input.clone(),
                    header: signal.header.clone(),
                    links: signal.links.clone(),
                    identity: request.identity.clone(),
                    ..SignalWorkflowExecutionRequest::default()
                },
                sender: None,
            }),
            PostResetOperationVariant::UpdateWorkflowOptions(_) => Err(Rejection::new(
                RejectionKind::Unimplemented,
                "a reset cannot change a workflow's options yet",
            )),
        })
        .collect()
}

// -- apply -----------------------------------------------------------------------------------------------------------

/// The run begins when it is reset: its time-outs count from then.
pub(crate) fn apply_reset_from(run: &mut Run, from: &ResetFrom) {
    run.start_time = from.time;
    let timeout = run
        .started
        .workflow_execution_timeout
        .filter(|timeout| !timeout.is_zero());
    let expires: Option<Timestamp> = timeout.map(|timeout| from.time + timeout);
    if run.started.workflow_execution_expiration_time != expires {
        Arc::make_mut(&mut run.started).workflow_execution_expiration_time = expires;
    }
    run.reset_from = Some(Box::new(from.clone()));
}

impl Run {
    /// Whether this run goes back to `run_id` by resets.
    pub(crate) fn descends_from(&self, run_id: &str) -> bool {
        self.reset_from
            .as_ref()
            .is_some_and(|from| from.bases.iter().any(|base| base.run_id == run_id))
    }

    /// The run in which an event was first written: this one, or the one it was copied from by resets.
    pub(crate) fn origin_of(&self, event_id: i64) -> &str {
        let bases = self
            .reset_from
            .as_ref()
            .map_or(&[][..], |from| from.bases.as_slice());
        // The oldest of those that all later copies go back to.
        bases
            .iter()
            .rev()
            .take_while(|base| event_id <= base.point)
            .last()
            .map_or(&self.run_id, |base| &base.run_id)
    }
}
