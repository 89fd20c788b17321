//! Starting a child workflow.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fermata_proto::command::StartChildWorkflowExecutionCommandAttributes;
use fermata_proto::common::{Header, Memo, Payload, Payloads, RetryPolicy, WorkflowType};
use fermata_proto::enums::{ParentClosePolicy, WorkflowIdReusePolicy};
use futures::future::FusedFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::activity_call::{queue, result_of};
use super::context::WorkflowContext;
use super::external::ExternalWorkflow;
use crate::converter::Converter;
use crate::error::{WorkflowError, WorkflowResult};
use crate::machine::{ChildCancellation, ChildSteps, Step};
use crate::payload::PayloadError;
use crate::setters::setters;

/// A child workflow about to be started: set options, then await its result, or [`Self::start`] it.
#[must_use = "a child is started when it is awaited or started"]
pub struct ChildCall<R> {
    ctx: WorkflowContext,
    attributes: StartChildWorkflowExecutionCommandAttributes,
    cancellation: ChildCancellation,
    error: Option<WorkflowError>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned + 'static> ChildCall<R> {
    pub(super) fn new(
        ctx: WorkflowContext,
        workflow_type: &str,
        input: Result<Option<Payloads>, PayloadError>,
    ) -> Self {
        let (input, error) = match input {
            Ok(input) => (input, None),
            Err(error) => (None, Some(WorkflowError::task_failed_by(&error))),
        };
        Self {
            ctx,
            attributes: StartChildWorkflowExecutionCommandAttributes {
                workflow_type: Some(WorkflowType {
                    name: workflow_type.to_owned(),
                }),
                input,
                parent_close_policy: ParentClosePolicy::Terminate,
                workflow_id_reuse_policy: WorkflowIdReusePolicy::AllowDuplicate,
                ..StartChildWorkflowExecutionCommandAttributes::default()
            },
            cancellation: ChildCancellation::default(),
            error,
            result: PhantomData,
        }
    }

    setters! { attributes:
        /// The child's workflow id; by default a UUID.
        id(workflow_id: impl Into<String>) => workflow_id = workflow_id.into();
        /// The task queue of the workers that host it; by default the parent's.
        queue(task_queue: impl Into<String>) => task_queue = Some(queue(task_queue.into()));
        /// Another namespace than the parent's.
        namespace(namespace: impl Into<String>) => namespace = namespace.into();
        /// What becomes of it when the parent closes first; by default it is terminated.
        on_parent_close(policy: ParentClosePolicy) => parent_close_policy = policy;
        id_reuse(policy: WorkflowIdReusePolicy) => workflow_id_reuse_policy = policy;
        /// How long it may take in all, with retries and continued runs.
        execution_timeout(timeout: Duration) => workflow_execution_timeout = Some(timeout);
        /// How long one run of it may take.
        run_timeout(timeout: Duration) => workflow_run_timeout = Some(timeout);
        retry(policy: RetryPolicy) => retry_policy = Some(policy);
        cron(schedule: impl Into<String>) => cron_schedule = schedule.into();
        memo(fields: BTreeMap<String, Payload>) => memo = Some(Memo { fields });
        headers(headers: BTreeMap<String, Payload>) => header = Some(Header { fields: headers });
    }

