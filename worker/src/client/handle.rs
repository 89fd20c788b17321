//! A workflow seen from outside.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::HistoryEventFilterType;
use fermata_proto::event::HistoryEventAttributes;
use fermata_proto::query::WorkflowQuery;
use fermata_proto::rpc::{
    RejectionKind, Request, RequestCancelWorkflow, Response, SignalWorkflow, TerminateWorkflow,
};
use fermata_proto::service::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::start::not_done;
use super::update::{UpdateCall, UpdateHandle};
use super::{ClientError, REQUEST_MAX, ResultError};
use crate::connection::Connection;
use crate::history::WorkflowHistory;
use crate::payload::Value;

/// How long one long poll for the result lasts; the next follows at once.
const RESULT_POLL: Duration = Duration::from_secs(20);
/// Between two requests, while no engine answers.
pub(super) const RETRY: Duration = Duration::from_millis(500);
const QUERY_MAX: Duration = Duration::from_secs(10);

/// One workflow, or one run of it. Cheap to clone.
pub struct WorkflowHandle<R> {
    connection: Connection,
    workflow_id: String,
    /// The run that was started; empty for the current one.
    run_id: String,
    result: PhantomData<fn() -> R>,
}

impl<R> Clone for WorkflowHandle<R> {
    fn clone(&self) -> Self {
        Self {
            connection: self.connection.clone(),
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
            result: PhantomData,
        }
    }
}

/// How a chain of runs goes on.
enum Closed<R> {
    Result(R),
    NextRun(String),
}

impl<R: Value> WorkflowHandle<R> {
    pub(super) fn new(connection: Connection, workflow_id: String, run_id: String) -> Self {
        Self {
            connection,
            workflow_id,
            run_id,
            result: PhantomData,
        }
    }

    /// The same workflow, this run of it.
    #[must_use]
    pub fn run(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = run_id.into();
        self
    }

    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// Empty for the current run.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Waits for the end, over retries and continued runs, for as long as it takes, also while no engine runs.
    ///
    /// # Errors
    /// How the workflow ended without a result, or that it does not exist.
    pub async fn result(&self) -> Result<R, ResultError> {
        let mut run_id = self.run_id.clone();
        loop {
            let event = self.close_event(&run_id).await?;
            match self.closed(event)? {
                Closed::Result(result) => return Ok(result),
                Closed::NextRun(next) => run_id = next,
            }
        }
    }

    /// All events of the run: to be looked at, or to be replayed by a [`crate::Replayer`].
    ///
    /// # Errors
    /// If the workflow does not exist, or no engine answers.
    pub async fn history(&self) -> Result<WorkflowHistory, ClientError> {
        const WHAT: &str = "read the history of workflow";
        let mut events = Vec::new();
        let mut token = Bytes::new();
        loop {
            let request = GetWorkflowExecutionHistoryRequest {
                namespace: self.connection.namespace.name.clone(),
                execution: Some(WorkflowExecution {
                    workflow_id: self.workflow_id.clone(),
                    run_id: self.run_id.clone(),
                }),
                next_page_token: token,
                ..GetWorkflowExecutionHistoryRequest::default()
            };
            let request = Request::GetWorkflowExecutionHistory(Box::new(request));
            match self.call(REQUEST_MAX, request).await {
                Ok(Response::GetWorkflowExecutionHistory(page)) => {
                    events.extend(page.history.unwrap_or_default().events);
                    token = page.next_page_token;
                    if token.is_empty() {
                        return Ok(WorkflowHistory::new(&self.workflow_id, events));
                    }
                }
                answer => return Err(not_done(WHAT, self.workflow_id.clone(), answer)),
            }
        }
    }

