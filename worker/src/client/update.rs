//! Updates of a workflow from outside: sent alone or together with a start, waited for, found again by id.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use fermata_proto::common::{Payloads, WorkflowExecution};
use fermata_proto::enums::{
    UpdateWorkflowExecutionLifecycleStage as Lifecycle, WorkflowIdConflictPolicy,
};
use fermata_proto::rpc::{Answer, RejectionKind, Request, Response};
use fermata_proto::service::{
    ExecuteMultiOperationRequest, ExecuteMultiOperationRequestOperation,
    ExecuteMultiOperationRequestOperationOperation as Operation,
    ExecuteMultiOperationResponseResponseResponse as OperationResponse,
    PollWorkflowExecutionUpdateRequest, StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionRequest, UpdateWorkflowExecutionResponse,
};
use fermata_proto::update::{self, Outcome, OutcomeValue, UpdateRef, WaitPolicy};
use futures::future::{BoxFuture, FutureExt};

use super::ClientError;
use super::error::UpdateError;
use super::handle::{RETRY, WorkflowHandle};
use super::start::{StartCall, not_done};
use crate::connection::Connection;
use crate::machine::update_input;
use crate::payload::{PayloadError, Value};

const UPDATE: &str = "update workflow";
const UPDATE_WITH_START: &str = "update with start workflow";
const WAIT: &str = "wait for an update of workflow";
/// How long one request waits; the next follows at once. Longer than the engine keeps it, so that it tells how far the update is.
const POLL: Duration = Duration::from_secs(30);

/// How far an update is to be before its caller goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpdateStage {
    /// The workflow has taken it: its validator, if there is one, has nothing against it.
    #[default]
    Accepted,
    /// Its handler has ended.
    Completed,
}

impl UpdateStage {
    fn lifecycle(self) -> Lifecycle {
        match self {
            Self::Accepted => Lifecycle::Accepted,
            Self::Completed => Lifecycle::Completed,
        }
    }
}

/// An update about to be sent: set options, then await its result, or [`Self::start`] it.
#[must_use = "an update is sent when this is awaited or started"]
pub struct UpdateCall<R> {
    connection: Connection,
    request: UpdateWorkflowExecutionRequest,
    error: Option<PayloadError>,
    result: PhantomData<fn() -> R>,
}

impl<R: Value> UpdateCall<R> {
    pub(super) fn new(
        connection: Connection,
        execution: WorkflowExecution,
        name: String,
        arguments: Result<Option<Payloads>, PayloadError>,
    ) -> Self {
        let (arguments, error) = match arguments {
            Ok(arguments) => (arguments, None),
            Err(error) => (None, Some(error)),
        };
        let request = UpdateWorkflowExecutionRequest {
            namespace: connection.namespace.name.clone(),
            workflow_execution: Some(execution),
            request: Some(update::Request {
                meta: Some(update::Meta {
                    // Known before it is sent: repeats of the request join one update.
                    update_id: uuid::Uuid::new_v4().to_string(),
                    identity: connection.identity.to_string(),
                }),
                input: Some(update_input(name, arguments)),
                ..update::Request::default()
            }),
            ..UpdateWorkflowExecutionRequest::default()
        };
        Self {
            connection,
            request,
            error,
            result: PhantomData,
        }
    }

    /// The same id updates a run at most once, however often it is sent; by default a UUID.
    pub fn id(mut self, update_id: impl Into<String>) -> Self {
        let request = self.request.request.get_or_insert_default();
        request.meta.get_or_insert_default().update_id = update_id.into();
        self
    }

    /// Sends it and waits until it is as far as `stage`, for as long as it takes. That it was refused is told by
    /// [`UpdateHandle::result`].
    ///
    /// # Errors
    /// If there is no such workflow, or it closes before it takes the update.
    pub async fn start(self, stage: UpdateStage) -> Result<UpdateHandle<R>, UpdateError> {
        let Self {
            connection,
            mut request,
            error,
            ..
        } = self;
        let execution = request.workflow_execution.clone().unwrap_or_default();
        let workflow_id = execution.workflow_id;
        if let Some(source) = error {
            return Err(no_payload(UPDATE, workflow_id, source).into());
        }
        let lifecycle = stage.lifecycle();
        request.wait_policy = wait_policy(lifecycle);
        let request = Request::UpdateWorkflowExecution(Box::new(request));
        loop {
            match ask(&connection, &workflow_id, request.clone()).await {
                Ok(Response::UpdateWorkflowExecution(response)) if response.stage < lifecycle => {}
                Ok(Response::UpdateWorkflowExecution(response)) => {
                    return Ok(UpdateHandle::of(connection, *response));
                }
                answer => return Err(not_done(UPDATE, workflow_id, answer).into()),
            }
        }
    }
}

