//! Child workflows: initiated by a command, started in their own partition through the outbox, closed by a notice.
//!
//! | state | start answered | child closed |
//! |---|---|---|
//! | initiated | Started or StartFailed event | (the notice waits for the answer) |
//! | started | nothing | closing event |
//! | closing (its event is buffered) | nothing | nothing |

use std::sync::Arc;

use fermata_proto::command::*;
use fermata_proto::common::{WorkflowExecution, WorkflowType};
use fermata_proto::enums::WorkflowTaskFailedCause as Cause;
use fermata_proto::enums::*;
use fermata_proto::event::*;
use fermata_proto::rpc::*;
use fermata_proto::service::*;

use crate::command::CommandError;
use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::{Child, Run};
use crate::transaction::Transaction;
use crate::{
    cron, external, find, priority, retry, search_attributes, start, validate, workflow_task,
};

pub(crate) fn on_start(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    command: &Command,
    attributes: &StartChildWorkflowExecutionCommandAttributes,
) -> Result<(), CommandError> {
    let cause = Cause::BadStartChildExecutionAttributes;
    let bad =
        |text: &str| CommandError::fail(cause, format!("BadStartChildExecutionAttributes: {text}"));
    let namespace = external::namespace(tx, &attributes.namespace, cause)?;
    validate(tx, attributes, &namespace.name).map_err(|text| bad(&text))?;
    let search_attributes = match &attributes.search_attributes {
        Some(given) => Some(search_attributes::typed(given, tx.ctx).map_err(|text| {
            let cause = Cause::BadSearchAttributes;
            CommandError::fail(cause, format!("{cause:?}: {text}"))
        })?),
        None => None,
    };
    if tx.run().children.len() >= tx.ctx.limits.pending_children_max {
        return Err(CommandError::fail(
            Cause::PendingChildWorkflowsLimitExceeded,
            format!(
                "PendingChildWorkflowsLimitExceeded: the number of pending child workflow executions, {}, has reached the per-workflow limit of {}",
                tx.run().children.len(),
                tx.ctx.limits.pending_children_max
            ),
        ));
    }
    let task_queue = match attributes
        .task_queue
        .as_ref()
        .filter(|queue| !queue.name.is_empty())
    {
        Some(queue) => fermata_proto::taskqueue::TaskQueue {
            kind: TaskQueueKind::Normal,
            ..queue.clone()
        },
        None => workflow_task::normal_queue(tx.run()),
    };
    let policy = match attributes.parent_close_policy {
        ParentClosePolicy::Unspecified => ParentClosePolicy::Terminate,
        given => given,
    };
    let run_timeout = start::capped(
        attributes
            .workflow_run_timeout
            .filter(|timeout| !timeout.is_zero()),
        attributes
            .workflow_execution_timeout
            .filter(|timeout| !timeout.is_zero()),
    );
    let initiated = StartChildWorkflowExecutionInitiatedEventAttributes {
        namespace: namespace.name.clone(),
        namespace_id: namespace.id.0.clone(),
        workflow_id: attributes.workflow_id.clone(),
        workflow_type: attributes.workflow_type.clone(),
        task_queue: Some(task_queue),
        input: attributes.input.clone(),
        workflow_execution_timeout: attributes.workflow_execution_timeout,
        workflow_run_timeout: Some(run_timeout.unwrap_or_default()),
        workflow_task_timeout: Some(start::task_timeout(
            attributes
                .workflow_task_timeout
                .filter(|timeout| !timeout.is_zero())
                .or(tx.run().started.workflow_task_timeout),
            run_timeout,
            tx.ctx,
        )),
        parent_close_policy: policy,
        control: attributes.control.clone(),
        workflow_task_completed_event_id: completed_event_id,
        workflow_id_reuse_policy: match attributes.workflow_id_reuse_policy {
            WorkflowIdReusePolicy::Unspecified => WorkflowIdReusePolicy::AllowDuplicate,
            given => given,
        },
        retry_policy: attributes.retry_policy.as_ref().map(retry::filled),
        cron_schedule: attributes.cron_schedule.clone(),
        header: attributes.header.clone(),
        memo: attributes.memo.clone(),
        search_attributes,
        inherit_build_id: attributes.inherit_build_id,
        priority: attributes.priority.clone(),
        versioning_override: attributes.versioning_override.clone(),
        ..StartChildWorkflowExecutionInitiatedEventAttributes::default()
    };
    let event_id = tx.write(HistoryEvent {
        user_metadata: command.user_metadata.clone(),
        attributes: Some(initiated.clone().into()),
        ..HistoryEvent::default()
    });
    send_start(tx, event_id, initiated, command.user_metadata.clone());
    Ok(())
}

