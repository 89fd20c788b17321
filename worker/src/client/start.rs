//! Starting a workflow.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use fermata_proto::common::{
    Header, Memo, Payload, Payloads, RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType,
};
use fermata_proto::enums::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy};
use fermata_proto::rpc::{Request, Response};
use fermata_proto::service::{
    SignalWithStartWorkflowExecutionRequest, StartWorkflowExecutionRequest,
};
use futures::future::{BoxFuture, FutureExt};
use serde::Serialize;

use super::handle::WorkflowHandle;
use super::update::{UpdateCall, UpdateWithStartCall};
use super::{ClientError, REQUEST_MAX};
use crate::connection::Connection;
use crate::payload::{PayloadError, Value};
use crate::setters::setters;
use crate::workflow::queue;

const START: &str = "start workflow";
const SIGNAL_WITH_START: &str = "signal with start workflow";

/// A workflow about to be started: set options, then await it.
#[must_use = "a workflow is started when this is awaited"]
pub struct StartCall<R> {
    pub(super) connection: Connection,
    pub(super) request: StartWorkflowExecutionRequest,
    error: Option<PayloadError>,
    result: PhantomData<fn() -> R>,
}

impl<R: Value> StartCall<R> {
    pub(super) fn new(
        connection: Connection,
        workflow_type: &str,
        input: Result<Option<Payloads>, PayloadError>,
    ) -> Self {
        let (input, error) = match input {
            Ok(input) => (input, None),
            Err(error) => (None, Some(error)),
        };
        let request = StartWorkflowExecutionRequest {
            namespace: connection.namespace.name.clone(),
            workflow_type: Some(WorkflowType {
                name: workflow_type.to_owned(),
            }),
            input,
            identity: connection.identity.to_string(),
            request_id: uuid::Uuid::new_v4().to_string(),
            workflow_id_reuse_policy: WorkflowIdReusePolicy::AllowDuplicate,
            ..StartWorkflowExecutionRequest::default()
        };
        Self {
            connection,
            request,
            error,
            result: PhantomData,
        }
    }

    setters! { request:
        /// The workflow id, unique among the namespace's open workflows; by default a UUID.
        id(workflow_id: impl Into<String>) => workflow_id = workflow_id.into();
        /// The task queue of the workers that host it.
        queue(task_queue: impl Into<String>) => task_queue = Some(queue(task_queue.into()));
        /// How long it may take in all, with retries and continued runs.
        execution_timeout(timeout: Duration) => workflow_execution_timeout = Some(timeout);
        /// How long one run may take.
        run_timeout(timeout: Duration) => workflow_run_timeout = Some(timeout);
        /// How long a worker may take for one workflow task.
        task_timeout(timeout: Duration) => workflow_task_timeout = Some(timeout);
        /// How a failed workflow is repeated; by default not at all.
        retry(policy: RetryPolicy) => retry_policy = Some(policy);
        cron(schedule: impl Into<String>) => cron_schedule = schedule.into();
        /// How long the first workflow task waits.
        delay(delay: Duration) => workflow_start_delay = Some(delay);
        /// Whether an id may be used again after its workflow has closed.
        id_reuse(policy: WorkflowIdReusePolicy) => workflow_id_reuse_policy = policy;
        /// What happens if a workflow with the id is open.
        id_conflict(policy: WorkflowIdConflictPolicy) => workflow_id_conflict_policy = policy;
        /// The same id starts at most one workflow however often it is sent; by default a UUID.
        request_id(request_id: impl Into<String>) => request_id = request_id.into();
        memo(fields: BTreeMap<String, Payload>) => memo = Some(Memo { fields });
        search_attributes(fields: BTreeMap<String, Payload>) => search_attributes =
            Some(SearchAttributes { indexed_fields: fields });
        headers(fields: BTreeMap<String, Payload>) => header = Some(Header { fields });
    }

