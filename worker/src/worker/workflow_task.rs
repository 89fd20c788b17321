//! Working on a workflow task: history to the lane, its commands to the engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::command::{Command, CommandAttributes};
use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::{QueryResultType, TaskQueueKind, WorkflowTaskFailedCause};
use fermata_proto::event::{History, HistoryEvent};
use fermata_proto::failure::Failure;
use fermata_proto::protocol::Message;
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind, Request, Response};
use fermata_proto::sdk::WorkflowTaskCompletedMetadata;
use fermata_proto::service::{RespondWorkflowTaskCompletedRequestCapabilities as Capabilities, *};
use fermata_proto::taskqueue::{StickyExecutionAttributes, TaskQueue};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::activity_task::within;
use super::lane::{LocalWork, Outcome};
use super::local_activity::LocalActivities;
use super::{Inner, drive};
use crate::interceptor::{Headers, WorkflowTaskInfo};
use crate::machine::TaskFailure;

/// A workflow task lives for ten seconds unless its workflow says otherwise: later answers come too late.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const HISTORY_PAGE_MAX: Duration = Duration::from_secs(5);
/// Later attempts are left to time out: the growing time-out is what keeps a broken workflow from spinning.
const REPORTED_ATTEMPT: i32 = 1;
/// How much of a workflow task's time may pass before the engine hears that local activities are still at work.
const HEARTBEAT_SHARE: f64 = 0.8;
/// How long commands that others wait for are held back for the sake of local activities that may end soon.
const URGENT_AFTER: Duration = Duration::from_millis(200);
const SDK_NAME: &str = "fermata-rust";

/// What a completion brought along.
#[derive(Default)]
pub(super) struct Brought {
    pub workflow_task: Option<Box<PollWorkflowTaskQueueResponse>>,
    pub activities: Vec<(Box<PollActivityTaskQueueResponse>, OwnedSemaphorePermit)>,
}

/// What the answer to a task needs of it.
struct Header {
    task_token: Bytes,
    execution: WorkflowExecution,
    started_event_id: i64,
    attempt: i32,
    is_first: bool,
    is_query: bool,
    workflow_type: String,
}

/// What comes after a workflow task of a run.
enum Next {
    Done(Brought),
    /// Local activities of the run are still at work: it goes on with its next task at once.
    Task(Box<PollWorkflowTaskQueueResponse>),
}

pub(super) async fn work(
    worker: &Arc<Inner>,
    mut task: Box<PollWorkflowTaskQueueResponse>,
) -> Brought {
    let mut local = None;
    loop {
        let info = info(worker, &task);
        let interceptors = &worker.connection.interceptors;
        let began = Instant::now();
        let spans = interceptors.span(|interceptor| interceptor.workflow_task_span(&info));
        let next = within(spans, work_once(worker, task, &mut local)).await;
        let took = began.elapsed();
        worker
            .metrics
            .workflow_task_seconds
            .with_label_values(&[&info.workflow_type])
            .observe(took.as_secs_f64());
        interceptors.each(|interceptor| interceptor.workflow_task_ended(&info, took));
        match next {
            Next::Done(brought) => return brought,
            Next::Task(next) => task = next,
        }
    }
}

fn info(worker: &Inner, task: &PollWorkflowTaskQueueResponse) -> WorkflowTaskInfo {
    let execution = task.workflow_execution.clone().unwrap_or_default();
    WorkflowTaskInfo {
        workflow_id: execution.workflow_id,
        run_id: execution.run_id,
        workflow_type: task.workflow_type.clone().unwrap_or_default().name,
        task_queue: worker.task_queue.clone(),
        attempt: task.attempt,
        is_query: task.query.is_some(),
    }
}

