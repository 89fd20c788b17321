//! What leaves a partition after the log's acknowledgement: answers and tasks, off the owner's loop.
//!
//! One task a partition does it in the order of commits, so that a task is not on its queue before the answers of earlier
//! commits are out. An answer that has to read old history from the store goes its own way, since nothing waits for its order.

use std::sync::Arc;

use fermata_core::{Status, TaskHandout, Wait};
use fermata_proto::event::{History as Events, HistoryEvent, HistoryEventAttributes};
use fermata_proto::ids::Partition;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::subjects::TaskKind;
use tokio::sync::{Notify, Semaphore, mpsc};
use tracing::{error, info};

use super::commit::Released;
use super::history::{PAGE_BATCHES_MAX, PageToken, Position, ReadError, Snapshot};
use crate::broker::Broker;
use crate::engine::Shared;

/// Commits that may wait to be released; the owner waits when there are more.
const RELEASES_QUEUED_MAX: usize = 64;
/// Answers that read old history at the same time, in one partition.
const READS_MAX: usize = 64;

/// Whoever waits for an answer.
pub struct Asker {
    pub reply: Box<dyn FnOnce(Answer) + Send>,
    pub operation: &'static str,
    /// Its request is asked for the second time, by the owner itself.
    pub is_repeat: bool,
    pub shared: Arc<Shared>,
}

impl Asker {
    pub fn answer(self, answer: Answer) {
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(rejection) => outcome(rejection.kind),
        };
        self.shared
            .metrics
            .requests
            .with_label_values(&[self.operation, outcome])
            .inc();
        (self.reply)(answer);
    }
}

fn outcome(kind: RejectionKind) -> &'static str {
    match kind {
        RejectionKind::InvalidArgument => "invalid_argument",
        RejectionKind::NotFound => "not_found",
        RejectionKind::AlreadyExists => "already_exists",
        RejectionKind::FailedPrecondition => "failed_precondition",
        RejectionKind::PermissionDenied => "permission_denied",
        RejectionKind::ResourceExhausted => "resource_exhausted",
        RejectionKind::Aborted => "aborted",
        RejectionKind::Unimplemented => "unimplemented",
        RejectionKind::Unavailable => "unavailable",
        RejectionKind::NotOwner => "not_owner",
        RejectionKind::DeadlineExceeded => "deadline_exceeded",
        RejectionKind::Canceled => "canceled",
        RejectionKind::Corrupt => "corrupt",
        RejectionKind::Internal => "internal",
        RejectionKind::ProtocolMismatch => "protocol_mismatch",
    }
}

/// An answer, or all that it is made from.
pub enum Answering {
    Ready(Answer),
    Handout(Box<Handout>),
    Page(Box<PageOf>),
    Outcome(Box<OutcomeOf>),
}

/// A workflow task on its way to a worker.
pub struct Handout {
    pub task: TaskHandout,
    pub history: Snapshot,
    pub within: Within,
}

/// The answer that a workflow task comes in.
pub enum Within {
    Claim,
    WorkflowStarted(Box<StartWorkflowExecutionResponse>),
    WorkflowTaskCompleted(Box<RespondWorkflowTaskCompletedResponse>),
    ActivityCompleted,
}

/// The outcome of an update, which history holds.
pub struct OutcomeOf {
    pub wait: Wait,
    /// The event that completes the update, and no more.
    pub history: Snapshot,
    pub event_id: i64,
}

/// One page of history.
pub struct PageOf {
    pub history: Snapshot,
    pub from: Position,
    pub batches_max: usize,
    pub token: PageToken,
    pub order: Order,
}

pub enum Order {
    Forward {
        /// Shown behind the last page.
        tail: Vec<HistoryEvent>,
        /// The caller goes on waiting behind the last page.
        goes_on: bool,
    },
    Backward,
}

/// A task on its way to a queue.
#[derive(Debug, Clone)]
pub enum Dispatch {
    Queue {
        kind: TaskKind,
        queue: String,
        task: TaskReference,
        message_id: String,
    },
    /// If it cannot be sent, it goes to the queue `otherwise`.
    Sticky {
        queue: String,
        otherwise: String,
        task: TaskReference,
        message_id: String,
    },
}

