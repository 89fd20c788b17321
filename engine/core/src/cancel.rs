//! Cancel requests: the workflow is asked to stop, and decides itself how.

use fermata_proto::common::WorkflowExecution;
use fermata_proto::event::*;
use fermata_proto::rpc::{Rejection, RequestCancelWorkflow};

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::RequestIdRecord;
use crate::transaction::Transaction;
use crate::{external, find, workflow_task};

pub(crate) fn on_request_cancel(
    view: &View<'_>,
    cancel: &RequestCancelWorkflow,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = &cancel.request;
    let run = find::run(view, request.workflow_execution.as_ref())?;
    find::chain(run, &request.first_execution_run_id)?;
    if let Some(sender) = &cancel.sender {
        external::may_address(run, sender)?;
    }
    // A closed workflow needs no cancelling, and a second request says nothing new.
    if !run.is_open() || run.cancel_requested {
        return Ok(Decision::reply(Reply::done()));
    }
    let mut tx = Transaction::of(run, ctx);
    let attributes = WorkflowExecutionCancelRequestedEventAttributes {
        cause: request.reason.clone(),
        external_initiated_event_id: cancel
            .sender
            .as_ref()
            .map_or(0, |sender| sender.initiated_event_id),
        external_workflow_execution: cancel.sender.as_ref().map(|sender| WorkflowExecution {
            workflow_id: sender.workflow_id.clone(),
            run_id: sender.run_id.clone(),
        }),
        identity: request.identity.clone(),
    };
    let event = HistoryEvent {
        links: request.links.clone(),
        attributes: Some(attributes.into()),
        ..HistoryEvent::default()
    };
    let event_id = tx.write_or_buffer(event).unwrap_or(0);
    if !request.request_id.is_empty() {
        let event_type = fermata_proto::enums::EventType::WorkflowExecutionCancelRequested;
        let record = RequestIdRecord {
            event_type,
            event_id,
        };
        tx.fact(Fact::RequestId {
            request_id: request.request_id.clone(),
            record,
        });
    }
    if tx.run().first_workflow_task_at.is_some() {
        // A start delay or backoff ends here.
        workflow_task::schedule(&mut tx);
    } else {
        workflow_task::schedule_if_none(&mut tx);
    }
    Ok(Decision::one(tx, Reply::done()))
}