fn send_start(
    tx: &mut Transaction<'_>,
    event_id: i64,
    initiated: StartChildWorkflowExecutionInitiatedEventAttributes,
    user_metadata: Option<fermata_proto::sdk::UserMetadata>,
) {
    // After a reset it is still the start that the first run asked for.
    let origin = tx.run().origin_of(event_id).to_owned();
    let root = tx
        .run()
        .started
        .root_workflow_execution
        .clone()
        .unwrap_or(WorkflowExecution {
            workflow_id: tx.run().workflow_id.0.clone(),
            run_id: tx.run().run_id.clone(),
        });
    let priority = priority::merged(
        tx.run().started.priority.as_ref(),
        initiated.priority.as_ref(),
    );
    let start = StartChildWorkflow {
        start: StartWorkflowExecutionRequest {
            namespace: initiated.namespace,
            workflow_id: initiated.workflow_id,
            workflow_type: initiated.workflow_type,
            task_queue: initiated.task_queue,
            input: initiated.input,
            workflow_execution_timeout: initiated.workflow_execution_timeout,
            workflow_run_timeout: initiated.workflow_run_timeout,
            workflow_task_timeout: initiated.workflow_task_timeout,
            request_id: format!("{origin}:{event_id}:0"),
            workflow_id_reuse_policy: initiated.workflow_id_reuse_policy,
            retry_policy: initiated.retry_policy,
            cron_schedule: initiated.cron_schedule,
            header: initiated.header,
            memo: initiated.memo,
            search_attributes: initiated.search_attributes,
            priority,
            versioning_override: initiated.versioning_override,
            user_metadata,
            ..StartWorkflowExecutionRequest::default()
        },
        parent: ExternalSender {
            run_id: origin,
            ..external::sender(tx, event_id, false)
        },
        parent_close_policy: initiated.parent_close_policy,
        root_workflow_id: root.workflow_id,
        root_run_id: root.run_id,
        first_workflow_task_backoff: None,
    };
    let workflow_id = start.start.workflow_id.clone().into();
    tx.send(
        initiated.namespace_id.into(),
        workflow_id,
        Request::StartChildWorkflow(Box::new(start)),
    );
}

/// After a reset: children whose start was not answered at the reset point are asked for once more.
pub(crate) fn send_again(tx: &mut Transaction<'_>) {
    let is_starting = |event: &HistoryEvent| {
        tx.run()
            .children
            .get(&event.event_id)
            .is_some_and(|child| child.progress.run_id.is_empty())
    };
    let initiated: Vec<Arc<HistoryEvent>> = tx
        .events()
        .filter(|event| is_starting(event))
        .cloned()
        .collect();
    for event in initiated {
        if let Some(HistoryEventAttributes::StartChildWorkflowExecutionInitiated(attributes)) =
            &event.attributes
        {
            let metadata = event.user_metadata.clone();
            send_start(tx, event.event_id, (**attributes).clone(), metadata);
        }
    }
}

/// What an event of the base run behind the reset point means for a child that the new run has kept; nothing if it is not
/// about one.
pub(crate) fn again(run: &Run, event: &HistoryEvent) -> Option<HistoryEvent> {
    use HistoryEventAttributes as A;
    let mut attributes = event.attributes.clone()?;
    macro_rules! closing {
        ($attributes:ident) => {{
            let attributes = Arc::make_mut($attributes);
            (
                attributes.initiated_event_id,
                Some(&mut attributes.started_event_id),
            )
        }};
    }
    let (initiated_event_id, started_event_id) = match &mut attributes {
        A::ChildWorkflowExecutionStarted(a) => (a.initiated_event_id, None),
        A::StartChildWorkflowExecutionFailed(a) => (a.initiated_event_id, None),
        A::ChildWorkflowExecutionCompleted(a) => closing!(a),
        A::ChildWorkflowExecutionFailed(a) => closing!(a),
        A::ChildWorkflowExecutionCanceled(a) => closing!(a),
        A::ChildWorkflowExecutionTimedOut(a) => closing!(a),
        A::ChildWorkflowExecutionTerminated(a) => closing!(a),
        _ => return None,
    };
    let child = run.children.get(&initiated_event_id)?;
    if let Some(started_event_id) = started_event_id {
        *started_event_id = child.progress.started_event_id;
    }
    Some(HistoryEvent {
        links: event.links.clone(),
        attributes: Some(attributes),
        ..HistoryEvent::default()
    })
}

