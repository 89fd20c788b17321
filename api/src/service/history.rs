//! Event histories, and what came of a workflow.

use std::time::Duration;

use fermata_proto::common::{Payloads, WorkflowExecution};
use fermata_proto::enums::{HistoryEventFilterType, TimeoutType, WorkflowExecutionStatus};
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes};
use fermata_proto::failure::*;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::{Rejection, RejectionKind, Request, Response};
use fermata_proto::service as own;
use tokio::time::Instant;

use super::caller::Caller;
use super::{Handled, Service, checks, respond, taken, unexpected};

/// How long a caller of the history may wait for something new.
const HISTORY_POLL_MAX: Duration = Duration::from_secs(20);

impl Service {
    pub(crate) async fn get_workflow_execution_history(
        &self,
        caller: &Caller,
        request: rr::GetWorkflowExecutionHistoryRequest,
    ) -> Handled<rr::GetWorkflowExecutionHistoryResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.execution.as_ref())?
            .workflow_id
            .clone();
        let waits = request.wait_new_event;
        let request = Request::GetWorkflowExecutionHistory(Box::new(taken(request)?));
        let answer = if waits {
            let wait = caller.long_poll(HISTORY_POLL_MAX);
            tokio::select! {
                biased;
                answer = self.ask_for(wait, &namespace, &workflow_id, request) => answer,
                // The caller asks another replica, with the same token.
                () = self.stop.cancelled() => Err(Rejection::new(
                    RejectionKind::Unavailable,
                    "this replica of the api shuts down",
                )),
            }
        } else {
            self.ask(caller, &namespace, &workflow_id, request).await
        };
        respond!(answer, GetWorkflowExecutionHistory)
    }

    pub(crate) async fn get_workflow_execution_history_reverse(
        &self,
        caller: &Caller,
        request: rr::GetWorkflowExecutionHistoryReverseRequest,
    ) -> Handled<rr::GetWorkflowExecutionHistoryReverseResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.execution.as_ref())?
            .workflow_id
            .clone();
        let request = Request::GetWorkflowExecutionHistoryReverse(Box::new(taken(request)?));
        respond!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            GetWorkflowExecutionHistoryReverse
        )
    }

    /// What came of a workflow: waits for the end of its chain of runs, through continue-as-new, retries and cron.
    ///
    /// # Errors
    /// As those of the history: NOT_FOUND and the like.
    pub async fn result(&self, wanted: Wanted) -> Handled<Outcome> {
        let namespace = self.namespace(&wanted.namespace)?;
        let deadline = Instant::now() + wanted.wait;
        let mut execution = WorkflowExecution {
            workflow_id: wanted.workflow_id,
            run_id: wanted.run_id,
        };
        checks::workflow_id(&execution.workflow_id)?;
        checks::run_id(&execution.run_id)?;
        if execution.run_id.is_empty() {
            // Closing events do not say whose they are, and the current run changes meanwhile.
            execution.run_id = self.current_run_id(&namespace, &execution).await?;
        }
        let mut token = Default::default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let request = own::GetWorkflowExecutionHistoryRequest {
                namespace: namespace.name.clone(),
                execution: Some(execution.clone()),
                next_page_token: token,
                wait_new_event: !left.is_zero(),
                history_event_filter_type: HistoryEventFilterType::CloseEvent,
                skip_archival: true,
                ..Default::default()
            };
            let request = Request::GetWorkflowExecutionHistory(Box::new(request));
            let patience = if left.is_zero() {
                super::CALL_WAIT_MAX
            } else {
                left.min(HISTORY_POLL_MAX)
            };
            let answer = self
                .ask_for(patience, &namespace, &execution.workflow_id, request)
                .await?;
            let Response::GetWorkflowExecutionHistory(page) = answer else {
                return Err(unexpected(&answer));
            };
            let closing = page
                .history
                .and_then(|history| history.events.into_iter().last());
            match closing.map(|event| ending(&event)) {
                Some(Ending::Next(run_id)) => {
                    execution.run_id = run_id;
                    token = Default::default();
                }
                Some(Ending::Closed(status, result, failure)) => {
                    return Ok(Outcome {
                        status,
                        run_id: execution.run_id,
                        result,
                        failure,
                    });
                }
                None if left.is_zero() => {
                    return Ok(Outcome {
                        status: WorkflowExecutionStatus::Running,
                        run_id: execution.run_id,
                        result: None,
                        failure: None,
                    });
                }
                None => token = page.next_page_token,
            }
        }
    }

    async fn current_run_id(
        &self,
        namespace: &fermata_proto::namespace::NamespaceRecord,
        execution: &WorkflowExecution,
    ) -> Handled<String> {
        let request = own::DescribeWorkflowExecutionRequest {
            namespace: namespace.name.clone(),
            execution: Some(execution.clone()),
        };
        let request = Request::DescribeWorkflowExecution(Box::new(request));
        let answer = self
            .ask(
                &Caller::patient(),
                namespace,
                &execution.workflow_id,
                request,
            )
            .await?;
        let Response::DescribeWorkflowExecution(described) = answer else {
            return Err(unexpected(&answer));
        };
        described
            .workflow_execution_info
            .and_then(|info| info.execution)
            .map(|execution| execution.run_id)
            .ok_or_else(|| Rejection::not_found("the workflow has no run"))
    }
}

