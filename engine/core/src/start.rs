//! Starting runs: by a client, by a parent, with a signal, and as the next run of a chain.
//!
//! | current run | request id known | reuse policy (closed) / conflict policy (open) | outcome |
//! |---|---|---|---|
//! | any | yes | any | the run it started, as if it had just been |
//! | none | no | any | started |
//! | closed | no | allows it | started |
//! | closed | no | forbids it | ALREADY_EXISTS |
//! | open | no | fail | ALREADY_EXISTS |
//! | open | no | use existing | that run, `started` false |
//! | open | no | terminate existing | terminated and started, atomically |

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::error_details::WorkflowExecutionAlreadyStartedFailure;
use fermata_proto::event::*;
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind, Response, StartChildWorkflow};
use fermata_proto::service::{StartWorkflowExecutionRequest, StartWorkflowExecutionResponse};
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::workflow::OnConflictOptions;

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Effect, Reply, View};
use crate::run::{RequestIdRecord, Run};
use crate::transaction::Transaction;
use crate::{close, cron, retry, validate, workflow_task};

/// Where a new run comes from, besides its request.
#[derive(Default)]
pub(crate) struct Origin<'a> {
    pub child: Option<&'a StartChildWorkflow>,
}

pub(crate) fn on_start(
    view: &View<'_>,
    request: &StartWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = validate::start(request, ctx)?;
    let request = &*request;
    match admit(view, request, ctx)? {
        Admission::Existing { run, started } => existing(run, started, request, ctx),
        Admission::New { terminated } => {
            let mut tx = begin(request, &Origin::default(), ctx);
            let terminated = terminate(terminated, &tx);
            let response = Box::new(response(tx.run(), true, ctx));
            let reply = if tx.run().started.eager_execution_accepted {
                tx.take_dispatch();
                workflow_task::start(&mut tx, &request.identity, &request.request_id, "");
                Reply::WorkflowStarted {
                    response,
                    workflow_task: Box::new(workflow_task::handout(tx.run(), false)),
                }
            } else {
                Reply::Response(Response::StartWorkflowExecution(response))
            };
            Ok(Decision::of(terminated.into_iter().chain([tx]), reply))
        }
    }
}

/// Answers with a run that was there before; a request id and callbacks may be attached to it.
fn existing(
    run: &Run,
    started: bool,
    request: &StartWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let mut response = response(run, started, ctx);
    let mut tx = Transaction::of(run, ctx);
    let options = request.on_conflict_options.clone().unwrap_or_default();
    if !started && options != OnConflictOptions::default() {
        if run.is_open() && !run.request_ids.contains_key(&request.request_id) {
            attach(&mut tx, request, &options);
        }
        if options.attach_request_id {
            let event_type = EventType::WorkflowExecutionOptionsUpdated;
            let link = request_id_link(run, &request.request_id, event_type, ctx);
            response.link = Some(link);
        }
    }
    let reply = Reply::Response(Response::StartWorkflowExecution(Box::new(response)));
    Ok(Decision::one(tx, reply))
}

fn attach(
    tx: &mut Transaction<'_>,
    request: &StartWorkflowExecutionRequest,
    options: &OnConflictOptions,
) {
    let attached_request_id = if options.attach_request_id {
        request.request_id.clone()
    } else {
        String::new()
    };
    let attributes = WorkflowExecutionOptionsUpdatedEventAttributes {
        attached_request_id: attached_request_id.clone(),
        attached_completion_callbacks: if options.attach_completion_callbacks {
            request.completion_callbacks.clone()
        } else {
            Vec::new()
        },
        ..WorkflowExecutionOptionsUpdatedEventAttributes::default()
    };
    let event = HistoryEvent {
        worker_may_ignore: true,
        links: if options.attach_links {
            request.links.clone()
        } else {
            Vec::new()
        },
        attributes: Some(attributes.into()),
        ..HistoryEvent::default()
    };
    let event_id = tx.write_or_buffer(event).unwrap_or(0);
    if !attached_request_id.is_empty() {
        tx.fact(Fact::RequestId {
            request_id: attached_request_id,
            record: RequestIdRecord {
                event_type: EventType::WorkflowExecutionOptionsUpdated,
                event_id,
            },
        });
    }
}

/// Terminates the run that makes place for `next`.
pub(crate) fn terminate<'a>(
    terminated: Option<Transaction<'a>>,
    next: &Transaction<'_>,
) -> Option<Transaction<'a>> {
    let mut terminated = terminated?;
    close::terminate_for_new_run(&mut terminated, &next.run().run_id);
    Some(terminated)
}

/// Whether the request of this id has started `run`.
pub(crate) fn is_started_by(run: &Run, request_id: &str) -> bool {
    run.request_ids
        .get(request_id)
        .is_some_and(|record| record.event_type == EventType::WorkflowExecutionStarted)
}

