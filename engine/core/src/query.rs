//! Queries: questions to workflow code that leave no trace in history.
//!
//! The registry lives beside a loaded run and is not durable: after a takeover the callers ask again.
//!
//! | workflow task of the run | a query |
//! |---|---|
//! | none, and one was completed before, or the run is closed | goes out at once as a task of its own |
//! | scheduled | comes with that task |
//! | started | waits; comes with the next task if that is due at once, else goes out on its own |
//! | none was ever completed | waits for the first |

use std::collections::BTreeMap;

use fermata_proto::codec;
use fermata_proto::common::{Payloads, WorkflowExecution};
use fermata_proto::enums::*;
use fermata_proto::error_details::{QueryFailedFailure, WorkflowNotReadyFailure};
use fermata_proto::query::{QueryRejected, WorkflowQuery, WorkflowQueryResult};
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;

use crate::decision::{Effect, TaskHandout, View};
use crate::find;
use crate::run::Run;
use crate::{validate, workflow_task};

/// A workflow whose task failed this often in a row does not answer.
const FAILED_ATTEMPTS_MAX: i32 = 3;

/// The open queries of one run.
#[derive(Debug, Clone, Default)]
pub struct Queries {
    open: BTreeMap<String, Open>,
}

#[derive(Debug, Clone)]
struct Open {
    query: WorkflowQuery,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Waits for a workflow task to come with.
    Waiting,
    /// Went out with the started workflow task.
    Attached,
    /// Has a task of its own.
    Direct,
}

/// What an asker hears.
pub type QueryAnswer = Result<QueryWorkflowResponse, Rejection>;

/// What a new query leads to.
#[derive(Debug, PartialEq)]
pub enum Asked {
    /// The answer is known at once.
    Answered(Box<QueryWorkflowResponse>),
    /// The answer comes by [`Queries::complete`] or [`Queries::answer`]; the effects go out now.
    Pending(Vec<Effect>),
}

impl Queries {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes a query under `query_id`, an id of the shell's.
    ///
    /// # Errors
    /// NOT_FOUND, or FAILED_PRECONDITION if the workflow cannot answer as it stands.
    pub fn ask(
        &mut self,
        view: &View<'_>,
        query_id: &str,
        request: &QueryWorkflowRequest,
    ) -> Result<Asked, Rejection> {
        let Some(query) = request.query.clone() else {
            return Err(Rejection::invalid_argument(
                "WorkflowQuery is not set on request.",
            ));
        };
        if query.query_type.is_empty() {
            return Err(Rejection::invalid_argument(
                "QueryType is not set on request.",
            ));
        }
        let run = find::run(view, request.execution.as_ref())?;
        if is_rejected(run.status, request.query_reject_condition) {
            let response = QueryWorkflowResponse {
                query_rejected: Some(QueryRejected { status: run.status }),
                ..QueryWorkflowResponse::default()
            };
            return Ok(Asked::Answered(Box::new(response)));
        }
        let never_completed = run.last_completed_task_started_event_id == 0;
        if !run.is_open() && never_completed {
            return Err(not_ready(
                "Workflow execution closed before WorkflowTaskStarted event",
            ));
        }
        if run
            .workflow_task
            .as_ref()
            .is_some_and(|task| task.attempt > FAILED_ATTEMPTS_MAX)
        {
            return Err(not_ready(
                "Unable to query workflow due to Workflow Task in failed state.",
            ));
        }
        self.open.insert(
            query_id.to_owned(),
            Open {
                query,
                state: State::Waiting,
            },
        );
        Ok(Asked::Pending(self.settle(run)))
    }

    /// The asker is gone.
    pub fn forget(&mut self, query_id: &str) {
        self.open.remove(query_id);
    }

    /// To be called whenever the run has changed: sends out what no longer waits for a workflow task.
    pub fn settle(&mut self, run: &Run) -> Vec<Effect> {
        let never_completed = run.last_completed_task_started_event_id == 0;
        if run.is_open() && (run.workflow_task.is_some() || never_completed) {
            return Vec::new();
        }
        self.open
            .iter_mut()
            .filter(|(_, open)| open.state != State::Direct)
            .map(|(query_id, open)| {
                open.state = State::Direct;
                dispatch(run, query_id)
            })
            .collect()
    }

    /// What goes with a workflow task that starts now.
    pub fn attach(&mut self) -> BTreeMap<String, WorkflowQuery> {
        self.open
            .iter_mut()
            .filter(|(_, open)| open.state != State::Direct)
            .map(|(query_id, open)| {
                open.state = State::Attached;
                (query_id.clone(), open.query.clone())
            })
            .collect()
    }

    /// Takes the answers that came with a completion; what was attached and not answered waits again. An answer of more than
    /// `bytes_max` fails its query.
    pub fn complete(
        &mut self,
        results: &BTreeMap<String, WorkflowQueryResult>,
        bytes_max: usize,
    ) -> Vec<(String, QueryAnswer)> {
        let mut answers = Vec::new();
        for (query_id, result) in results {
            if self.open.remove(query_id).is_none() {
                continue;
            }
            let failed = result.result_type == QueryResultType::Failed;
            let answer = if is_larger(result.answer.as_ref(), bytes_max) {
                Err(Rejection::invalid_argument(TOO_LARGE))
            } else {
                answer(failed, result)
            };
            answers.push((query_id.clone(), answer));
        }
        self.task_ended();
        answers
    }

