//! The workflows that schedules start: how their starts are answered, and how schedules hear of their ends.
//!
//! A start carries who watches it; every run of the chain keeps that, and the last one tells the schedule through its outbox.

use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::WorkflowExecutionStatus as Status;
use fermata_proto::event::HistoryEventAttributes;
use fermata_proto::rpc::{Answer, Rejection, RejectionKind, Request, Response};
use fermata_proto::schedule::*;

use super::act::Acting;
use super::kept;
use super::state::{LastOutcome, Running};
use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::Run;
use crate::transaction::Transaction;
use crate::{find, start, validate};

/// Actions that describe shows. Temporal's default.
const RECENT_MAX: usize = 10;

// -- the workflow's side ---------------------------------------------------------------------------------------------

/// A schedule asks for a workflow.
pub(crate) fn on_start(
    view: &View<'_>,
    scheduled: &StartScheduledWorkflow,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    // A repeat, whose first answer was lost, may find a later run of the chain, which does not know the request's id.
    let is_same = |watcher: &Watcher| {
        scheduled
            .watcher
            .as_ref()
            .is_some_and(|ours| ours.request_id == watcher.request_id)
    };
    let known = view
        .current
        .filter(|run| run.watcher.as_deref().is_some_and(is_same));
    if let Some(current) = known {
        return Ok(Decision::reply(started(current, ctx)));
    }
    let request = validate::start(&scheduled.start, ctx)?;
    match start::admit(view, &request, ctx)? {
        start::Admission::Existing { run, .. } => Ok(Decision::reply(started(run, ctx))),
        start::Admission::New { terminated } => {
            let watcher = scheduled.watcher.as_ref();
            let tx = start::begin_with(&request, &start::Origin::default(), ctx, |tx| {
                watch_again(tx, watcher);
            });
            let terminated = start::terminate(terminated, &tx);
            let reply = started(tx.run(), ctx);
            Ok(Decision::of(terminated.into_iter().chain([tx]), reply))
        }
    }
}

/// The answer names the first run of the chain: that is the one which was started.
fn started(run: &Run, ctx: &Context<'_>) -> Reply {
    let mut response = start::response(run, true, ctx);
    response
        .run_id
        .clone_from(&run.started.first_execution_run_id);
    Reply::Response(Response::StartWorkflowExecution(Box::new(response)))
}

/// The next run of a chain is watched too.
pub(crate) fn watch_again(tx: &mut Transaction<'_>, watcher: Option<&Watcher>) {
    if let Some(watcher) = watcher {
        tx.fact(Fact::Watcher(Box::new(watcher.clone())));
    }
}

/// At the end of a chain: tells whoever watches it. Called after the closing event.
pub(crate) fn tell_watcher(tx: &mut Transaction<'_>) {
    let run = tx.run();
    let (Some(watcher), Some(close_event)) = (run.watcher.clone(), &run.close_event) else {
        return;
    };
    let closed = ScheduledWorkflowClosed {
        run_id: watcher.run_id,
        request_id: watcher.request_id,
        close_event: (**close_event).clone(),
    };
    tx.send(
        watcher.namespace_id,
        watcher.workflow_id,
        Request::RecordScheduledWorkflowClosed(Box::new(closed)),
    );
}

// -- the schedule's side ---------------------------------------------------------------------------------------------

/// The answer to a start.
pub(crate) fn on_start_answered(
    tx: &mut Transaction<'_>,
    scheduled: &StartScheduledWorkflow,
    answer: &Answer,
) {
    if tx.run().schedule.is_none() {
        return;
    }
    let now = tx.ctx.now;
    let mut acting = Acting::of(tx);
    let progress = &mut acting.progress;
    let request_id = &scheduled.start.request_id;
    let Some(at) = progress
        .starting
        .iter()
        .position(|starting| starting.request_id == *request_id)
    else {
        return;
    };
    let starting = progress.starting.remove(at);
    // Refused, for example because the workflow id is taken: that action is lost, the next one may go.
    if let Ok(Response::StartWorkflowExecution(started)) = answer {
        let execution = WorkflowExecution {
            workflow_id: starting.workflow_id,
            run_id: started.run_id.clone(),
        };
        progress.actions += 1;
        progress.recent.push_back(ScheduleActionResult {
            schedule_time: Some(starting.scheduled),
            actual_time: Some(now),
            start_workflow_result: Some(execution.clone()),
            start_workflow_status: Status::Running,
        });
        if progress.recent.len() > RECENT_MAX {
            progress.recent.pop_front();
        }
        if starting.is_watched {
            progress.running.push(Running {
                request_id: starting.request_id,
                execution,
                ..Running::default()
            });
        }
    }
    acting.finish();
}