impl<R: Value> IntoFuture for UpdateCall<R> {
    type Output = Result<R, UpdateError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move { self.start(UpdateStage::Completed).await?.result().await }.boxed()
    }
}

/// See [`StartCall::update`].
#[must_use = "nothing is sent until this is awaited"]
pub struct UpdateWithStartCall<R, U> {
    start: StartCall<R>,
    update: UpdateCall<U>,
    stage: UpdateStage,
}

impl<R: Value, U: Value> UpdateWithStartCall<R, U> {
    pub(super) fn new(start: StartCall<R>, update: UpdateCall<U>) -> Self {
        Self {
            start,
            update,
            stage: UpdateStage::default(),
        }
    }

    /// As [`UpdateCall::id`].
    pub fn update_id(mut self, update_id: impl Into<String>) -> Self {
        self.update = self.update.id(update_id);
        self
    }

    /// How far the update is to be; by default accepted.
    pub fn wait_for(mut self, stage: UpdateStage) -> Self {
        self.stage = stage;
        self
    }
}

impl<R: Value, U: Value> IntoFuture for UpdateWithStartCall<R, U> {
    type Output = Result<(WorkflowHandle<R>, UpdateHandle<U>), UpdateError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let StartCall {
                connection,
                request: mut start,
                ..
            } = self.start.checked(UPDATE_WITH_START)?;
            let workflow_id = start.workflow_id.clone();
            if start.workflow_id_conflict_policy == WorkflowIdConflictPolicy::Unspecified {
                start.workflow_id_conflict_policy = WorkflowIdConflictPolicy::UseExisting;
            }
            let UpdateCall {
                request: mut update,
                error,
                ..
            } = self.update;
            if let Some(source) = error {
                return Err(no_payload(UPDATE_WITH_START, workflow_id, source).into());
            }
            update.workflow_execution = Some(WorkflowExecution {
                workflow_id: workflow_id.clone(),
                run_id: String::new(),
            });
            let lifecycle = self.stage.lifecycle();
            update.wait_policy = wait_policy(lifecycle);
            let operations = [
                Operation::StartWorkflow(start),
                Operation::UpdateWorkflow(update),
            ];
            let request = ExecuteMultiOperationRequest {
                namespace: connection.namespace.name.clone(),
                operations: operations
                    .into_iter()
                    .map(|operation| ExecuteMultiOperationRequestOperation {
                        operation: Some(operation),
                    })
                    .collect(),
                ..ExecuteMultiOperationRequest::default()
            };
            let request = Request::ExecuteMultiOperation(Box::new(request));
            loop {
                let answer = ask(&connection, &workflow_id, request.clone()).await;
                let (started, updated) = match pair(answer) {
                    Ok(pair) => pair,
                    Err(answer) => {
                        return Err(not_done(UPDATE_WITH_START, workflow_id, answer).into());
                    }
                };
                if updated.stage < lifecycle {
                    continue;
                }
                let workflow = WorkflowHandle::new(connection.clone(), workflow_id, started.run_id);
                let update = UpdateHandle::of(connection, updated);
                return Ok((workflow, update));
            }
        }
        .boxed()
    }
}

/// The two answers of an update-with-start; the answer itself if it is another.
#[allow(clippy::result_large_err)]
fn pair(
    answer: Answer,
) -> Result<
    (
        StartWorkflowExecutionResponse,
        UpdateWorkflowExecutionResponse,
    ),
    Answer,
> {
    let Ok(Response::ExecuteMultiOperation(response)) = answer else {
        return Err(answer);
    };
    let mut responses = response.responses.into_iter().map(|answer| answer.response);
    match (responses.next().flatten(), responses.next().flatten()) {
        (
            Some(OperationResponse::StartWorkflow(started)),
            Some(OperationResponse::UpdateWorkflow(updated)),
        ) => Ok((started, updated)),
        _ => Err(Ok(Response::Done)),
    }
}