/// Whether `run` belongs to the chain of runs that the same command of the same parent has begun.
fn is_child_of(run: &Run, child: &StartChildWorkflow) -> bool {
    let (started, parent) = (&run.started, &child.parent);
    started.parent_initiated_event_id == parent.initiated_event_id
        && started.parent_workflow_namespace_id == parent.namespace_id.0
        && started
            .parent_workflow_execution
            .as_ref()
            .is_some_and(|execution| execution.run_id == parent.run_id)
}

pub(crate) fn on_start_child(
    view: &View<'_>,
    child: &StartChildWorkflow,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = &child.start;
    // A repeat, whose first answer was lost, may find a later run of the child's chain: that run does not know the request's id,
    // but it has the same parent.
    if let Some(current) = view.current.filter(|current| is_child_of(current, child)) {
        let mut response = response(current, true, ctx);
        response
            .run_id
            .clone_from(&current.started.first_execution_run_id);
        let reply = Reply::Response(Response::StartWorkflowExecution(Box::new(response)));
        return Ok(Decision::reply(reply));
    }
    match admit(view, request, ctx)? {
        Admission::Existing { run, started } => existing(run, started, request, ctx),
        Admission::New { terminated } => {
            let tx = begin(request, &Origin { child: Some(child) }, ctx);
            let terminated = terminate(terminated, &tx);
            let response = response(tx.run(), true, ctx);
            let reply = Reply::Response(Response::StartWorkflowExecution(Box::new(response)));
            Ok(Decision::of(terminated.into_iter().chain([tx]), reply))
        }
    }
}

/// Whether a start may go on.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Admission<'a> {
    Existing {
        run: &'a Run,
        started: bool,
    },
    /// With the transaction in which the open run is to be terminated, if the policy says so.
    New {
        terminated: Option<Transaction<'a>>,
    },
}

pub(crate) fn admit<'a>(
    view: &View<'a>,
    request: &StartWorkflowExecutionRequest,
    ctx: &'a Context<'a>,
) -> Result<Admission<'a>, Rejection> {
    let Some(current) = view.current.filter(|run| !run.deleting) else {
        return Ok(Admission::New { terminated: None });
    };
    match current
        .request_ids
        .get(&request.request_id)
        .map(|record| record.event_type)
    {
        Some(EventType::WorkflowExecutionStarted) => {
            return Ok(Admission::Existing {
                run: current,
                started: true,
            });
        }
        Some(EventType::WorkflowExecutionOptionsUpdated) => {
            return Ok(Admission::Existing {
                run: current,
                started: false,
            });
        }
        _ => {}
    }
    if current.is_open() && current.schedule.is_some() {
        // A schedule's own id is not a workflow's to take.
        return Err(already_started(
            current,
            "Workflow execution is already running.",
            "",
        ));
    }
    let reuse = request.workflow_id_reuse_policy;
    if current.is_open() {
        let terminate = request.workflow_id_conflict_policy
            == WorkflowIdConflictPolicy::TerminateExisting
            || reuse == WorkflowIdReusePolicy::TerminateIfRunning;
        if terminate {
            return Ok(Admission::New {
                terminated: Some(Transaction::of(current, ctx)),
            });
        }
        return match request.workflow_id_conflict_policy {
            WorkflowIdConflictPolicy::UseExisting => Ok(Admission::Existing {
                run: current,
                started: false,
            }),
            _ => Err(already_started(
                current,
                "Workflow execution is already running.",
                "",
            )),
        };
    }
    match reuse {
        WorkflowIdReusePolicy::RejectDuplicate => Err(already_started(
            current,
            "Workflow execution already finished.",
            " Workflow Id reuse policy: reject duplicate workflow Id.",
        )),
        WorkflowIdReusePolicy::AllowDuplicateFailedOnly
            if current.status == WorkflowExecutionStatus::Completed =>
        {
            Err(already_started(
                current,
                "Workflow execution already finished successfully.",
                " Workflow Id reuse policy: allow duplicate workflow Id if last run failed.",
            ))
        }
        _ => Ok(Admission::New { terminated: None }),
    }
}

fn already_started(current: &Run, what: &str, why: &str) -> Rejection {
    let Run {
        workflow_id,
        run_id,
        ..
    } = current;
    let message = format!("{what} WorkflowId: {workflow_id}, RunId: {run_id}.{why}");
    let start_request_id = current
        .request_ids
        .iter()
        .find(|(_, record)| record.event_type == EventType::WorkflowExecutionStarted)
        .map(|(request_id, _)| request_id.clone())
        .unwrap_or_default();
    Rejection::new(RejectionKind::AlreadyExists, message).with(
        ErrorDetail::WorkflowExecutionAlreadyStarted(WorkflowExecutionAlreadyStartedFailure {
            start_request_id,
            run_id: current.run_id.clone(),
            first_execution_run_id: current.started.first_execution_run_id.clone(),
        }),
    )
}