    pub fn on_cancel(mut self, cancellation: ChildCancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Starts it and waits until it has started.
    ///
    /// # Errors
    /// If it cannot be started: the id is taken, the namespace is unknown, or the workflow is cancelled.
    pub async fn start(self) -> WorkflowResult<StartedChild<R>> {
        let (ctx, namespace) = (self.ctx.clone(), self.attributes.namespace.clone());
        let mut future = self.initiate();
        let workflow_id = future.workflow_id.clone();
        let ChildState::Waiting { start, .. } = &mut future.state else {
            return Err(match future.await {
                Err(error) => error,
                Ok(_) => WorkflowError::task_failed("a child ended before it was started"),
            });
        };
        // Told by the machine, in the default form.
        let run_id = result_of(start.await, &Converter::default())?;
        Ok(StartedChild {
            external: ExternalWorkflow::child(ctx, workflow_id, namespace),
            run_id,
            future,
        })
    }

    fn initiate(self) -> ChildFuture<R> {
        let Self {
            ctx,
            mut attributes,
            error,
            ..
        } = self;
        let ended = |error| ChildFuture {
            state: ChildState::Ended(Some(error)),
            workflow_id: String::new(),
            result: PhantomData,
        };
        if let Some(error) = error {
            return ended(error);
        }
        if ctx.is_cancelled_for_steps() {
            return ended(WorkflowError::cancelled("the workflow is cancelled"));
        }
        if attributes.workflow_id.is_empty() {
            attributes.workflow_id = ctx.uuid().to_string();
        }
        let own_queue = || queue(ctx.info().task_queue.clone());
        attributes.task_queue.get_or_insert_with(own_queue);
        let workflow_id = attributes.workflow_id.clone();
        let ChildSteps { start, end } =
            ctx.shared
                .state()
                .start_child(attributes, self.cancellation, ctx.scope);
        ChildFuture {
            state: ChildState::Waiting {
                start: Step::new(ctx.shared.clone(), start),
                end: Step::new(ctx.shared, end),
            },
            workflow_id,
            result: PhantomData,
        }
    }
}

impl<R: DeserializeOwned + 'static> IntoFuture for ChildCall<R> {
    type Output = WorkflowResult<R>;
    type IntoFuture = ChildFuture<R>;

    fn into_future(self) -> ChildFuture<R> {
        self.initiate()
    }
}

enum ChildState {
    Waiting {
        start: Step,
        end: Step,
    },
    /// Never asked for.
    Ended(Option<WorkflowError>),
}

/// A child's result. Dropping it leaves the child running.
pub struct ChildFuture<R> {
    state: ChildState,
    workflow_id: String,
    result: PhantomData<fn() -> R>,
}

impl<R> ChildFuture<R> {
    /// Cancels it as its [`ChildCancellation`] says; what comes of it is what the future gives.
    pub fn cancel(&self) {
        if let ChildState::Waiting { start, .. } = &self.state {
            start.shared().state().cancel_child(start.sequence());
        }
    }

    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }
}

impl<R: DeserializeOwned + 'static> Future for ChildFuture<R> {
    type Output = WorkflowResult<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WorkflowResult<R>> {
        match &mut self.state {
            ChildState::Waiting { end, .. } => {
                let outcome = ready!(Pin::new(&mut *end).poll(cx));
                Poll::Ready(result_of(outcome, &end.shared().converter))
            }
            ChildState::Ended(error) => Poll::Ready(Err(error
                .take()
                .unwrap_or_else(|| WorkflowError::task_failed("a child was awaited twice")))),
        }
    }
}

impl<R: DeserializeOwned + 'static> FusedFuture for ChildFuture<R> {
    fn is_terminated(&self) -> bool {
        match &self.state {
            ChildState::Waiting { end, .. } => end.is_done(),
            ChildState::Ended(error) => error.is_none(),
        }
    }
}

/// A child that has started.
pub struct StartedChild<R> {
    external: ExternalWorkflow,
    run_id: String,
    future: ChildFuture<R>,
}

impl<R: DeserializeOwned + 'static> StartedChild<R> {
    pub fn workflow_id(&self) -> &str {
        self.future.workflow_id()
    }

    /// The first run.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// # Errors
    /// If it has closed.
    pub async fn signal<T: Serialize + 'static>(
        &self,
        name: impl Into<String>,
        argument: &T,
    ) -> WorkflowResult<()> {
        self.external.signal(name, argument).await
    }

    /// Cancels it as its [`ChildCancellation`] says.
    pub fn cancel(&self) {
        self.future.cancel();
    }

    /// Its result.
    pub fn result(self) -> ChildFuture<R> {
        self.future
    }
}