    /// The started task ended without answers.
    pub fn task_ended(&mut self) {
        for open in self
            .open
            .values_mut()
            .filter(|open| open.state == State::Attached)
        {
            open.state = State::Waiting;
        }
    }

    /// A task of its own for the query that a reference names.
    ///
    /// # Errors
    /// NOT_FOUND if nobody waits for it any more.
    pub fn claim(&mut self, run: &Run, claim: &ClaimTask) -> Result<TaskHandout, Rejection> {
        let query_id = claim.task.query_id.as_deref().unwrap_or_default();
        let open = self.open.get(query_id).ok_or_else(gone)?;
        let token = TaskToken {
            namespace_id: run.namespace_id.clone(),
            workflow_id: run.workflow_id.clone(),
            run_id: run.run_id.clone(),
            query_id: query_id.to_owned(),
            ..TaskToken::default()
        };
        let previous = run.last_completed_task_started_event_id;
        let sticky = run
            .sticky
            .as_ref()
            .is_some_and(|sticky| sticky.queue == claim.task_queue.name);
        Ok(TaskHandout {
            run_id: run.run_id.clone(),
            response: PollWorkflowTaskQueueResponse {
                task_token: codec::encode(&token),
                workflow_execution: Some(WorkflowExecution {
                    workflow_id: run.workflow_id.0.clone(),
                    run_id: run.run_id.clone(),
                }),
                workflow_type: run.started.workflow_type.clone(),
                previous_started_event_id: previous,
                attempt: 1,
                query: Some(open.query.clone()),
                workflow_execution_task_queue: Some(workflow_task::normal_queue(run)),
                ..PollWorkflowTaskQueueResponse::default()
            },
            history_from: if sticky { run.next_event_id } else { 1 },
            tail: Vec::new(),
        })
    }

    /// Takes the answer to a direct query task. One of more than `bytes_max` counts as a failure.
    ///
    /// # Errors
    /// NOT_FOUND if nobody waits for it, INVALID_ARGUMENT if it says neither way.
    pub fn answer(
        &mut self,
        query_id: &str,
        request: &RespondQueryTaskCompletedRequest,
        bytes_max: usize,
    ) -> Result<QueryAnswer, Rejection> {
        if is_larger(request.query_result.as_ref(), bytes_max) {
            self.open.remove(query_id).ok_or_else(gone)?;
            let result = WorkflowQueryResult {
                error_message: TOO_LARGE.to_owned(),
                ..WorkflowQueryResult::default()
            };
            return Ok(answer(true, &result));
        }
        let failed = match request.completed_type {
            QueryResultType::Answered => false,
            QueryResultType::Failed => true,
            QueryResultType::Unspecified => {
                return Err(Rejection::invalid_argument(
                    "CompletedType is not set on request.",
                ));
            }
        };
        self.open.remove(query_id).ok_or_else(gone)?;
        let result = WorkflowQueryResult {
            answer: request.query_result.clone(),
            error_message: request.error_message.clone(),
            failure: request.failure.clone(),
            ..WorkflowQueryResult::default()
        };
        Ok(answer(failed, &result))
    }
}

const TOO_LARGE: &str = "Blob data size exceeds limit.";

fn is_larger(answer: Option<&Payloads>, bytes_max: usize) -> bool {
    answer.is_some_and(|answer| validate::bytes_of(&answer.payloads) > bytes_max)
}

fn answer(failed: bool, result: &WorkflowQueryResult) -> QueryAnswer {
    if failed {
        let detail = QueryFailedFailure {
            failure: result.failure.clone(),
        };
        return Err(Rejection::invalid_argument(result.error_message.clone())
            .with(ErrorDetail::QueryFailed(detail)));
    }
    Ok(QueryWorkflowResponse {
        query_result: result.answer.clone(),
        ..QueryWorkflowResponse::default()
    })
}

fn gone() -> Rejection {
    Rejection::not_found("query task not found, or already expired")
}

fn not_ready(message: &str) -> Rejection {
    Rejection::new(RejectionKind::FailedPrecondition, message).with(ErrorDetail::WorkflowNotReady(
        WorkflowNotReadyFailure::default(),
    ))
}

fn is_rejected(status: WorkflowExecutionStatus, condition: QueryRejectCondition) -> bool {
    match condition {
        QueryRejectCondition::NotOpen => status != WorkflowExecutionStatus::Running,
        QueryRejectCondition::NotCompletedCleanly => !matches!(
            status,
            WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Completed
        ),
        QueryRejectCondition::None | QueryRejectCondition::Unspecified => false,
    }
}

fn dispatch(run: &Run, query_id: &str) -> Effect {
    let normal = workflow_task::normal_queue(run);
    let queue = match &run.sticky {
        Some(sticky) => TaskQueue {
            name: sticky.queue.clone(),
            kind: TaskQueueKind::Sticky,
            normal_name: normal.name,
        },
        None => normal,
    };
    Effect::DispatchWorkflowTask {
        task: TaskReference {
            namespace_id: run.namespace_id.clone(),
            workflow_id: run.workflow_id.clone(),
            run_id: run.run_id.clone(),
            query_id: Some(query_id.to_owned()),
            ..TaskReference::default()
        },
        queue,
    }
}