/// # Errors
/// In words.
fn validate(
    tx: &Transaction<'_>,
    attributes: &StartChildWorkflowExecutionCommandAttributes,
    namespace: &str,
) -> Result<(), String> {
    const ON: &str = "on StartChildWorkflowExecutionCommand";
    let workflow_id = &attributes.workflow_id;
    let workflow_type = attributes
        .workflow_type
        .as_ref()
        .map_or("", |kind| &kind.name);
    if workflow_id.is_empty() {
        return Err(format!(
            "Required field WorkflowId is not set {ON}. WorkflowType={workflow_type} Namespace={namespace}"
        ));
    }
    if workflow_type.is_empty() {
        return Err(format!(
            "Required field WorkflowType is not set {ON}. WorkflowId={workflow_id} Namespace={namespace}"
        ));
    }
    let named =
        format!("WorkflowId={workflow_id} WorkflowType={workflow_type} Namespace={namespace}");
    validate::id_length("WorkflowId", workflow_id, tx.ctx)?;
    validate::id_length("WorkflowType", workflow_type, tx.ctx)?;
    if let Some(policy) = &attributes.retry_policy {
        validate::retry_policy(policy)
            .map_err(|text| format!("invalid WorkflowRetryPolicy {ON}: {text}. {named}"))?;
    }
    if !attributes.cron_schedule.is_empty() && !cron::is_valid(&attributes.cron_schedule) {
        return Err(format!(
            "invalid CronSchedule {ON}: invalid CronSchedule.. {named}"
        ));
    }
    priority::check(attributes.priority.as_ref())?;
    validate::blob(attributes.input.as_ref(), tx.ctx)?;
    validate::memo(attributes.memo.as_ref(), tx.ctx)?;
    Ok(())
}

/// The child's partition has answered the start.
pub(crate) fn on_start_answered(
    tx: &mut Transaction<'_>,
    child: &StartChildWorkflow,
    answer: &Answer,
) {
    let initiated_event_id = child.parent.initiated_event_id;
    let Some(pending) = tx.run().children.get(&initiated_event_id).cloned() else {
        return;
    };
    let initiated = &pending.initiated;
    let attributes: HistoryEventAttributes = match answer {
        Ok(Response::StartWorkflowExecution(started)) => {
            ChildWorkflowExecutionStartedEventAttributes {
                namespace: initiated.namespace.clone(),
                namespace_id: initiated.namespace_id.clone(),
                initiated_event_id,
                workflow_execution: Some(WorkflowExecution {
                    workflow_id: initiated.workflow_id.clone(),
                    run_id: started.run_id.clone(),
                }),
                workflow_type: initiated.workflow_type.clone(),
                header: initiated.header.clone(),
            }
            .into()
        }
        _ => StartChildWorkflowExecutionFailedEventAttributes {
            namespace: initiated.namespace.clone(),
            namespace_id: initiated.namespace_id.clone(),
            workflow_id: initiated.workflow_id.clone(),
            workflow_type: initiated.workflow_type.clone(),
            cause: match answer {
                Err(rejection) if rejection.kind == RejectionKind::NotFound => {
                    StartChildWorkflowExecutionFailedCause::NamespaceNotFound
                }
                _ => StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
            },
            control: initiated.control.clone(),
            initiated_event_id,
            workflow_task_completed_event_id: 0,
        }
        .into(),
    };
    tx.write_or_buffer(HistoryEvent {
        attributes: Some(attributes),
        ..HistoryEvent::default()
    });
    workflow_task::schedule_if_none(tx);
}