/// Whose result, and how long to wait for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    pub namespace: String,
    pub workflow_id: String,
    /// Empty for the current run.
    pub run_id: String,
    /// Zero to be answered at once.
    pub wait: Duration,
}

/// What came of a workflow so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Running if it has not closed in time.
    pub status: WorkflowExecutionStatus,
    /// The last run of the chain that is known.
    pub run_id: String,
    pub result: Option<Payloads>,
    /// Why there is no result.
    pub failure: Option<Box<Failure>>,
}

enum Ending {
    /// Another run goes on.
    Next(String),
    Closed(
        WorkflowExecutionStatus,
        Option<Payloads>,
        Option<Box<Failure>>,
    ),
}

/// What a closing event says.
fn ending(event: &HistoryEvent) -> Ending {
    use HistoryEventAttributes as Attributes;
    let next = match &event.attributes {
        Some(Attributes::WorkflowExecutionCompleted(closed)) => &closed.new_execution_run_id,
        Some(Attributes::WorkflowExecutionFailed(closed)) => &closed.new_execution_run_id,
        Some(Attributes::WorkflowExecutionTimedOut(closed)) => &closed.new_execution_run_id,
        Some(Attributes::WorkflowExecutionContinuedAsNew(closed)) => &closed.new_execution_run_id,
        _ => "",
    };
    if !next.is_empty() {
        return Ending::Next(next.to_owned());
    }
    let without = |status, message: &str, info| {
        let failure = Failure {
            message: message.to_owned(),
            failure_info: Some(info),
            ..Default::default()
        };
        Ending::Closed(status, None, Some(Box::new(failure)))
    };
    match &event.attributes {
        Some(Attributes::WorkflowExecutionCompleted(closed)) => Ending::Closed(
            WorkflowExecutionStatus::Completed,
            closed.result.clone(),
            None,
        ),
        Some(Attributes::WorkflowExecutionFailed(closed)) => Ending::Closed(
            WorkflowExecutionStatus::Failed,
            None,
            closed.failure.clone().map(Box::new),
        ),
        Some(Attributes::WorkflowExecutionTimedOut(_)) => without(
            WorkflowExecutionStatus::TimedOut,
            "workflow timed out",
            FailureFailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
                timeout_type: TimeoutType::StartToClose,
                ..Default::default()
            }),
        ),
        Some(Attributes::WorkflowExecutionCanceled(closed)) => without(
            WorkflowExecutionStatus::Canceled,
            "workflow canceled",
            FailureFailureInfo::CanceledFailureInfo(CanceledFailureInfo {
                details: closed.details.clone(),
                ..Default::default()
            }),
        ),
        Some(Attributes::WorkflowExecutionTerminated(closed)) => without(
            WorkflowExecutionStatus::Terminated,
            if closed.reason.is_empty() {
                "workflow terminated"
            } else {
                &closed.reason
            },
            FailureFailureInfo::TerminatedFailureInfo(TerminatedFailureInfo::default()),
        ),
        // The filter gives closing events only.
        _ => Ending::Closed(WorkflowExecutionStatus::Unspecified, None, None),
    }
}