pub(crate) fn response(
    run: &Run,
    started: bool,
    ctx: &Context<'_>,
) -> StartWorkflowExecutionResponse {
    StartWorkflowExecutionResponse {
        run_id: run.run_id.clone(),
        first_execution_run_id: run.started.first_execution_run_id.clone(),
        started,
        status: run.status,
        link: Some(started_link(run, ctx)),
        ..StartWorkflowExecutionResponse::default()
    }
}

/// The link to a run's first event.
pub(crate) fn started_link(run: &Run, ctx: &Context<'_>) -> Link {
    Link {
        variant: Some(LinkVariant::WorkflowEvent(LinkWorkflowEvent {
            namespace: ctx.namespace.name.clone(),
            workflow_id: run.workflow_id.0.clone(),
            run_id: run.run_id.clone(),
            reference: Some(LinkWorkflowEventReference::EventRef(
                LinkWorkflowEventEventReference {
                    event_id: 1,
                    event_type: EventType::WorkflowExecutionStarted,
                },
            )),
        })),
    }
}

/// The link to the event that a request id stands for.
pub(crate) fn request_id_link(
    run: &Run,
    request_id: &str,
    event_type: EventType,
    ctx: &Context<'_>,
) -> Link {
    Link {
        variant: Some(LinkVariant::WorkflowEvent(LinkWorkflowEvent {
            namespace: ctx.namespace.name.clone(),
            workflow_id: run.workflow_id.0.clone(),
            run_id: run.run_id.clone(),
            reference: Some(LinkWorkflowEventReference::RequestIdRef(
                LinkWorkflowEventRequestIdReference {
                    request_id: request_id.to_owned(),
                    event_type,
                },
            )),
        })),
    }
}

/// The first transition of a run that a request starts.
pub(crate) fn begin<'a>(
    request: &StartWorkflowExecutionRequest,
    origin: &Origin<'_>,
    ctx: &'a Context<'a>,
) -> Transaction<'a> {
    begin_with(request, origin, ctx, |_| {})
}

/// As [`begin`]; `more` writes what comes between the first event and the first workflow task.
pub(crate) fn begin_with<'a>(
    request: &StartWorkflowExecutionRequest,
    origin: &Origin<'_>,
    ctx: &'a Context<'a>,
    more: impl FnOnce(&mut Transaction<'a>),
) -> Transaction<'a> {
    let run_id = ctx.new_run_id();
    let execution_timeout = request
        .workflow_execution_timeout
        .filter(|timeout| !timeout.is_zero());
    // Zero stands for none; a child's event says it, a client's does not.
    let run_timeout = capped(
        request
            .workflow_run_timeout
            .filter(|timeout| !timeout.is_zero()),
        execution_timeout,
    )
    .or(origin.child.map(|_| Duration::ZERO));
    let backoff = match (&origin.child, request.workflow_start_delay) {
        (_, Some(delay)) => delay,
        (Some(child), None) => child.first_workflow_task_backoff.unwrap_or_default(),
        (None, None) => Duration::ZERO,
    };
    let cron = !request.cron_schedule.is_empty();
    let backoff = if cron
        && request
            .workflow_start_delay
            .is_none_or(|delay| delay.is_zero())
    {
        cron::backoff(&request.cron_schedule, ctx.now, ctx.now).unwrap_or_default()
    } else {
        backoff
    };
    let mut attributes = WorkflowExecutionStartedEventAttributes {
        workflow_type: request.workflow_type.clone(),
        task_queue: request.task_queue.as_ref().map(normal),
        input: request.input.clone(),
        workflow_execution_timeout: execution_timeout,
        workflow_run_timeout: run_timeout,
        workflow_task_timeout: Some(task_timeout(
            request.workflow_task_timeout,
            run_timeout,
            ctx,
        )),
        original_execution_run_id: run_id.clone(),
        first_execution_run_id: run_id.clone(),
        identity: request.identity.clone(),
        retry_policy: request.retry_policy.as_ref().map(retry::filled),
        attempt: 1,
        workflow_execution_expiration_time: execution_timeout
            .map(|timeout| ctx.now + timeout + backoff),
        cron_schedule: request.cron_schedule.clone(),
        first_workflow_task_backoff: Some(backoff),
        initiator: if cron {
            ContinueAsNewInitiator::CronSchedule
        } else {
            ContinueAsNewInitiator::Unspecified
        },
        memo: request.memo.as_ref().map(without_nulls),
        search_attributes: request.search_attributes.clone(),
        header: request.header.clone(),
        workflow_id: request.workflow_id.clone(),
        completion_callbacks: request.completion_callbacks.clone(),
        continued_failure: request.continued_failure.clone(),
        last_completion_result: request.last_completion_result.clone(),
        versioning_override: request.versioning_override.clone(),
        priority: request.priority.clone(),
        eager_execution_accepted: request.request_eager_execution && backoff.is_zero(),
        ..WorkflowExecutionStartedEventAttributes::default()
    };
    if let Some(child) = origin.child {
        let parent = &child.parent;
        attributes
            .parent_workflow_namespace
            .clone_from(&parent.namespace);
        attributes
            .parent_workflow_namespace_id
            .clone_from(&parent.namespace_id.0);
        attributes.parent_workflow_execution = Some(WorkflowExecution {
            workflow_id: parent.workflow_id.clone(),
            run_id: parent.run_id.clone(),
        });
        attributes.parent_initiated_event_id = parent.initiated_event_id;
        attributes.root_workflow_execution = Some(WorkflowExecution {
            workflow_id: child.root_workflow_id.clone(),
            run_id: child.root_run_id.clone(),
        });
    }
    let event = HistoryEvent {
        user_metadata: request.user_metadata.clone(),
        links: request.links.clone(),
        attributes: Some(attributes.into()),
        ..HistoryEvent::default()
    };
    open(event, run_id, Some(&request.request_id), ctx, more)
}

