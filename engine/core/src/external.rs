//! Signals and cancel requests that a workflow sends to others: initiated by a command, delivered through the outbox,
//! resolved by the answer.

use std::sync::Arc;

use fermata_proto::command::*;
use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::WorkflowTaskFailedCause as Cause;
use fermata_proto::enums::*;
use fermata_proto::event::*;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::*;
use fermata_proto::service::*;

use crate::command::CommandError;
use crate::run::{ExternalRequest, OutboxEntry, Run};
use crate::transaction::Transaction;
use crate::{validate, workflow_task};

/// The namespace that a command names; the workflow's own if it names none.
///
/// # Errors
/// The call is refused with NOT_FOUND if there is no such namespace, and the task fails if commands must stay in their own.
pub(crate) fn namespace<'a>(
    tx: &Transaction<'a>,
    name: &str,
    cause: Cause,
) -> Result<&'a NamespaceRecord, CommandError> {
    let ctx = tx.ctx;
    if name.is_empty() || name == ctx.namespace.name {
        return Ok(ctx.namespace);
    }
    let found = ctx.namespaces.by_name(name).ok_or_else(|| {
        let detail = fermata_proto::error_details::NamespaceNotFoundFailure {
            namespace: name.to_owned(),
        };
        CommandError::RefuseCall(
            Rejection::new(
                RejectionKind::NotFound,
                format!("Namespace {name} is not found."),
            )
            .with(ErrorDetail::NamespaceNotFound(detail)),
        )
    })?;
    if !ctx.limits.allow_cross_namespace_commands {
        return Err(CommandError::fail(
            cause,
            format!("{cause:?}: cross namespace commands are not allowed"),
        ));
    }
    Ok(found)
}

/// This run as the sender of a request by `initiated_event_id`.
pub(crate) fn sender(
    tx: &Transaction<'_>,
    initiated_event_id: i64,
    child_workflow_only: bool,
) -> ExternalSender {
    let run = tx.run();
    ExternalSender {
        namespace_id: run.namespace_id.clone(),
        namespace: tx.ctx.namespace.name.clone(),
        workflow_id: run.workflow_id.0.clone(),
        run_id: run.run_id.clone(),
        former_run_ids: run
            .reset_from
            .iter()
            .flat_map(|from| &from.bases)
            .map(|base| base.run_id.clone())
            .collect(),
        initiated_event_id,
        child_workflow_only,
    }
}

/// Whether `sender` may address `run` at all.
///
/// # Errors
/// NOT_FOUND if only a child may be addressed and it is none of the sender's.
pub(crate) fn may_address(run: &Run, sender: &ExternalSender) -> Result<(), Rejection> {
    let is_itself = run.namespace_id == sender.namespace_id && run.run_id == sender.run_id;
    if is_itself {
        return Err(Rejection::not_found("a workflow cannot address itself"));
    }
    if !sender.child_workflow_only {
        return Ok(());
    }
    let parent = run.started.parent_workflow_execution.as_ref();
    if parent.is_some_and(|parent| {
        parent.workflow_id == sender.workflow_id
            && (parent.run_id == sender.run_id || sender.former_run_ids.contains(&parent.run_id))
    }) {
        return Ok(());
    }
    Err(Rejection::not_found(
        "the workflow is no child of the one that addresses it",
    ))
}