    async fn close_event(&self, run_id: &str) -> Result<HistoryEventAttributes, ClientError> {
        const WHAT: &str = "wait for workflow";
        let mut token = Bytes::new();
        loop {
            let request = GetWorkflowExecutionHistoryRequest {
                namespace: self.connection.namespace.name.clone(),
                execution: Some(WorkflowExecution {
                    workflow_id: self.workflow_id.clone(),
                    run_id: run_id.to_owned(),
                }),
                next_page_token: token.clone(),
                wait_new_event: true,
                history_event_filter_type: HistoryEventFilterType::CloseEvent,
                ..GetWorkflowExecutionHistoryRequest::default()
            };
            let request = Request::GetWorkflowExecutionHistory(Box::new(request));
            match self.call(RESULT_POLL, request).await {
                Ok(Response::GetWorkflowExecutionHistory(page)) => {
                    let events = page.history.unwrap_or_default().events;
                    if let Some(attributes) = events
                        .into_iter()
                        .next_back()
                        .and_then(|event| event.attributes)
                    {
                        return Ok(attributes);
                    }
                    token = page.next_page_token;
                }
                Err(rejection)
                    if matches!(
                        rejection.kind,
                        RejectionKind::Unavailable | RejectionKind::DeadlineExceeded
                    ) =>
                {
                    tracing::debug!(workflow_id = self.workflow_id, %rejection, "wait for a result");
                    tokio::time::sleep(RETRY).await;
                }
                answer => return Err(not_done(WHAT, self.workflow_id.clone(), answer)),
            }
        }
    }

    fn closed(&self, event: HistoryEventAttributes) -> Result<Closed<R>, ResultError> {
        use HistoryEventAttributes as A;
        let workflow_id = self.workflow_id.clone();
        match event {
            A::WorkflowExecutionContinuedAsNew(a) => {
                Ok(Closed::NextRun(a.new_execution_run_id.clone()))
            }
            A::WorkflowExecutionCompleted(a) if !a.new_execution_run_id.is_empty() => {
                Ok(Closed::NextRun(a.new_execution_run_id.clone()))
            }
            A::WorkflowExecutionFailed(a) if !a.new_execution_run_id.is_empty() => {
                Ok(Closed::NextRun(a.new_execution_run_id.clone()))
            }
            A::WorkflowExecutionTimedOut(a) if !a.new_execution_run_id.is_empty() => {
                Ok(Closed::NextRun(a.new_execution_run_id.clone()))
            }
            A::WorkflowExecutionCompleted(a) => self
                .connection
                .converter
                .read_payloads(a.result.as_ref())
                .map(Closed::Result)
                .map_err(|source| ResultError::Payload {
                    workflow_id,
                    source,
                }),
            A::WorkflowExecutionFailed(a) => Err(ResultError::Failed {
                workflow_id,
                failure: Box::new(a.failure.clone().unwrap_or_default()),
            }),
            A::WorkflowExecutionCanceled(_) => Err(ResultError::Cancelled { workflow_id }),
            A::WorkflowExecutionTerminated(a) => Err(ResultError::Terminated {
                workflow_id,
                reason: a.reason.clone(),
            }),
            A::WorkflowExecutionTimedOut(_) => Err(ResultError::TimedOut { workflow_id }),
            _ => Err(ClientError::Unexpected {
                what: "wait for workflow",
                workflow_id,
            }
            .into()),
        }
    }

