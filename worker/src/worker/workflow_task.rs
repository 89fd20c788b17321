//! Working on a workflow task: history to the lane, its commands to the engine.

use std::time::Duration;

use bytes::Bytes;
use fermata_proto::command::{Command, CommandAttributes};
use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::{QueryResultType, TaskQueueKind, WorkflowTaskFailedCause};
use fermata_proto::event::{History, HistoryEvent};
use fermata_proto::failure::Failure;
use fermata_proto::rpc::{Rejection, RejectionKind, Request, Response};
use fermata_proto::sdk::WorkflowTaskCompletedMetadata;
use fermata_proto::service::*;
use fermata_proto::taskqueue::{StickyExecutionAttributes, TaskQueue};
use tokio::sync::OwnedSemaphorePermit;

use super::Inner;
use super::lane::Outcome;
use crate::machine::TaskFailure;

/// A workflow task lives for ten seconds unless its workflow says otherwise: later answers come too late.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const HISTORY_PAGE_MAX: Duration = Duration::from_secs(5);
/// Later attempts are left to time out: the growing time-out is what keeps a broken workflow from spinning.
const REPORTED_ATTEMPT: i32 = 1;
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
    attempt: i32,
    is_first: bool,
    is_query: bool,
}

pub(super) async fn work(worker: &Inner, mut task: Box<PollWorkflowTaskQueueResponse>) -> Brought {
    let header = Header {
        task_token: task.task_token.clone(),
        execution: task.workflow_execution.clone().unwrap_or_default(),
        attempt: task.attempt,
        is_first: task.previous_started_event_id == 0,
        is_query: task.query.is_some(),
    };
    if !task.next_page_token.is_empty() {
        let rest = std::mem::take(&mut task.next_page_token);
        match history(worker, &header, task.started_event_id, rest).await {
            Ok(events) => task.history.get_or_insert_default().events.extend(events),
            Err(rejection) => return unread(&header, &rejection),
        }
    }
    let outcome = match worker.lanes.work(task).await {
        Some(Outcome::NeedsHistory(mut task)) => {
            match history(worker, &header, task.started_event_id, Bytes::new()).await {
                Ok(events) => task.history = Some(History { events }),
                Err(rejection) => return unread(&header, &rejection),
            }
            worker.lanes.work(task).await
        }
        outcome => outcome,
    };
    match outcome {
        Some(Outcome::Completed {
            commands,
            query_results,
        }) => complete(worker, &header, commands, query_results).await,
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
        // The worker goes down.
        None => Brought::default(),
    }
}

fn unread(header: &Header, rejection: &Rejection) -> Brought {
    tracing::warn!(
        workflow_id = header.execution.workflow_id,
        run_id = header.execution.run_id,
        %rejection,
        "give up a workflow task: its history could not be read"
    );
    Brought::default()
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

async fn complete(
    worker: &Inner,
    header: &Header,
    mut commands: Vec<Command>,
    query_results: std::collections::BTreeMap<String, fermata_proto::query::WorkflowQueryResult>,
) -> Brought {
    let goes_on = !worker.is_shutting_down();
    let mut slots = Vec::new();
    if goes_on && worker.options.eager_activities {
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
        identity: worker.claimant.identity.clone(),
        // It comes with new events only, which are of use to a cached run.
        return_new_workflow_task: sticky_attributes.is_some(),
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
        Ok(Response::RespondWorkflowTaskCompleted(response)) => Brought {
            workflow_task: response.workflow_task.map(Box::new),
            activities: response
                .activity_tasks
                .into_iter()
                .map(Box::new)
                .zip(slots)
                .collect(),
        },
        Ok(_) => refused(worker, header, &unexpected("RespondWorkflowTaskCompleted")).await,
        Err(rejection) => refused(worker, header, &rejection).await,
    }
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
    if rejection.kind == RejectionKind::NotFound {
        tracing::debug!(workflow_id, run_id, %rejection, "a workflow task was over before its completion");
        return Brought::default();
    }
    tracing::warn!(workflow_id, run_id, %rejection, "complete a workflow task");
    if rejection.kind == RejectionKind::InvalidArgument && header.attempt <= REPORTED_ATTEMPT {
        // Refused by the engine, the task is failed already and this changes nothing; refused on the way, because it is
        // larger than the broker takes, nobody has told the engine yet.
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