/// The request id of what `initiated_event_id` of a run asks for: the same for every repeat, and after a reset.
fn request_id(run: &Run, initiated_event_id: i64) -> String {
    let name = format!("{}:{initiated_event_id}", run.origin_of(initiated_event_id));
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

pub(crate) fn on_signal(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    command: &Command,
    attributes: &SignalExternalWorkflowExecutionCommandAttributes,
) -> Result<(), CommandError> {
    let cause = Cause::BadSignalWorkflowExecutionAttributes;
    let bad = |text: &str| {
        CommandError::fail(
            cause,
            format!("BadSignalWorkflowExecutionAttributes: {text}"),
        )
    };
    let target = attributes.execution.clone().unwrap_or_default();
    let namespace = namespace(tx, &attributes.namespace, cause)?;
    let (in_namespace, workflow_id, run_id, signal_name) = (
        &namespace.name,
        &target.workflow_id,
        &target.run_id,
        &attributes.signal_name,
    );
    if workflow_id.is_empty() {
        return Err(bad(&format!(
            "WorkflowId is not set on SignalExternalWorkflowExecutionCommand. Namespace={in_namespace} RunId={run_id} SignalName={signal_name}",
        )));
    }
    if !run_id.is_empty() && uuid::Uuid::parse_str(run_id).is_err() {
        return Err(bad(&format!(
            "Invalid RunId set on SignalExternalWorkflowExecutionCommand. WorkflowId={workflow_id} Namespace={in_namespace} RunId={run_id} SignalName={signal_name}",
        )));
    }
    if signal_name.is_empty() {
        return Err(bad(&format!(
            "SignalName is not set on SignalExternalWorkflowExecutionCommand. WorkflowId={workflow_id} Namespace={in_namespace} RunId={run_id}",
        )));
    }
    validate::id_length("WorkflowId", workflow_id, tx.ctx).map_err(|text| bad(&text))?;
    validate::id_length("SignalName", signal_name, tx.ctx).map_err(|text| bad(&text))?;
    if tx.run().external_signals.len() >= tx.ctx.limits.pending_signals_max {
        return Err(CommandError::fail(
            Cause::PendingSignalsLimitExceeded,
            format!(
                "PendingSignalsLimitExceeded: the number of pending signals to external workflows, {}, has reached the per-workflow limit of {}",
                tx.run().external_signals.len(),
                tx.ctx.limits.pending_signals_max
            ),
        ));
    }
    let initiated = SignalExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: completed_event_id,
        namespace: namespace.name.clone(),
        namespace_id: namespace.id.0.clone(),
        workflow_execution: Some(target.clone()),
        signal_name: attributes.signal_name.clone(),
        input: attributes.input.clone(),
        control: attributes.control.clone(),
        child_workflow_only: attributes.child_workflow_only,
        header: attributes.header.clone(),
    };
    let event_id = tx.write(HistoryEvent {
        user_metadata: command.user_metadata.clone(),
        attributes: Some(initiated.clone().into()),
        ..HistoryEvent::default()
    });
    send_signal(tx, event_id, &initiated);
    Ok(())
}

fn send_signal(
    tx: &mut Transaction<'_>,
    event_id: i64,
    initiated: &SignalExternalWorkflowExecutionInitiatedEventAttributes,
) {
    let target = initiated.workflow_execution.clone().unwrap_or_default();
    let workflow_id = target.workflow_id.clone().into();
    let signal = SignalWorkflow {
        request: SignalWorkflowExecutionRequest {
            namespace: initiated.namespace.clone(),
            workflow_execution: Some(target),
            signal_name: initiated.signal_name.clone(),
            input: initiated.input.clone(),
            identity: "history-service".to_owned(),
            request_id: request_id(tx.run(), event_id),
            header: initiated.header.clone(),
            ..SignalWorkflowExecutionRequest::default()
        },
        sender: Some(sender(tx, event_id, initiated.child_workflow_only)),
    };
    tx.send(
        initiated.namespace_id.clone().into(),
        workflow_id,
        Request::SignalWorkflowExecution(Box::new(signal)),
    );
}

fn send_cancel(
    tx: &mut Transaction<'_>,
    event_id: i64,
    initiated: &RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
) {
    let target = initiated.workflow_execution.clone().unwrap_or_default();
    let workflow_id = target.workflow_id.clone().into();
    let cancel = RequestCancelWorkflow {
        request: RequestCancelWorkflowExecutionRequest {
            namespace: initiated.namespace.clone(),
            workflow_execution: Some(target),
            identity: "history-service".to_owned(),
            request_id: request_id(tx.run(), event_id),
            reason: initiated.reason.clone(),
            ..RequestCancelWorkflowExecutionRequest::default()
        },
        sender: Some(sender(tx, event_id, initiated.child_workflow_only)),
    };
    tx.send(
        initiated.namespace_id.clone().into(),
        workflow_id,
        Request::RequestCancelWorkflowExecution(Box::new(cancel)),
    );
}