    /// # Errors
    /// If no such workflow is open.
    pub async fn signal<T: Serialize + 'static>(
        &self,
        name: impl Into<String>,
        argument: &T,
    ) -> Result<(), ClientError> {
        const WHAT: &str = "signal workflow";
        let input = self.connection.converter.to_payloads(argument);
        let input = input.map_err(|source| self.no_payload(WHAT, source))?;
        let request = Request::SignalWorkflowExecution(Box::new(SignalWorkflow {
            request: SignalWorkflowExecutionRequest {
                namespace: self.connection.namespace.name.clone(),
                workflow_execution: Some(self.execution()),
                signal_name: name.into(),
                input,
                identity: self.connection.identity.to_string(),
                request_id: uuid::Uuid::new_v4().to_string(),
                ..SignalWorkflowExecutionRequest::default()
            },
            sender: None,
        }));
        self.done(WHAT, request).await
    }

    /// Asks the workflow code; also after the workflow has closed.
    ///
    /// # Errors
    /// If there is no such workflow, no worker answers in time, or the query is unknown or fails.
    pub async fn query<A: Serialize + 'static, T: DeserializeOwned + 'static>(
        &self,
        name: impl Into<String>,
        argument: &A,
    ) -> Result<T, ClientError> {
        const WHAT: &str = "query workflow";
        let query_args = self.connection.converter.to_payloads(argument);
        let query_args = query_args.map_err(|source| self.no_payload(WHAT, source))?;
        let request = Request::QueryWorkflow(Box::new(QueryWorkflowRequest {
            namespace: self.connection.namespace.name.clone(),
            execution: Some(self.execution()),
            query: Some(WorkflowQuery {
                query_type: name.into(),
                query_args,
                header: None,
            }),
            ..QueryWorkflowRequest::default()
        }));
        match self.call(QUERY_MAX, request).await {
            Ok(Response::QueryWorkflow(response)) => self
                .connection
                .converter
                .read_payloads(response.query_result.as_ref())
                .map_err(|source| self.no_payload(WHAT, source)),
            answer => Err(not_done(WHAT, self.workflow_id.clone(), answer)),
        }
    }

    /// Sends an update: a request that the workflow's validator may refuse, and that its handler answers. Await it for the
    /// result, or [`UpdateCall::start`] it and go on when it is accepted.
    pub fn update<A: Serialize + 'static, T: Value>(
        &self,
        name: impl Into<String>,
        argument: &A,
    ) -> UpdateCall<T> {
        let connection = self.connection.clone();
        UpdateCall::new(
            connection,
            self.execution(),
            name.into(),
            self.connection.converter.to_payloads(argument),
        )
    }

    /// An update that was sent before, by its id.
    pub fn update_by_id<T: Value>(&self, update_id: impl Into<String>) -> UpdateHandle<T> {
        UpdateHandle::by_id(self.connection.clone(), self.execution(), update_id.into())
    }

    /// Asks the workflow to cancel; how it ends is up to its code.
    ///
    /// # Errors
    /// If there is no such workflow.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let request = Request::RequestCancelWorkflowExecution(Box::new(RequestCancelWorkflow {
            request: RequestCancelWorkflowExecutionRequest {
                namespace: self.connection.namespace.name.clone(),
                workflow_execution: Some(self.execution()),
                identity: self.connection.identity.to_string(),
                request_id: uuid::Uuid::new_v4().to_string(),
                reason: reason.into(),
                ..RequestCancelWorkflowExecutionRequest::default()
            },
            sender: None,
        }));
        self.done("cancel workflow", request).await
    }

    /// Ends the workflow at once; its code is not asked.
    ///
    /// # Errors
    /// If no such workflow is open.
    pub async fn terminate(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let request = Request::TerminateWorkflowExecution(Box::new(TerminateWorkflow {
            request: TerminateWorkflowExecutionRequest {
                namespace: self.connection.namespace.name.clone(),
                workflow_execution: Some(self.execution()),
                reason: reason.into(),
                identity: self.connection.identity.to_string(),
                ..TerminateWorkflowExecutionRequest::default()
            },
            sender: None,
        }));
        self.done("terminate workflow", request).await
    }

    /// How it stands: status, times, pending activities and children.
    ///
    /// # Errors
    /// If there is no such workflow.
    pub async fn describe(&self) -> Result<DescribeWorkflowExecutionResponse, ClientError> {
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.connection.namespace.name.clone(),
            execution: Some(self.execution()),
        };
        let request = Request::DescribeWorkflowExecution(Box::new(request));
        match self.call(REQUEST_MAX, request).await {
            Ok(Response::DescribeWorkflowExecution(described)) => Ok(*described),
            answer => Err(not_done(
                "describe workflow",
                self.workflow_id.clone(),
                answer,
            )),
        }
    }

    fn execution(&self) -> WorkflowExecution {
        WorkflowExecution {
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
        }
    }

    fn no_payload(&self, what: &'static str, source: crate::payload::PayloadError) -> ClientError {
        ClientError::Payload {
            what,
            workflow_id: self.workflow_id.clone(),
            source,
        }
    }

    async fn done(&self, what: &'static str, request: Request) -> Result<(), ClientError> {
        match self.call(REQUEST_MAX, request).await {
            Ok(Response::Done | Response::SignalWorkflowExecution(_)) => Ok(()),
            answer => Err(not_done(what, self.workflow_id.clone(), answer)),
        }
    }

    async fn call(&self, wait: Duration, request: Request) -> fermata_proto::rpc::Answer {
        self.connection.call(&self.workflow_id, wait, request).await
    }
}