impl Answering {
    fn needs_store(&self) -> bool {
        match self {
            Self::Ready(_) => false,
            Self::Handout(handout) => handout.history.needs_store(),
            Self::Page(page) => page.history.needs_store(),
            Self::Outcome(outcome) => outcome.history.needs_store(),
        }
    }

    async fn resolve(self, broker: &dyn Broker) -> Answer {
        match self {
            Self::Ready(answer) => answer,
            Self::Handout(handout) => handout.resolve(broker).await,
            Self::Page(page) => page.resolve(broker).await,
            Self::Outcome(outcome) => outcome.resolve(broker).await,
        }
    }
}

impl Handout {
    async fn resolve(self, broker: &dyn Broker) -> Answer {
        let response = with_history(self.task, &self.history, broker).await?;
        Ok(match self.within {
            Within::Claim => Response::WorkflowTask(Box::new(response)),
            Within::WorkflowStarted(mut started) => {
                started.eager_workflow_task = Some(response);
                Response::StartWorkflowExecution(started)
            }
            Within::WorkflowTaskCompleted(mut completed) => {
                completed.workflow_task = Some(response);
                Response::RespondWorkflowTaskCompleted(completed)
            }
            Within::ActivityCompleted => {
                Response::RespondActivityTaskCompleted(Box::new(ActivityCompleted {
                    workflow_task: Some(Box::new(response)),
                }))
            }
        })
    }
}

async fn with_history(
    task: TaskHandout,
    history: &Snapshot,
    broker: &dyn Broker,
) -> Result<PollWorkflowTaskQueueResponse, Rejection> {
    let from = Position {
        event_id: task.history_from,
        chunk: 0,
    };
    let mut page = history
        .forward(broker, from, PAGE_BATCHES_MAX)
        .await
        .map_err(|error| unreadable(&error))?;
    let mut response = task.response;
    match page.next {
        Some(next) => {
            let token = PageToken {
                run_id: task.run_id,
                next: next.event_id,
                chunk: next.chunk,
                until: history.until(),
            };
            response.next_page_token = token.encode();
        }
        None => page.events.extend(task.tail),
    }
    response.history = Some(Events {
        events: page.events,
    });
    Ok(response)
}

impl OutcomeOf {
    async fn resolve(self, broker: &dyn Broker) -> Answer {
        let from = Position {
            event_id: self.event_id,
            chunk: 0,
        };
        let page = match self.history.forward(broker, from, 1).await {
            Ok(page) => page,
            Err(error) => return self.wait.refuse(unreadable(&error)),
        };
        let event = page
            .events
            .into_iter()
            .find(|event| event.event_id == self.event_id);
        match event.and_then(|event| event.attributes) {
            Some(HistoryEventAttributes::WorkflowExecutionUpdateCompleted(completed)) => {
                let outcome = completed.outcome.clone().unwrap_or_default();
                self.wait.answer(&Status::Completed(Box::new(outcome)))
            }
            _ => {
                error!(run_id = %self.wait.run_id, event_id = self.event_id, "history does not hold the outcome of an update");
                self.wait.answer(&Status::CompletedBy(self.event_id))
            }
        }
    }
}

impl PageOf {
    async fn resolve(self, broker: &dyn Broker) -> Answer {
        match self.order {
            Order::Forward { tail, goes_on } => {
                let mut page = self
                    .history
                    .forward(broker, self.from, self.batches_max)
                    .await
                    .map_err(|error| unreadable(&error))?;
                let next_page_token = match page.next {
                    Some(next) => token_at(self.token, next).encode(),
                    None => {
                        page.events.extend(tail);
                        if goes_on {
                            self.token.encode()
                        } else {
                            bytes::Bytes::new()
                        }
                    }
                };
                Ok(Response::GetWorkflowExecutionHistory(Box::new(
                    GetWorkflowExecutionHistoryResponse {
                        history: Some(Events {
                            events: page.events,
                        }),
                        next_page_token,
                        ..GetWorkflowExecutionHistoryResponse::default()
                    },
                )))
            }
            Order::Backward => {
                let page = self
                    .history
                    .backward(broker, self.from, self.batches_max)
                    .await
                    .map_err(|error| unreadable(&error))?;
                Ok(Response::GetWorkflowExecutionHistoryReverse(Box::new(
                    GetWorkflowExecutionHistoryReverseResponse {
                        history: Some(Events {
                            events: page.events,
                        }),
                        next_page_token: page
                            .next
                            .map(|next| token_at(self.token, next).encode())
                            .unwrap_or_default(),
                    },
                )))
            }
        }
    }
}