/// Writes the first event of a new run and schedules its first workflow task, unless that waits.
pub(crate) fn open<'a>(
    event: HistoryEvent,
    run_id: String,
    request_id: Option<&str>,
    ctx: &'a Context<'a>,
    more: impl FnOnce(&mut Transaction<'a>),
) -> Transaction<'a> {
    let workflow_id = match &event.attributes {
        Some(HistoryEventAttributes::WorkflowExecutionStarted(started)) => {
            started.workflow_id.clone()
        }
        _ => unreachable!("a run begins with WorkflowExecutionStarted"),
    };
    let run = Run::new(ctx.namespace.id.clone(), workflow_id.into(), run_id);
    let mut tx = Transaction::create(run, ctx);
    let event_id = tx.write(event);
    let request_id = request_id
        .filter(|request_id| !request_id.is_empty())
        .map_or_else(|| ctx.new_id(), str::to_owned);
    tx.fact(Fact::RequestId {
        request_id,
        record: RequestIdRecord {
            event_type: EventType::WorkflowExecutionStarted,
            event_id,
        },
    });
    more(&mut tx);
    workflow_task::schedule_if_none(&mut tx);
    let run_id = tx.run().run_id.clone();
    tx.effect(Effect::PublishVisibility { run_id });
    tx
}

pub(crate) fn normal(queue: &TaskQueue) -> TaskQueue {
    TaskQueue {
        name: queue.name.clone(),
        kind: TaskQueueKind::Normal,
        normal_name: String::new(),
    }
}

/// The smaller of a time-out and its bound; the bound if there is no time-out.
pub(crate) fn capped(timeout: Option<Duration>, bound: Option<Duration>) -> Option<Duration> {
    match (timeout, bound) {
        (Some(timeout), Some(bound)) => Some(timeout.min(bound)),
        (timeout, bound) => timeout.or(bound),
    }
}

pub(crate) fn task_timeout(
    asked: Option<Duration>,
    run_timeout: Option<Duration>,
    ctx: &Context<'_>,
) -> Duration {
    let asked = asked
        .filter(|timeout| !timeout.is_zero())
        .unwrap_or(ctx.limits.workflow_task_timeout_default)
        .min(ctx.limits.workflow_task_timeout_max);
    run_timeout
        .filter(|bound| !bound.is_zero())
        .map_or(asked, |bound| asked.min(bound))
}

/// A memo value that is JSON null counts as absent.
fn without_nulls(memo: &Memo) -> Memo {
    let mut memo = memo.clone();
    memo.fields.retain(|_, value| {
        let is_json = value
            .metadata
            .get("encoding")
            .is_some_and(|encoding| encoding == "json/plain");
        let is_null = value
            .metadata
            .get("encoding")
            .is_some_and(|encoding| encoding == "binary/null");
        !(is_null || is_json && value.data == "null")
    });
    memo
}

pub(crate) fn apply_started(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &Arc<WorkflowExecutionStartedEventAttributes>,
) {
    run.started = attributes.clone();
    run.start_time = event.event_time.unwrap_or_default();
    run.status = WorkflowExecutionStatus::Running;
    run.memo = attributes.memo.clone().unwrap_or_default().fields.into();
    run.search_attributes = attributes
        .search_attributes
        .clone()
        .unwrap_or_default()
        .into();
    run.user_metadata.clone_from(&event.user_metadata);
    run.first_workflow_task_at = attributes
        .first_workflow_task_backoff
        .filter(|backoff| !backoff.is_zero())
        .map(|backoff| run.start_time + backoff);
}
