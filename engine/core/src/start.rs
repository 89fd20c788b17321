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
    validate::start(request, ctx)?;
    match admit(view, request, ctx)? {
        Admission::Existing { run, started } => {
            let response = response(run, started, ctx);
            Ok(Decision::reply(Reply::Response(
                Response::StartWorkflowExecution(Box::new(response)),
            )))
        }
        Admission::New { terminated } => {
            let tx = begin(request, &Origin::default(), ctx);
            let response = response(tx.run(), true, ctx);
            let reply = Reply::Response(Response::StartWorkflowExecution(Box::new(response)));
            Ok(Decision::of(terminated.into_iter().chain([tx]), reply))
        }
    }
}

pub(crate) fn on_start_child(
    view: &View<'_>,
    child: &StartChildWorkflow,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = &child.start;
    match admit(view, request, ctx)? {
        Admission::Existing { run, started } => {
            let response = response(run, started, ctx);
            Ok(Decision::reply(Reply::Response(
                Response::StartWorkflowExecution(Box::new(response)),
            )))
        }
        Admission::New { terminated } => {
            let tx = begin(request, &Origin { child: Some(child) }, ctx);
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
    /// With the transaction that terminates the open run, if the policy says so.
    New {
        terminated: Option<Transaction<'a>>,
    },
}

pub(crate) fn admit<'a>(
    view: &View<'a>,
    request: &StartWorkflowExecutionRequest,
    ctx: &'a Context<'a>,
) -> Result<Admission<'a>, Rejection> {
    let Some(current) = view.current else {
        return Ok(Admission::New { terminated: None });
    };
    if current
        .request_ids
        .get(&request.request_id)
        .is_some_and(|record| record.event_type == EventType::WorkflowExecutionStarted)
    {
        return Ok(Admission::Existing {
            run: current,
            started: true,
        });
    }
    let reuse = request.workflow_id_reuse_policy;
    if current.is_open() {
        let terminate = request.workflow_id_conflict_policy
            == WorkflowIdConflictPolicy::TerminateExisting
            || reuse == WorkflowIdReusePolicy::TerminateIfRunning;
        if terminate {
            let mut tx = Transaction::of(current, ctx);
            close::terminate_for_new_run(&mut tx);
            return Ok(Admission::New {
                terminated: Some(tx),
            });
        }
        return match request.workflow_id_conflict_policy {
            WorkflowIdConflictPolicy::UseExisting => Ok(Admission::Existing {
                run: current,
                started: false,
            }),
            _ => Err(already_started(
                current,
                "Workflow execution is already running. WorkflowId: ",
            )),
        };
    }
    let refused = match reuse {
        WorkflowIdReusePolicy::RejectDuplicate => true,
        WorkflowIdReusePolicy::AllowDuplicateFailedOnly => {
            current.status == WorkflowExecutionStatus::Completed
        }
        _ => false,
    };
    if refused {
        return Err(already_started(
            current,
            "Workflow execution already finished. WorkflowId: ",
        ));
    }
    Ok(Admission::New { terminated: None })
}

fn already_started(current: &Run, text: &str) -> Rejection {
    let message = format!("{text}{}, RunId: {}.", current.workflow_id, current.run_id);
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

fn response(run: &Run, started: bool, ctx: &Context<'_>) -> StartWorkflowExecutionResponse {
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
fn started_link(run: &Run, ctx: &Context<'_>) -> Link {
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
    let run_id = ctx.new_id();
    let execution_timeout = request
        .workflow_execution_timeout
        .filter(|timeout| !timeout.is_zero());
    let run_timeout = capped(
        request
            .workflow_run_timeout
            .filter(|timeout| !timeout.is_zero()),
        execution_timeout,
    );
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
    let request_id = request_id.map_or_else(|| ctx.new_id(), str::to_owned);
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

fn normal(queue: &TaskQueue) -> TaskQueue {
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
    run_timeout.map_or(asked, |bound| asked.min(bound))
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
    attributes: &WorkflowExecutionStartedEventAttributes,
) {
    run.started = Arc::new(attributes.clone());
    run.start_time = event.event_time.unwrap_or_default();
    run.status = WorkflowExecutionStatus::Running;
    run.memo = attributes.memo.clone().unwrap_or_default().fields;
    run.search_attributes = attributes.search_attributes.clone().unwrap_or_default();
    run.user_metadata.clone_from(&event.user_metadata);
    run.first_workflow_task_at = attributes
        .first_workflow_task_backoff
        .filter(|backoff| !backoff.is_zero())
        .map(|backoff| run.start_time + backoff);
}