fn token_at(token: PageToken, next: Position) -> PageToken {
    PageToken {
        next: next.event_id,
        chunk: next.chunk,
        ..token
    }
}

fn unreadable(failure: &ReadError) -> Rejection {
    match failure {
        ReadError::Broker { source, .. } => {
            Rejection::new(RejectionKind::Unavailable, format!("{failure}: {source}"))
        }
        ReadError::Seal { .. } | ReadError::Missing { .. } => {
            error!(error = %failure, "a run's history is damaged");
            Rejection::new(RejectionKind::Corrupt, failure.to_string())
        }
    }
}

/// The answer of a completion whose next task is not taken along.
pub fn without_task(response: RespondWorkflowTaskCompletedResponse) -> Answer {
    Ok(Response::RespondWorkflowTaskCompleted(Box::new(response)))
}

/// Releases what is sent to it, until the sender is dropped. `lost` is told when a task could not be dispatched.
pub fn start(
    shared: Arc<Shared>,
    partition: Partition,
    lost: Arc<Notify>,
) -> mpsc::Sender<Released> {
    let (tx, mut rx) = mpsc::channel::<Released>(RELEASES_QUEUED_MAX);
    tokio::spawn(async move {
        let reads = Arc::new(Semaphore::new(READS_MAX));
        while let Some(released) = rx.recv().await {
            for (asker, answering) in released.answers {
                if answering.needs_store() {
                    read_aside(&shared, &reads, asker, answering).await;
                } else {
                    let answer = answering.resolve(&*shared.broker).await;
                    asker.answer(answer);
                }
            }
            for dispatch in released.dispatches {
                if let Err(error) = dispatch_one(&shared, partition, &dispatch).await {
                    info!(%partition, %error, "a task was not dispatched; all are dispatched again");
                    lost.notify_one();
                }
            }
        }
    });
    tx
}

async fn read_aside(
    shared: &Arc<Shared>,
    reads: &Arc<Semaphore>,
    asker: Asker,
    answering: Answering,
) {
    // The semaphore is never closed.
    let Ok(permit) = reads.clone().acquire_owned().await else {
        return;
    };
    let broker = shared.broker.clone();
    tokio::spawn(async move {
        let answer = answering.resolve(&*broker).await;
        drop(permit);
        asker.answer(answer);
    });
}

/// Puts one task where workers find it.
pub async fn dispatch_one(
    shared: &Shared,
    partition: Partition,
    dispatch: &Dispatch,
) -> Result<(), crate::broker::BrokerError> {
    let broker = &*shared.broker;
    let (kind, queue, task, message_id) = match dispatch {
        Dispatch::Queue {
            kind,
            queue,
            task,
            message_id,
        } => (*kind, queue, task, message_id),
        Dispatch::Sticky {
            queue,
            otherwise,
            task,
            message_id,
        } => {
            let sent = broker.dispatch_sticky(partition, queue, task).await;
            shared
                .metrics
                .dispatches
                .with_label_values(&["sticky"])
                .inc();
            if sent.is_ok() {
                return Ok(());
            }
            (TaskKind::Workflow, otherwise, task, message_id)
        }
    };
    shared
        .metrics
        .dispatches
        .with_label_values(&[kind.as_str()])
        .inc();
    broker
        .dispatch(kind, &task.namespace_id, queue, task, message_id)
        .await
}

/// The id by which the broker drops repeats. `round` tells repeats that are meant: the task may be lost.
pub fn message_id(task: &TaskReference, round: &str) -> String {
    match &task.query_id {
        Some(query_id) => format!("{}/{query_id}{round}", task.run_id),
        None => {
            let stamp = match task.stamp {
                0 => String::new(),
                stamp => format!("/{stamp}"),
            };
            format!(
                "{}/{}/{}{stamp}{round}",
                task.run_id, task.scheduled_event_id, task.attempt
            )
        }
    }
}