/// A child tells that its chain of runs has closed.
pub(crate) fn on_closed(
    view: &View<'_>,
    closed: &ChildWorkflowClosed,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = find::open_run_of_id(view, "", &closed.parent_run_id).or_else(|gone| {
        // The parent was reset: the run that goes on has kept the child, or does not know it.
        let heir = |run: &&Run| run.is_open() && run.descends_from(&closed.parent_run_id);
        view.current.filter(heir).ok_or(gone)
    })?;
    let Some(child) = run.children.get(&closed.initiated_event_id) else {
        return Ok(Decision::reply(Reply::done()));
    };
    if child.progress.closing {
        return Ok(Decision::reply(Reply::done()));
    }
    if child.progress.run_id.is_empty() {
        // The start's answer is still on its way: the child repeats the notice.
        return Err(Rejection::new(
            RejectionKind::Unavailable,
            "the child's start is not recorded yet",
        ));
    }
    let Some(attributes) = closing_event(child, closed) else {
        return Err(Rejection::invalid_argument(format!(
            "a child's chain does not end with {:?}",
            closed.close_event.event_type()
        )));
    };
    let mut tx = Transaction::of(run, ctx);
    let event = HistoryEvent {
        attributes: Some(attributes),
        ..HistoryEvent::default()
    };
    tx.write_or_buffer(event);
    workflow_task::schedule_if_none(&mut tx);
    Ok(Decision::one(tx, Reply::done()))
}

fn closing_event(child: &Child, closed: &ChildWorkflowClosed) -> Option<HistoryEventAttributes> {
    use HistoryEventAttributes as A;
    let initiated = &child.initiated;
    let namespace = initiated.namespace.clone();
    let namespace_id = initiated.namespace_id.clone();
    let workflow_execution = Some(WorkflowExecution {
        workflow_id: closed.child_workflow_id.clone(),
        run_id: closed.child_run_id.clone(),
    });
    let workflow_type = Some(WorkflowType {
        name: closed.child_workflow_type.clone(),
    });
    let initiated_event_id = closed.initiated_event_id;
    let started_event_id = child.progress.started_event_id;
    Some(match closed.close_event.attributes.as_ref()? {
        A::WorkflowExecutionCompleted(a) => ChildWorkflowExecutionCompletedEventAttributes {
            result: a.result.clone(),
            namespace,
            namespace_id,
            workflow_execution,
            workflow_type,
            initiated_event_id,
            started_event_id,
        }
        .into(),
        A::WorkflowExecutionFailed(a) => ChildWorkflowExecutionFailedEventAttributes {
            failure: a.failure.clone(),
            namespace,
            namespace_id,
            workflow_execution,
            workflow_type,
            initiated_event_id,
            started_event_id,
            retry_state: a.retry_state,
        }
        .into(),
        A::WorkflowExecutionCanceled(a) => ChildWorkflowExecutionCanceledEventAttributes {
            details: a.details.clone(),
            namespace,
            namespace_id,
            workflow_execution,
            workflow_type,
            initiated_event_id,
            started_event_id,
        }
        .into(),
        A::WorkflowExecutionTimedOut(a) => ChildWorkflowExecutionTimedOutEventAttributes {
            namespace,
            namespace_id,
            workflow_execution,
            workflow_type,
            initiated_event_id,
            started_event_id,
            retry_state: a.retry_state,
        }
        .into(),
        A::WorkflowExecutionTerminated(_) => ChildWorkflowExecutionTerminatedEventAttributes {
            namespace,
            namespace_id,
            workflow_execution,
            workflow_type,
            initiated_event_id,
            started_event_id,
        }
        .into(),
        _ => return None,
    })
}

/// At the end of a chain: tells the parent. Called after the closing event.
pub(crate) fn notify_parent(tx: &mut Transaction<'_>) {
    let run = tx.run();
    let (Some(parent), Some(close_event)) =
        (&run.started.parent_workflow_execution, &run.close_event)
    else {
        return;
    };
    let closed = ChildWorkflowClosed {
        parent_run_id: parent.run_id.clone(),
        initiated_event_id: run.started.parent_initiated_event_id,
        child_workflow_id: run.workflow_id.0.clone(),
        child_run_id: run.run_id.clone(),
        child_workflow_type: run.started.workflow_type.clone().unwrap_or_default().name,
        close_event: (**close_event).clone(),
    };
    let namespace_id = run.started.parent_workflow_namespace_id.clone().into();
    let workflow_id = parent.workflow_id.clone().into();
    tx.send(
        namespace_id,
        workflow_id,
        Request::RecordChildWorkflowClosed(Box::new(closed)),
    );
}

/// Before the closing event of a parent's chain: what its policy means for each open child.
pub(crate) fn on_parent_closing(tx: &mut Transaction<'_>) {
    on_parent_closing_behind(tx, 0);
}

