//! Signals, from clients and from other workflows.

use fermata_proto::common::*;
use fermata_proto::enums::EventType;
use fermata_proto::event::*;
use fermata_proto::rpc::{Rejection, RejectionKind, SignalWorkflow};

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::{RequestIdRecord, Run};
use crate::transaction::Transaction;
use crate::{find, workflow_task};

pub(crate) fn on_signal(
    view: &View<'_>,
    signal: &SignalWorkflow,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = &signal.request;
    let run_id = request
        .workflow_execution
        .as_ref()
        .map_or("", |execution| &execution.run_id);
    let run = find::open_run(view, run_id)?;
    if run.request_ids.contains_key(&request.request_id) {
        return Ok(Decision::reply(Reply::done()));
    }
    if run.signals >= ctx.limits.signals_per_run_max {
        return Err(Rejection::new(
            RejectionKind::InvalidArgument,
            format!(
                "workflow execution has taken its {} signals",
                ctx.limits.signals_per_run_max
            ),
        ));
    }
    let mut tx = Transaction::of(run, ctx);
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
    if !request.request_id.is_empty() {
        let record = RequestIdRecord {
            event_type: EventType::WorkflowExecutionSignaled,
            event_id,
        };
        tx.fact(Fact::RequestId {
            request_id: request.request_id.clone(),
            record,
        });
    }
    workflow_task::schedule_if_none(&mut tx);
    Ok(Decision::one(tx, Reply::done()))
}

pub(crate) fn apply_signaled(run: &mut Run) {
    run.signals += 1;
}