/// After a reset: what was not answered at the reset point is asked once more, and taken for the same by whoever had it.
pub(crate) fn send_again(tx: &mut Transaction<'_>) {
    let initiated: Vec<Arc<HistoryEvent>> = tx
        .events()
        .filter(|event| {
            tx.run().external_signals.contains_key(&event.event_id)
                || tx.run().external_cancels.contains_key(&event.event_id)
        })
        .cloned()
        .collect();
    for event in initiated {
        match &event.attributes {
            Some(HistoryEventAttributes::SignalExternalWorkflowExecutionInitiated(a)) => {
                send_signal(tx, event.event_id, a);
            }
            Some(HistoryEventAttributes::RequestCancelExternalWorkflowExecutionInitiated(a)) => {
                send_cancel(tx, event.event_id, a);
            }
            _ => {}
        }
    }
}

pub(crate) fn on_cancel(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    command: &Command,
    attributes: &RequestCancelExternalWorkflowExecutionCommandAttributes,
) -> Result<(), CommandError> {
    let cause = Cause::BadRequestCancelExternalWorkflowExecutionAttributes;
    let bad = |text: &str| {
        CommandError::fail(
            cause,
            format!("BadRequestCancelExternalWorkflowExecutionAttributes: {text}"),
        )
    };
    let namespace = namespace(tx, &attributes.namespace, cause)?;
    let (in_namespace, workflow_id, run_id) =
        (&namespace.name, &attributes.workflow_id, &attributes.run_id);
    let named = format!("WorkflowId={workflow_id} RunId={run_id} Namespace={in_namespace}");
    if workflow_id.is_empty() {
        return Err(bad(&format!(
            "WorkflowId is not set on RequestCancelExternalWorkflowExecutionCommand. Namespace={in_namespace} RunId={run_id}",
        )));
    }
    if !run_id.is_empty() && uuid::Uuid::parse_str(run_id).is_err() {
        return Err(bad(&format!(
            "Invalid RunId set on RequestCancelExternalWorkflowExecutionCommand. {named}",
        )));
    }
    validate::id_length("WorkflowId", workflow_id, tx.ctx).map_err(|text| bad(&text))?;
    let starting = tx.run().children.values().any(|child| {
        child.progress.run_id.is_empty()
            && child.initiated.workflow_id == attributes.workflow_id
            && child.initiated.workflow_task_completed_event_id == completed_event_id
    });
    if starting {
        return Err(bad(&format!(
            "Start and RequestCancel for child workflow is not allowed in same workflow task. {named}",
        )));
    }
    if tx.run().external_cancels.len() >= tx.ctx.limits.pending_cancel_requests_max {
        return Err(CommandError::fail(
            Cause::PendingRequestCancelLimitExceeded,
            format!(
                "PendingRequestCancelLimitExceeded: the number of pending cancel requests to external workflows, {}, has reached the per-workflow limit of {}",
                tx.run().external_cancels.len(),
                tx.ctx.limits.pending_cancel_requests_max
            ),
        ));
    }
    let target = WorkflowExecution {
        workflow_id: attributes.workflow_id.clone(),
        run_id: attributes.run_id.clone(),
    };
    let initiated = RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: completed_event_id,
        namespace: namespace.name.clone(),
        namespace_id: namespace.id.0.clone(),
        workflow_execution: Some(target.clone()),
        control: attributes.control.clone(),
        child_workflow_only: attributes.child_workflow_only,
        reason: attributes.reason.clone(),
    };
    let event_id = tx.write(HistoryEvent {
        user_metadata: command.user_metadata.clone(),
        attributes: Some(initiated.clone().into()),
        ..HistoryEvent::default()
    });
    send_cancel(tx, event_id, &initiated);
    Ok(())
}

/// The answer to a signal that this workflow sent.
pub(crate) fn on_signal_answered(
    tx: &mut Transaction<'_>,
    signal: &SignalWorkflow,
    answer: &Answer,
) {
    let Some(sender) = &signal.sender else { return };
    let initiated_event_id = sender.initiated_event_id;
    let Some(external) = tx.run().external_signals.get(&initiated_event_id).cloned() else {
        return;
    };
    let workflow_execution = Some(external.execution());
    let (namespace, namespace_id) = (external.namespace, external.namespace_id);
    let attributes: HistoryEventAttributes = match answer {
        Ok(_) => ExternalWorkflowExecutionSignaledEventAttributes {
            initiated_event_id,
            namespace,
            namespace_id,
            workflow_execution,
            control: external.control,
        }
        .into(),
        Err(rejection) => SignalExternalWorkflowExecutionFailedEventAttributes {
            cause: signal_failure(rejection),
            workflow_task_completed_event_id: 0,
            namespace,
            namespace_id,
            workflow_execution,
            initiated_event_id,
            control: external.control,
        }
        .into(),
    };
    resolve(tx, attributes);
}

