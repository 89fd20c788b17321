//! The one entry to the rules.

use fermata_proto::rpc::{Rejection, RejectionKind, Request};

use crate::context::Context;
use crate::decision::{Decision, Input, View};
use crate::{activity, close, command, deadlines, signal, start, workflow_task};

/// What `input` does to the addressed workflow.
///
/// Pure: equal arguments give equal decisions. Nothing has happened until the decision's transitions are durable.
///
/// # Errors
/// A rejection when nothing changes. A refusal that comes with changes is in [`Decision::reply`].
pub fn decide(view: &View<'_>, input: &Input, ctx: &Context<'_>) -> Result<Decision, Rejection> {
    match input {
        Input::Request(request) => on_request(view, request, ctx),
        Input::Deadline => deadlines::on_deadline(view, ctx),
        Input::Delivered { .. } => Err(Rejection::new(
            RejectionKind::Unimplemented,
            "no outbox entry waits for this",
        )),
    }
}

fn on_request(
    view: &View<'_>,
    request: &Request,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    match request {
        Request::StartWorkflowExecution(request) => start::on_start(view, request, ctx),
        Request::StartChildWorkflow(child) => start::on_start_child(view, child, ctx),
        Request::SignalWorkflowExecution(signal) => signal::on_signal(view, signal, ctx),
        Request::TerminateWorkflowExecution(request) => close::on_terminate(view, request, ctx),
        Request::ClaimWorkflowTask(claim) => workflow_task::on_claim(view, claim, ctx),
        Request::ClaimActivityTask(claim) => activity::on_claim(view, claim, ctx),
        Request::RespondWorkflowTaskCompleted(request) => command::on_completed(view, request, ctx),
        Request::RespondWorkflowTaskFailed(request) => workflow_task::on_failed(view, request, ctx),
        Request::RespondActivityTaskCompleted(request) => {
            activity::on_completed(view, request, ctx)
        }
        Request::RespondActivityTaskFailed(request) => activity::on_failed(view, request, ctx),
        Request::RecordActivityTaskHeartbeat(request) => activity::on_heartbeat(view, request, ctx),
        _ => Err(Rejection::new(
            RejectionKind::Unimplemented,
            "this request is not supported yet",
        )),
    }
}