async fn work_once(
    worker: &Arc<Inner>,
    mut task: Box<PollWorkflowTaskQueueResponse>,
    local: &mut Option<LocalActivities>,
) -> Next {
    let began = Instant::now();
    let header = Header {
        task_token: task.task_token.clone(),
        execution: task.workflow_execution.clone().unwrap_or_default(),
        started_event_id: task.started_event_id,
        attempt: task.attempt,
        is_first: task.previous_started_event_id == 0,
        is_query: task.query.is_some(),
        workflow_type: task.workflow_type.clone().unwrap_or_default().name,
    };
    if let Some(local) = local {
        local.begin_task();
    }
    if let Err(error) = worker.connection.codec.decode(&mut *task).await {
        worker.lanes.forget(&header.execution.run_id).await;
        let failure = TaskFailure::Code(error.to_string());
        fail(worker, &header, &failure).await;
        return Next::Done(Brought::default());
    }
    if !task.next_page_token.is_empty() {
        let rest = std::mem::take(&mut task.next_page_token);
        match history(worker, &header, task.started_event_id, rest).await {
            Ok(events) => task.history.get_or_insert_default().events.extend(events),
            Err(rejection) => return unread(&header, &rejection),
        }
    }
    let workflow_type = task.workflow_type.clone();
    let has_all = task
        .history
        .as_ref()
        .and_then(|history| history.events.first())
        .is_some_and(|event| event.event_id == 1);
    let count_cache = |outcome: &str| worker.metrics.cache.with_label_values(&[outcome]).inc();
    let mut outcome = match worker.lanes.work(task).await {
        Some(Outcome::NeedsHistory(mut task)) => {
            count_cache("miss");
            match history(worker, &header, task.started_event_id, Bytes::new()).await {
                Ok(events) => task.history = Some(History { events }),
                Err(rejection) => return unread(&header, &rejection),
            }
            worker.lanes.work(task).await
        }
        outcome => {
            // A run's first task has its whole history in any case.
            if !header.is_first {
                count_cache(if has_all { "miss" } else { "hit" });
            }
            outcome
        }
    };
    while let Some(Outcome::Local(wanted)) = outcome {
        let local = local.get_or_insert_with(|| {
            LocalActivities::of(worker, &header.execution, workflow_type.clone())
        });
        outcome = wait_for_local(worker, &header, local, wanted, began).await;
    }
    let brought = match outcome {
        Some(Outcome::Completed {
            commands,
            messages,
            query_results,
            goes_on,
            headers,
        }) => {
            let said = Said {
                commands: with_headers(worker, &headers, commands),
                messages,
                query_results,
                needs_another_task: goes_on,
            };
            let brought = complete(worker, &header, said).await;
            if goes_on {
                return go_on(worker, &header, brought).await;
            }
            brought
        }
        Some(Outcome::Answered(answer)) => {
            answer_query(worker, &header, answer).await;
            Brought::default()
        }
        Some(Outcome::Failed(failure)) => {
            fail(worker, &header, &failure).await;
            Brought::default()
        }
        Some(Outcome::NeedsHistory(_)) => {
            tracing::error!(
                workflow_id = header.execution.workflow_id,
                "give up a workflow task: its history does not begin with its first event"
            );
            Brought::default()
        }
        // The task has timed out, or the worker goes down.
        Some(Outcome::Superseded | Outcome::Local(_)) | None => Brought::default(),
    };
    Next::Done(brought)
}

/// Runs local activities until something has ended or it is time to tell the engine that the worker is alive. None if the
/// worker goes down.
async fn wait_for_local(
    worker: &Inner,
    header: &Header,
    local: &mut LocalActivities,
    wanted: LocalWork,
    began: Instant,
) -> Option<Outcome> {
    if let Err(failure) = local.start(wanted.start).await {
        worker.lanes.forget(&header.execution.run_id).await;
        return Some(Outcome::Failed(failure));
    }
    local.cancel(&wanted.cancel);
    let task_timeout = wanted.task_timeout.unwrap_or(ANSWER_MAX);
    let mut patience = task_timeout.mul_f64(HEARTBEAT_SHARE);
    if wanted.is_urgent {
        patience = patience.min(URGENT_AFTER);
    }
    let (ends, is_last) = tokio::select! {
        biased;
        ends = local.next() => (ends, false),
        () = tokio::time::sleep_until(began + patience) => (Vec::new(), true),
        () = worker.force.cancelled() => {
            worker.lanes.forget(&header.execution.run_id).await;
            return None;
        }
    };
    let WorkflowExecution { run_id, .. } = &header.execution;
    let lanes = &worker.lanes;
    lanes
        .go_on(run_id, header.started_event_id, ends, is_last)
        .await
}

/// The engine has heard that local activities are still at work, and gives the next task.
async fn go_on(worker: &Arc<Inner>, header: &Header, brought: Brought) -> Next {
    let Some(task) = brought.workflow_task else {
        // Whoever gets the next task runs them again.
        worker.lanes.forget(&header.execution.run_id).await;
        return Next::Done(brought);
    };
    for (task, slot) in brought.activities {
        drive::spawn(worker, drive::Work::Activity(task, slot));
    }
    Next::Task(task)
}

fn unread(header: &Header, rejection: &Rejection) -> Next {
    tracing::warn!(
        workflow_id = header.execution.workflow_id,
        run_id = header.execution.run_id,
        %rejection,
        "give up a workflow task: its history could not be read"
    );
    Next::Done(Brought::default())
}