/// An update that was accepted, or is found by its id. Cheap to clone.
pub struct UpdateHandle<R> {
    connection: Connection,
    reference: UpdateRef,
    /// If it is known already.
    outcome: Option<Outcome>,
    result: PhantomData<fn() -> R>,
}

impl<R> Clone for UpdateHandle<R> {
    fn clone(&self) -> Self {
        Self {
            connection: self.connection.clone(),
            reference: self.reference.clone(),
            outcome: self.outcome.clone(),
            result: PhantomData,
        }
    }
}

impl<R: Value> UpdateHandle<R> {
    pub(super) fn by_id(
        connection: Connection,
        execution: WorkflowExecution,
        update_id: String,
    ) -> Self {
        Self {
            connection,
            reference: UpdateRef {
                workflow_execution: Some(execution),
                update_id,
            },
            outcome: None,
            result: PhantomData,
        }
    }

    fn of(connection: Connection, response: UpdateWorkflowExecutionResponse) -> Self {
        let reference = response.update_ref.unwrap_or_default();
        let execution = reference.workflow_execution.unwrap_or_default();
        let mut handle = Self::by_id(connection, execution, reference.update_id);
        handle.outcome = response.outcome;
        handle
    }

    pub fn update_id(&self) -> &str {
        &self.reference.update_id
    }

    pub fn workflow_id(&self) -> &str {
        let execution = self.reference.workflow_execution.as_ref();
        execution.map_or("", |execution| &execution.workflow_id)
    }

    /// The run that it updates; empty if it was found by its id in whatever run is current.
    pub fn run_id(&self) -> &str {
        let execution = self.reference.workflow_execution.as_ref();
        execution.map_or("", |execution| &execution.run_id)
    }

    /// Waits for its end, for as long as it takes, also while no engine runs.
    ///
    /// # Errors
    /// If it was refused or failed, or is unknown.
    pub async fn result(&self) -> Result<R, UpdateError> {
        if let Some(outcome) = &self.outcome {
            return self.read(outcome.clone());
        }
        let request = PollWorkflowExecutionUpdateRequest {
            namespace: self.connection.namespace.name.clone(),
            update_ref: Some(self.reference.clone()),
            identity: self.connection.identity.to_string(),
            wait_policy: wait_policy(Lifecycle::Completed),
        };
        let request = Request::PollWorkflowExecutionUpdate(Box::new(request));
        let workflow_id = self.workflow_id();
        loop {
            match ask(&self.connection, workflow_id, request.clone()).await {
                Ok(Response::PollWorkflowExecutionUpdate(response)) => {
                    if let Some(outcome) = response.outcome {
                        return self.read(outcome);
                    }
                }
                answer => return Err(not_done(WAIT, workflow_id.to_owned(), answer).into()),
            }
        }
    }

    fn read(&self, outcome: Outcome) -> Result<R, UpdateError> {
        let result = match outcome.value {
            Some(OutcomeValue::Failure(failure)) => {
                return Err(UpdateError::Failed {
                    update_id: self.update_id().to_owned(),
                    workflow_id: self.workflow_id().to_owned(),
                    failure: Box::new(failure),
                });
            }
            Some(OutcomeValue::Success(result)) => Some(result),
            None => None,
        };
        let read = self.connection.converter.read_payloads(result.as_ref());
        read.map_err(|source| UpdateError::Payload {
            update_id: self.update_id().to_owned(),
            workflow_id: self.workflow_id().to_owned(),
            source,
        })
    }
}

/// Asks again while no engine answers: the update's id makes repeats harmless.
async fn ask(connection: &Connection, workflow_id: &str, request: Request) -> Answer {
    loop {
        match connection.call(workflow_id, POLL, request.clone()).await {
            Err(rejection)
                if matches!(
                    rejection.kind,
                    RejectionKind::Unavailable | RejectionKind::DeadlineExceeded
                ) =>
            {
                tracing::debug!(workflow_id, %rejection, "wait for an update");
                tokio::time::sleep(RETRY).await;
            }
            answer => return answer,
        }
    }
}

fn wait_policy(lifecycle_stage: Lifecycle) -> Option<WaitPolicy> {
    Some(WaitPolicy { lifecycle_stage })
}

fn no_payload(what: &'static str, workflow_id: String, source: PayloadError) -> ClientError {
    ClientError::Payload {
        what,
        workflow_id,
        source,
    }
}
