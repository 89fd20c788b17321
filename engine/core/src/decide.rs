//! The one entry to the rules.

use fermata_proto::common::WorkflowExecution;
use fermata_proto::rpc::{Answer, Rejection, RejectionKind, Request};

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Input, Reply, View};
use crate::transaction::Transaction;
use crate::{
    activity, cancel, child_workflow, close, command, deadlines, external, multi_operation, reset,
    schedule, signal, signal_with_start, start, update, worker_lost, workflow_task,
};

/// What `input` does to the addressed workflow.
///
/// Pure: equal arguments give equal decisions. Nothing has happened until the decision's transitions are durable.
///
/// # Errors
/// A rejection when nothing changes. A refusal that comes with changes is in [`Decision::reply`].
pub fn decide(view: &View<'_>, input: &Input, ctx: &Context<'_>) -> Result<Decision, Rejection> {
    match input {
        Input::Request(request) => on_request(view, request, ctx),
        Input::Reset { request, past } => reset::on_reset(view, request, past, ctx),
        Input::Deadline => deadlines::on_deadline(view, ctx),
        Input::WorkerLost {
            worker_id,
            silent_for,
        } => worker_lost::on_worker_lost(view, worker_id, *silent_for, ctx),
        Input::Delivered { outbox_id, answer } => on_delivered(view, *outbox_id, answer, ctx),
    }
}

fn on_delivered(
    view: &View<'_>,
    outbox_id: u64,
    answer: &Answer,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let Some((run, entry)) = view
        .run
        .and_then(|run| Some((run, run.outbox.get(&outbox_id)?)))
    else {
        return Ok(Decision::reply(Reply::None));
    };
    let mut tx = Transaction::of(run, ctx);
    tx.fact(Fact::OutboxDone { outbox_id });
    if run.is_open() {
        external::on_answered(&mut tx, entry, answer);
    } else {
        child_workflow::on_answered_after_close(&mut tx, entry, answer);
        close::delete_if_delivered(&mut tx);
    }
    Ok(Decision::one(tx, Reply::None))
}

fn on_request(
    view: &View<'_>,
    request: &Request,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    match request {
        Request::StartWorkflowExecution(request) => start::on_start(view, request, ctx),
        Request::StartChildWorkflow(child) => start::on_start_child(view, child, ctx),
        Request::SignalWithStartWorkflowExecution(request) => {
            signal_with_start::on_signal_with_start(view, request, ctx)
        }
        Request::UpdateWorkflowExecution(request) => update::on_update(view, request, ctx),
        Request::ExecuteMultiOperation(request) => multi_operation::on_execute(view, request, ctx),
        Request::RequestCancelWorkflowExecution(cancel) => {
            cancel::on_request_cancel(view, cancel, ctx)
        }
        Request::RecordChildWorkflowClosed(closed) => child_workflow::on_closed(view, closed, ctx),
        Request::SignalWorkflowExecution(signal) => signal::on_signal(view, signal, ctx),
        Request::TerminateWorkflowExecution(request) => close::on_terminate(view, request, ctx),
        Request::ClaimWorkflowTask(claim) => workflow_task::on_claim(view, claim, ctx),
        Request::ClaimActivityTask(claim) => activity::on_claim(view, claim, ctx),
        Request::RespondWorkflowTaskCompleted(request) => command::on_completed(view, request, ctx),
        Request::RespondWorkflowTaskFailed(request) => workflow_task::on_failed(view, request, ctx),
        Request::RespondActivityTaskCompleted(request) => {
            activity::on_completed(view, request, ctx)
        }
        Request::RespondActivityTaskCanceled(request) => activity::on_canceled(view, request, ctx),
        Request::RespondActivityTaskCompletedById(request) => {
            activity::on_completed_by_id(view, request, ctx)
        }
        Request::RespondActivityTaskFailedById(request) => {
            activity::on_failed_by_id(view, request, ctx)
        }
        Request::RespondActivityTaskCanceledById(request) => {
            activity::on_canceled_by_id(view, request, ctx)
        }
        Request::RecordActivityTaskHeartbeatById(request) => {
            activity::on_heartbeat_by_id(view, request, ctx)
        }
        Request::DetachActivity(request) => activity::on_detach(view, request, ctx),
        Request::ResetStickyTaskQueue(request) => {
            sticky_reset(view, request.execution.as_ref(), ctx)
        }
        Request::DeleteWorkflowExecution(request) => close::on_delete(view, request, ctx),
        Request::RespondActivityTaskFailed(request) => activity::on_failed(view, request, ctx),
        Request::PauseActivity(request) => activity::on_pause(view, request, ctx),
        Request::UnpauseActivity(request) => activity::on_unpause(view, request, ctx),
        Request::ResetActivity(request) => activity::on_reset(view, request, ctx),
        Request::UpdateActivityOptions(request) => activity::on_update_options(view, request, ctx),
        Request::CreateSchedule(request) => schedule::on_create(view, request, ctx),
        Request::DescribeSchedule(request) => schedule::on_describe(view, request, ctx),
        Request::UpdateSchedule(request) => schedule::on_update(view, request, ctx),
        Request::PatchSchedule(request) => schedule::on_patch(view, request, ctx),
        Request::DeleteSchedule(request) => schedule::on_delete(view, request, ctx),
        Request::ListScheduleMatchingTimes(request) => schedule::on_matching_times(view, request),
        Request::StartScheduledWorkflow(scheduled) => schedule::on_start(view, scheduled, ctx),
        Request::RecordScheduledWorkflowClosed(closed) => schedule::on_closed(view, closed, ctx),
        Request::RecordActivityTaskHeartbeat(request) => activity::on_heartbeat(view, request, ctx),
        _ => Err(Rejection::new(
            RejectionKind::Unimplemented,
            "this request is not supported yet",
        )),
    }
}

/// The run goes back to its normal queue.
fn sticky_reset(
    view: &View<'_>,
    execution: Option<&WorkflowExecution>,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = crate::find::open_run(view, execution)?;
    let mut tx = Transaction::of(run, ctx);
    if run.sticky.is_some() {
        tx.fact(Fact::Sticky(None));
    }
    Ok(Decision::one(tx, Reply::done()))
}