/// The events from `token` on up to the one that started the task; all for a query, which no event started.
async fn history(
    worker: &Inner,
    header: &Header,
    started_event_id: i64,
    mut token: Bytes,
) -> Result<Vec<HistoryEvent>, Rejection> {
    let mut events = Vec::new();
    loop {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: worker.connection.namespace.name.clone(),
            execution: Some(header.execution.clone()),
            next_page_token: token,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let request = Request::GetWorkflowExecutionHistory(Box::new(request));
        let answer = worker
            .connection
            .call(&header.execution.workflow_id, HISTORY_PAGE_MAX, request)
            .await?;
        let Response::GetWorkflowExecutionHistory(page) = answer else {
            return Err(unexpected("GetWorkflowExecutionHistory"));
        };
        events.extend(page.history.unwrap_or_default().events);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    if started_event_id > 0 {
        events.retain(|event| event.event_id <= started_event_id);
    }
    Ok(events)
}

fn unexpected(what: &str) -> Rejection {
    Rejection::new(
        RejectionKind::Internal,
        format!("{what} was answered with something else"),
    )
}

/// What a workflow task that was worked on says to the engine.
struct Said {
    commands: Vec<Command>,
    messages: Vec<Message>,
    query_results: std::collections::BTreeMap<String, fermata_proto::query::WorkflowQueryResult>,
    /// Local activities are still at work.
    needs_another_task: bool,
}

async fn complete(worker: &Inner, header: &Header, said: Said) -> Brought {
    let Said {
        mut commands,
        messages,
        query_results,
        needs_another_task,
    } = said;
    let goes_on = !worker.is_shutting_down();
    let mut slots = Vec::new();
    if goes_on && worker.options.runs_eagerly() {
        request_eager(worker, &mut commands, &mut slots);
    }
    let sticky_attributes = worker
        .sticky_queue
        .as_ref()
        .filter(|_| goes_on)
        .map(|sticky| StickyExecutionAttributes {
            worker_task_queue: Some(TaskQueue {
                name: sticky.clone(),
                kind: TaskQueueKind::Sticky,
                normal_name: worker.task_queue.clone(),
            }),
            schedule_to_start_timeout: Some(worker.options.sticky_timeout),
        });
    let request = RespondWorkflowTaskCompletedRequest {
        task_token: header.task_token.clone(),
        commands,
        // A cached run is rewound when a task that only refused updates vanishes.
        capabilities: (!messages.is_empty()).then_some(Capabilities {
            discard_speculative_workflow_task_with_events: true,
        }),
        messages,
        identity: worker.claimant.identity.clone(),
        // It comes with new events only, which are of use to a cached run.
        return_new_workflow_task: sticky_attributes.is_some() || needs_another_task,
        force_create_new_workflow_task: needs_another_task,
        sticky_attributes,
        query_results,
        namespace: worker.connection.namespace.name.clone(),
        sdk_metadata: header.is_first.then(|| WorkflowTaskCompletedMetadata {
            sdk_name: SDK_NAME.to_owned(),
            sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..WorkflowTaskCompletedMetadata::default()
        }),
        ..RespondWorkflowTaskCompletedRequest::default()
    };
    let request = Request::RespondWorkflowTaskCompleted(Box::new(request));
    let answer = worker
        .connection
        .call(&header.execution.workflow_id, ANSWER_MAX, request)
        .await;
    match answer {
        Ok(Response::RespondWorkflowTaskCompleted(response)) => {
            if response.reset_history_event_id > 0 {
                let lanes = &worker.lanes;
                lanes
                    .rewind(&header.execution.run_id, header.started_event_id)
                    .await;
            }
            Brought {
                workflow_task: response.workflow_task.map(Box::new),
                activities: response
                    .activity_tasks
                    .into_iter()
                    .map(Box::new)
                    .zip(slots)
                    .collect(),
            }
        }
        Ok(_) => refused(worker, header, &unexpected("RespondWorkflowTaskCompleted")).await,
        Err(rejection) => refused(worker, header, &rejection).await,
    }
}

/// Adds what the interceptors say to whatever the workflow sends out with headers.
fn with_headers(worker: &Inner, inherited: &Headers, mut commands: Vec<Command>) -> Vec<Command> {
    let interceptors = &worker.connection.interceptors;
    if interceptors.0.is_empty() {
        return commands;
    }
    for command in &mut commands {
        let header = match &mut command.attributes {
            Some(CommandAttributes::ScheduleActivityTask(attributes)) => &mut attributes.header,
            Some(CommandAttributes::StartChildWorkflowExecution(attributes)) => {
                &mut attributes.header
            }
            Some(CommandAttributes::SignalExternalWorkflowExecution(attributes)) => {
                &mut attributes.header
            }
            _ => continue,
        };
        let mut fields = header.take().unwrap_or_default().fields;
        for interceptor in &interceptors.0 {
            interceptor.workflow_headers(inherited, &mut fields);
        }
        if !fields.is_empty() {
            *header = Some(fermata_proto::common::Header { fields });
        }
    }
    commands
}

/// Asks for activities of our own queue to be handed over with the answer, one for each free slot.
fn request_eager(worker: &Inner, commands: &mut [Command], slots: &mut Vec<OwnedSemaphorePermit>) {
    for command in commands {
        let Some(CommandAttributes::ScheduleActivityTask(attributes)) = &mut command.attributes
        else {
            continue;
        };
        let is_hosted = attributes
            .activity_type
            .as_ref()
            .is_some_and(|kind| worker.registry.activities.contains_key(&kind.name));
        let is_own_queue = attributes
            .task_queue
            .as_ref()
            .is_some_and(|queue| queue.name == worker.task_queue);
        if !is_hosted || !is_own_queue {
            continue;
        }
        let Ok(slot) = worker.activity_slots.clone().try_acquire_owned() else {
            return;
        };
        attributes.request_eager_execution = true;
        slots.push(slot);
    }
}

/// The engine did not take the completion: what the cache holds is ahead of history.
async fn refused(worker: &Inner, header: &Header, rejection: &Rejection) -> Brought {
    worker.lanes.forget(&header.execution.run_id).await;
    let WorkflowExecution {
        workflow_id,
        run_id,
    } = &header.execution;
    // A command may name a namespace that does not exist: that is not the task being gone.
    let names_no_namespace = matches!(
        rejection.detail.as_deref(),
        Some(ErrorDetail::NamespaceNotFound(_))
    );
    if rejection.kind == RejectionKind::NotFound && !names_no_namespace {
        tracing::debug!(workflow_id, run_id, %rejection, "a workflow task was over before its completion");
        return Brought::default();
    }
    tracing::warn!(workflow_id, run_id, %rejection, "complete a workflow task");
    let is_ours = names_no_namespace
        || matches!(
            rejection.kind,
            RejectionKind::InvalidArgument | RejectionKind::Internal
        );
    if is_ours && header.attempt <= REPORTED_ATTEMPT {
        // The engine fails the task by itself for most of what it refuses, and then this changes nothing. It does not for a call
        // that it refuses as a whole, and hears nothing of one that is larger than the broker takes or that the codec fails.
        let failure = TaskFailure::Code(format!("complete the workflow task: {rejection}"));
        report(worker, header, &failure).await;
    }
    Brought::default()
}

async fn fail(worker: &Inner, header: &Header, failure: &TaskFailure) {
    tracing::warn!(
        workflow_id = header.execution.workflow_id,
        run_id = header.execution.run_id,
        attempt = header.attempt,
        %failure,
        "workflow task failed"
    );
    worker
        .metrics
        .workflow_task_failures
        .with_label_values(&[&header.workflow_type])
        .inc();
    if header.is_query {
        answer_query(worker, header, Err(Box::new(failure.to_failure()))).await;
    } else if header.attempt <= REPORTED_ATTEMPT {
        report(worker, header, failure).await;
    }
}

async fn report(worker: &Inner, header: &Header, failure: &TaskFailure) {
    let request = RespondWorkflowTaskFailedRequest {
        task_token: header.task_token.clone(),
        cause: failure.cause(),
        failure: Some(failure.to_failure()),
        identity: worker.claimant.identity.clone(),
        namespace: worker.connection.namespace.name.clone(),
        ..RespondWorkflowTaskFailedRequest::default()
    };
    let request = Request::RespondWorkflowTaskFailed(Box::new(request));
    let answer = worker
        .connection
        .call(&header.execution.workflow_id, ANSWER_MAX, request)
        .await;
    if let Err(rejection) = answer
        && rejection.kind != RejectionKind::NotFound
    {
        tracing::warn!(workflow_id = header.execution.workflow_id, %rejection, "report a failed workflow task");
    }
}

async fn answer_query(
    worker: &Inner,
    header: &Header,
    answer: Result<Option<fermata_proto::common::Payloads>, Box<Failure>>,
) {
    let mut request = RespondQueryTaskCompletedRequest {
        task_token: header.task_token.clone(),
        namespace: worker.connection.namespace.name.clone(),
        ..RespondQueryTaskCompletedRequest::default()
    };
    match answer {
        Ok(result) => {
            request.completed_type = QueryResultType::Answered;
            request.query_result = result;
        }
        Err(failure) => {
            request.completed_type = QueryResultType::Failed;
            request.cause = WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure;
            request.error_message.clone_from(&failure.message);
            request.failure = Some(*failure);
        }
    }
    let request = Request::RespondQueryTaskCompleted(Box::new(request));
    let answer = worker
        .connection
        .call(&header.execution.workflow_id, ANSWER_MAX, request)
        .await;
    if let Err(rejection) = answer {
        tracing::debug!(workflow_id = header.execution.workflow_id, %rejection, "answer a query");
    }
}