/// A workflow tells that its chain of runs has closed.
pub(crate) fn on_closed(
    view: &View<'_>,
    closed: &ScheduledWorkflowClosed,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = find::open_run_of_id(view, "", &closed.run_id)?;
    let Some(kept_before) = &run.schedule else {
        return Ok(Decision::reply(Reply::done()));
    };
    let progress = &kept_before.progress;
    if progress
        .starting
        .iter()
        .any(|starting| starting.request_id == closed.request_id)
    {
        // The start's answer is still on its way: the workflow repeats the notice.
        return Err(Rejection::new(
            RejectionKind::Unavailable,
            "the workflow's start is not recorded yet",
        ));
    }
    let Some(at) = progress
        .running
        .iter()
        .position(|running| running.request_id == closed.request_id)
    else {
        return Ok(Decision::reply(Reply::done()));
    };
    let end = End::of(closed);
    let mut tx = Transaction::of(run, ctx);
    if let Some(last) = end.outcome(&kept_before.last) {
        tx.fact(Fact::ScheduleLast(Box::new(last)));
    }
    let pauses = kept(tx.run()).defined.policies.pause_on_failure;
    let mut acting = Acting::of(&mut tx);
    let progress = &mut acting.progress;
    let ended = progress.running.remove(at).execution;
    for recent in &mut progress.recent {
        if recent.start_workflow_result.as_ref() == Some(&ended) {
            recent.start_workflow_status = end.status;
        }
    }
    let notes = end.notes(&ended.workflow_id).filter(|_| pauses);
    if let Some(notes) = notes
        && !progress.state.paused
    {
        progress.state.paused = true;
        progress.state.notes = notes;
        progress.conflict_token += 1;
    }
    acting.finish();
    Ok(Decision::one(tx, Reply::done()))
}

/// How a chain of runs ended.
struct End<'a> {
    status: Status,
    attributes: Option<&'a HistoryEventAttributes>,
}

impl<'a> End<'a> {
    fn of(closed: &'a ScheduledWorkflowClosed) -> Self {
        use HistoryEventAttributes as A;
        let attributes = closed.close_event.attributes.as_ref();
        let status = match attributes {
            Some(A::WorkflowExecutionFailed(_)) => Status::Failed,
            Some(A::WorkflowExecutionTimedOut(_)) => Status::TimedOut,
            Some(A::WorkflowExecutionCanceled(_)) => Status::Canceled,
            Some(A::WorkflowExecutionTerminated(_)) => Status::Terminated,
            _ => Status::Completed,
        };
        Self { status, attributes }
    }

    /// What the next action is told; nothing if that does not change.
    fn outcome(&self, before: &LastOutcome) -> Option<LastOutcome> {
        match self.attributes? {
            HistoryEventAttributes::WorkflowExecutionCompleted(completed) => Some(LastOutcome {
                result: completed.result.clone(),
                failure: None,
            }),
            HistoryEventAttributes::WorkflowExecutionFailed(failed) => Some(LastOutcome {
                result: before.result.clone(),
                failure: failed.failure.clone(),
            }),
            _ => None,
        }
    }

    /// Why a schedule pauses itself, if it was a failure.
    fn notes(&self, workflow_id: &str) -> Option<String> {
        match self.attributes? {
            HistoryEventAttributes::WorkflowExecutionFailed(failed) => {
                let failure = failed.failure.clone().unwrap_or_default();
                Some(format!(
                    "paused due to workflow failure: {workflow_id}: {}",
                    failure.message
                ))
            }
            HistoryEventAttributes::WorkflowExecutionTimedOut(_) => {
                Some(format!("paused due to workflow timeout: {workflow_id}"))
            }
            _ => None,
        }
    }
}
