//! Signals, from clients and from other workflows.

use fermata_proto::common::*;
use fermata_proto::enums::{EventType, ResourceExhaustedCause, ResourceExhaustedScope};
use fermata_proto::error_details::ResourceExhaustedFailure;
use fermata_proto::event::*;
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind, Response, SignalWorkflow};
use fermata_proto::service::SignalWorkflowExecutionResponse;

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::{RequestIdRecord, Run};
use crate::transaction::Transaction;
use crate::{external, find, start, validate, workflow_task};

pub(crate) fn on_signal(
    view: &View<'_>,
    signal: &SignalWorkflow,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = &signal.request;
    if request.signal_name.is_empty() {
        return Err(Rejection::invalid_argument(
            "SignalName is not set on request.",
        ));
    }
    if request.signal_name.len() > ctx.limits.id_length_max {
        return Err(Rejection::invalid_argument(
            "SignalName length exceeds limit.",
        ));
    }
    validate::blob(request.input.as_ref(), ctx).map_err(Rejection::invalid_argument)?;
    let run = find::open_run(view, request.workflow_execution.as_ref())?;
    let reply = Reply::Response(Response::SignalWorkflowExecution(Box::new(
        SignalWorkflowExecutionResponse {
            link: Some(link(run, &request.request_id, ctx)),
        },
    )));
    if run.request_ids.contains_key(&request.request_id) {
        return Ok(Decision::reply(reply));
    }
    if let Some(sender) = &signal.sender {
        external::may_address(run, sender)?;
    }
    may_take(run, ctx)?;
    let mut tx = Transaction::of(run, ctx);
    write(&mut tx, signal);
    Ok(Decision::one(tx, reply))
}

/// The link to the event that a signal with `request_id` becomes.
pub(crate) fn link(run: &Run, request_id: &str, ctx: &Context<'_>) -> Link {
    let event_type = EventType::WorkflowExecutionSignaled;
    start::request_id_link(run, request_id, event_type, ctx)
}

/// Whether the run takes another signal.
///
/// # Errors
/// The limit is reached, or the workflow is about to close.
pub(crate) fn may_take(run: &Run, ctx: &Context<'_>) -> Result<(), Rejection> {
    if run.signals >= ctx.limits.signals_per_run_max {
        return Err(Rejection::new(
            RejectionKind::InvalidArgument,
            format!(
                "exceeded workflow execution limit for signal events: {}",
                ctx.limits.signals_per_run_max
            ),
        ));
    }
    let started = run
        .workflow_task
        .as_ref()
        .is_some_and(|task| task.is_started());
    if run.close_refused && started {
        let detail = ResourceExhaustedFailure {
            cause: ResourceExhaustedCause::BusyWorkflow,
            scope: ResourceExhaustedScope::Namespace,
        };
        return Err(
            Rejection::new(RejectionKind::ResourceExhausted, "workflow is closing")
                .with(ErrorDetail::ResourceExhausted(detail)),
        );
    }
    Ok(())
}

/// Writes or buffers the event, notes the request id and wakes the workflow.
pub(crate) fn write(tx: &mut Transaction<'_>, signal: &SignalWorkflow) {
    write_event(tx, signal);
    workflow_task::schedule_if_none(tx);
}

pub(crate) fn write_event(tx: &mut Transaction<'_>, signal: &SignalWorkflow) {
    let request = &signal.request;
    let event = HistoryEvent {
        links: request.links.clone(),
        attributes: Some(
            WorkflowExecutionSignaledEventAttributes {
                signal_name: request.signal_name.clone(),
                input: request.input.clone(),
                identity: request.identity.clone(),
                header: request.header.clone(),
                request_id: request.request_id.clone(),
                external_workflow_execution: signal.sender.as_ref().map(|sender| {
                    WorkflowExecution {
                        workflow_id: sender.workflow_id.clone(),
                        run_id: sender.run_id.clone(),
                    }
                }),
                ..WorkflowExecutionSignaledEventAttributes::default()
            }
            .into(),
        ),
        ..HistoryEvent::default()
    };
    let event_id = tx.write_or_buffer(event).unwrap_or(0);
    if !request.request_id.is_empty() && !tx.run().request_ids.contains_key(&request.request_id) {
        let record = RequestIdRecord {
            event_type: EventType::WorkflowExecutionSignaled,
            event_id,
        };
        tx.fact(Fact::RequestId {
            request_id: request.request_id.clone(),
            record,
        });
    }
}

pub(crate) fn apply_signaled(run: &mut Run) {
    run.signals += 1;
}