fn signal_failure(rejection: &Rejection) -> SignalExternalWorkflowExecutionFailedCause {
    use SignalExternalWorkflowExecutionFailedCause as Failed;
    match (&rejection.kind, rejection.detail.as_deref()) {
        (RejectionKind::NotFound, Some(ErrorDetail::NamespaceNotFound(_))) => {
            Failed::NamespaceNotFound
        }
        (RejectionKind::InvalidArgument | RejectionKind::ResourceExhausted, _) => {
            Failed::SignalCountLimitExceeded
        }
        _ => Failed::ExternalWorkflowExecutionNotFound,
    }
}

/// The answer to a cancel request that this workflow sent.
pub(crate) fn on_cancel_answered(
    tx: &mut Transaction<'_>,
    cancel: &RequestCancelWorkflow,
    answer: &Answer,
) {
    let Some(sender) = &cancel.sender else { return };
    let initiated_event_id = sender.initiated_event_id;
    let Some(external) = tx.run().external_cancels.get(&initiated_event_id).cloned() else {
        return;
    };
    let workflow_execution = Some(external.execution());
    let (namespace, namespace_id) = (external.namespace, external.namespace_id);
    let attributes: HistoryEventAttributes = match answer {
        Ok(_) => ExternalWorkflowExecutionCancelRequestedEventAttributes {
            initiated_event_id,
            namespace,
            namespace_id,
            workflow_execution,
        }
        .into(),
        Err(rejection) => RequestCancelExternalWorkflowExecutionFailedEventAttributes {
            cause: match rejection.detail.as_deref() {
                Some(ErrorDetail::NamespaceNotFound(_)) => {
                    CancelExternalWorkflowExecutionFailedCause::NamespaceNotFound
                }
                _ => CancelExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound,
            },
            workflow_task_completed_event_id: 0,
            namespace,
            namespace_id,
            workflow_execution,
            initiated_event_id,
            control: external.control,
        }
        .into(),
    };
    resolve(tx, attributes);
}

fn resolve(tx: &mut Transaction<'_>, attributes: HistoryEventAttributes) {
    tx.write_or_buffer(HistoryEvent {
        attributes: Some(attributes),
        ..HistoryEvent::default()
    });
    workflow_task::schedule_if_none(tx);
}

/// What the answer to an outbox entry means; the entry itself is gone.
pub(crate) fn on_answered(tx: &mut Transaction<'_>, entry: &OutboxEntry, answer: &Answer) {
    match &entry.request {
        Request::SignalWorkflowExecution(signal) => on_signal_answered(tx, signal, answer),
        Request::RequestCancelWorkflowExecution(cancel) => on_cancel_answered(tx, cancel, answer),
        Request::StartChildWorkflow(child) => {
            crate::child_workflow::on_start_answered(tx, child, answer)
        }
        Request::StartScheduledWorkflow(scheduled) => {
            crate::schedule::on_start_answered(tx, scheduled, answer);
        }
        // Notices: to a parent that its child closed, to children that their parent did.
        _ => {}
    }
}

impl ExternalRequest {
    fn execution(&self) -> WorkflowExecution {
        WorkflowExecution {
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
        }
    }
}

pub(crate) fn apply_signal_initiated(
    run: &mut Run,
    event: &HistoryEvent,
    a: &SignalExternalWorkflowExecutionInitiatedEventAttributes,
) {
    let target = a.workflow_execution.clone().unwrap_or_default();
    let request = ExternalRequest {
        namespace: a.namespace.clone(),
        namespace_id: a.namespace_id.clone(),
        workflow_id: target.workflow_id,
        run_id: target.run_id,
        control: a.control.clone(),
    };
    run.external_signals.insert(event.event_id, request);
}

pub(crate) fn apply_cancel_initiated(
    run: &mut Run,
    event: &HistoryEvent,
    a: &RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
) {
    let target = a.workflow_execution.clone().unwrap_or_default();
    let request = ExternalRequest {
        namespace: a.namespace.clone(),
        namespace_id: a.namespace_id.clone(),
        workflow_id: target.workflow_id,
        run_id: target.run_id,
        control: a.control.clone(),
    };
    run.external_cancels.insert(event.event_id, request);
}