/// As [`on_parent_closing`], for the children that were initiated behind `event_id`.
pub(crate) fn on_parent_closing_behind(tx: &mut Transaction<'_>, event_id: i64) {
    let children: Vec<Child> = tx
        .run()
        .children
        .range(event_id + 1..)
        .map(|(_, child)| child.clone())
        .collect();
    for child in children {
        let initiated = &child.initiated;
        // A child whose start is not answered yet is never started: its outbox entry goes with the parent.
        if child.progress.run_id.is_empty() || child.progress.closing {
            continue;
        }
        let sender = external::sender(tx, 0, true);
        let request = on_parent_closed(
            initiated.parent_close_policy,
            &initiated.namespace,
            &child.progress.run_id,
            sender,
            &initiated.workflow_id,
        );
        let Some(request) = request else { continue };
        let namespace_id = initiated.namespace_id.clone().into();
        tx.send(namespace_id, initiated.workflow_id.clone().into(), request);
    }
}

/// What is sent to a child whose parent closes; nothing if it is abandoned.
fn on_parent_closed(
    policy: ParentClosePolicy,
    namespace: &str,
    first_run_id: &str,
    sender: ExternalSender,
    workflow_id: &str,
) -> Option<Request> {
    let target = Some(WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: String::new(),
    });
    match policy {
        ParentClosePolicy::Abandon => None,
        ParentClosePolicy::RequestCancel => Some(Request::RequestCancelWorkflowExecution(
            Box::new(RequestCancelWorkflow {
                request: RequestCancelWorkflowExecutionRequest {
                    namespace: namespace.to_owned(),
                    workflow_execution: target,
                    first_execution_run_id: first_run_id.to_owned(),
                    identity: "history-service".to_owned(),
                    ..RequestCancelWorkflowExecutionRequest::default()
                },
                sender: Some(sender),
            }),
        )),
        ParentClosePolicy::Terminate | ParentClosePolicy::Unspecified => Some(
            Request::TerminateWorkflowExecution(Box::new(TerminateWorkflow {
                request: TerminateWorkflowExecutionRequest {
                    namespace: namespace.to_owned(),
                    workflow_execution: target,
                    reason: "by parent close policy".to_owned(),
                    first_execution_run_id: first_run_id.to_owned(),
                    identity: "history-service".to_owned(),
                    ..TerminateWorkflowExecutionRequest::default()
                },
                sender: Some(sender),
            })),
        ),
    }
}

/// A child was started although its parent has closed meanwhile: the policy is made good for.
pub(crate) fn on_answered_after_close(
    tx: &mut Transaction<'_>,
    entry: &crate::run::OutboxEntry,
    answer: &Answer,
) {
    let (Request::StartChildWorkflow(child), Ok(Response::StartWorkflowExecution(started))) =
        (&entry.request, answer)
    else {
        return;
    };
    // A reset has taken the child along: it goes on, and so does its parent.
    let is_kept = tx
        .run()
        .reset_to
        .as_ref()
        .is_some_and(|to| child.parent.initiated_event_id <= to.point);
    if is_kept {
        return;
    }
    let request = on_parent_closed(
        child.parent_close_policy,
        &child.start.namespace,
        &started.run_id,
        external::sender(tx, 0, true),
        &child.start.workflow_id,
    );
    if let Some(request) = request {
        tx.send(
            entry.namespace_id.clone(),
            entry.workflow_id.clone(),
            request,
        );
    }
}

pub(crate) fn apply_initiated(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &Arc<StartChildWorkflowExecutionInitiatedEventAttributes>,
) {
    let child = Child {
        initiated: attributes.clone(),
        ..Child::default()
    };
    Arc::make_mut(&mut run.children).insert(event.event_id, child);
}

pub(crate) fn apply_started(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &ChildWorkflowExecutionStartedEventAttributes,
) {
    if let Some(child) = Arc::make_mut(&mut run.children).get_mut(&attributes.initiated_event_id) {
        child.progress.run_id = attributes
            .workflow_execution
            .clone()
            .unwrap_or_default()
            .run_id;
        child.progress.started_event_id = event.event_id;
    }
}

pub(crate) fn apply_closed(run: &mut Run, initiated_event_id: i64) {
    Arc::make_mut(&mut run.children).remove(&initiated_event_id);
}

/// Started or closed, but the event is still in the buffer.
pub(crate) fn apply_buffered(run: &mut Run, initiated_event_id: i64, started_run_id: Option<&str>) {
    if let Some(child) = Arc::make_mut(&mut run.children).get_mut(&initiated_event_id) {
        match started_run_id {
            Some(run_id) => run_id.clone_into(&mut child.progress.run_id),
            None => child.progress.closing = true,
        }
    }
}