    /// Signals the workflow if it is open, else starts it and signals it: one step that cannot be torn.
    pub fn signal<T: Serialize + 'static>(
        self,
        name: impl Into<String>,
        argument: &T,
    ) -> SignalWithStartCall<R> {
        SignalWithStartCall {
            signal_name: name.into(),
            signal_input: self.connection.converter.to_payloads(argument),
            start: self,
        }
    }

    /// Updates the workflow if it is open, else starts it and updates it: both happen or neither. Gives both handles.
    pub fn update<T: Serialize + 'static, U: Value>(
        self,
        name: impl Into<String>,
        argument: &T,
    ) -> UpdateWithStartCall<R, U> {
        let update = UpdateCall::new(
            self.connection.clone(),
            WorkflowExecution::default(),
            name.into(),
            self.connection.converter.to_payloads(argument),
        );
        UpdateWithStartCall::new(self, update)
    }

    /// # Errors
    /// If something is missing.
    pub(super) fn checked(mut self, what: &'static str) -> Result<Self, ClientError> {
        if self.request.workflow_id.is_empty() {
            self.request.workflow_id = uuid::Uuid::new_v4().to_string();
        }
        let workflow_id = self.request.workflow_id.clone();
        if let Some(source) = self.error {
            return Err(ClientError::Payload {
                what,
                workflow_id,
                source,
            });
        }
        let queue = self.request.task_queue.as_ref();
        if queue.is_none_or(|queue| queue.name.is_empty()) {
            return Err(ClientError::NoQueue { workflow_id });
        }
        Ok(self)
    }
}

impl<R: Value> IntoFuture for StartCall<R> {
    type Output = Result<WorkflowHandle<R>, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let Self {
                connection,
                request,
                ..
            } = self.checked(START)?;
            let workflow_id = request.workflow_id.clone();
            let request = Request::StartWorkflowExecution(Box::new(request));
            let run_id = match connection.call(&workflow_id, REQUEST_MAX, request).await {
                Ok(Response::StartWorkflowExecution(started)) => started.run_id,
                answer => return Err(not_done(START, workflow_id, answer)),
            };
            Ok(WorkflowHandle::new(connection, workflow_id, run_id))
        }
        .boxed()
    }
}

/// See [`StartCall::signal`].
#[must_use = "nothing is sent until this is awaited"]
pub struct SignalWithStartCall<R> {
    start: StartCall<R>,
    signal_name: String,
    signal_input: Result<Option<Payloads>, PayloadError>,
}

impl<R: Value> IntoFuture for SignalWithStartCall<R> {
    type Output = Result<WorkflowHandle<R>, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let StartCall {
                connection,
                request: start,
                ..
            } = self.start.checked(SIGNAL_WITH_START)?;
            let workflow_id = start.workflow_id.clone();
            let signal_input = self.signal_input.map_err(|source| ClientError::Payload {
                what: SIGNAL_WITH_START,
                workflow_id: workflow_id.clone(),
                source,
            })?;
            let request = SignalWithStartWorkflowExecutionRequest {
                namespace: start.namespace,
                workflow_id: start.workflow_id,
                workflow_type: start.workflow_type,
                task_queue: start.task_queue,
                input: start.input,
                workflow_execution_timeout: start.workflow_execution_timeout,
                workflow_run_timeout: start.workflow_run_timeout,
                workflow_task_timeout: start.workflow_task_timeout,
                identity: start.identity,
                request_id: start.request_id,
                workflow_id_reuse_policy: start.workflow_id_reuse_policy,
                workflow_id_conflict_policy: start.workflow_id_conflict_policy,
                signal_name: self.signal_name,
                signal_input,
                retry_policy: start.retry_policy,
                cron_schedule: start.cron_schedule,
                memo: start.memo,
                search_attributes: start.search_attributes,
                header: start.header,
                workflow_start_delay: start.workflow_start_delay,
                ..SignalWithStartWorkflowExecutionRequest::default()
            };
            let request = Request::SignalWithStartWorkflowExecution(Box::new(request));
            let run_id = match connection.call(&workflow_id, REQUEST_MAX, request).await {
                Ok(Response::SignalWithStartWorkflowExecution(started)) => started.run_id,
                answer => return Err(not_done(SIGNAL_WITH_START, workflow_id, answer)),
            };
            Ok(WorkflowHandle::new(connection, workflow_id, run_id))
        }
        .boxed()
    }
}

/// An answer that is not the one hoped for.
pub(super) fn not_done(
    what: &'static str,
    workflow_id: String,
    answer: fermata_proto::rpc::Answer,
) -> ClientError {
    match answer {
        Err(source) => ClientError::Rejected {
            what,
            workflow_id,
            source,
        },
        Ok(_) => ClientError::Unexpected { what, workflow_id },
    }
}
