//! Calling an activity from a workflow.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fermata_proto::command::ScheduleActivityTaskCommandAttributes;
use fermata_proto::common::{ActivityType, Header, Payload, Payloads, RetryPolicy};
use fermata_proto::enums::TaskQueueKind;
use fermata_proto::taskqueue::TaskQueue;
use futures::future::FusedFuture;
use serde::de::DeserializeOwned;

use super::context::WorkflowContext;
use crate::converter::Converter;
use crate::error::{WorkflowError, WorkflowResult};
use crate::machine::{ActivityCancellation, Outcome, Step};
use crate::payload::PayloadError;
use crate::setters::setters;

/// An activity about to be scheduled: set options, then await it, or [`Self::start`] it and await it later.
#[must_use = "an activity is scheduled when it is awaited or started"]
pub struct ActivityCall<R> {
    ctx: WorkflowContext,
    attributes: ScheduleActivityTaskCommandAttributes,
    cancellation: ActivityCancellation,
    error: Option<WorkflowError>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned + 'static> ActivityCall<R> {
    pub(super) fn new(
        ctx: WorkflowContext,
        activity_type: &str,
        input: Result<Option<Payloads>, PayloadError>,
    ) -> Self {
        let (input, error) = match input {
            Ok(input) => (input, None),
            Err(error) => (None, Some(WorkflowError::task_failed_by(&error))),
        };
        let attributes = ScheduleActivityTaskCommandAttributes {
            activity_type: Some(ActivityType {
                name: activity_type.to_owned(),
            }),
            input,
            ..ScheduleActivityTaskCommandAttributes::default()
        };
        Self {
            ctx,
            attributes,
            cancellation: ActivityCancellation::default(),
            error,
            result: PhantomData,
        }
    }

    setters! { attributes:
        /// The task queue of the workers that host it; by default the workflow's.
        queue(task_queue: impl Into<String>) => task_queue = Some(queue(task_queue.into()));
        /// How long one attempt may take.
        start_to_close(timeout: Duration) => start_to_close_timeout = Some(timeout);
        /// How long it may take in all, with waiting and retries.
        schedule_to_close(timeout: Duration) => schedule_to_close_timeout = Some(timeout);
        /// How long it may wait for a worker.
        schedule_to_start(timeout: Duration) => schedule_to_start_timeout = Some(timeout);
        /// How long an attempt may go without a heartbeat.
        heartbeat(timeout: Duration) => heartbeat_timeout = Some(timeout);
        /// How failed attempts are repeated; by default after 1 s, 2 s, 4 s and so on up to 100 s, without end.
        retry(policy: RetryPolicy) => retry_policy = Some(policy);
        headers(headers: BTreeMap<String, Payload>) => header = Some(Header { fields: headers });
        /// An id of its own choice, unique among the run's open activities; by default a number.
        id(activity_id: impl Into<String>) => activity_id = activity_id.into();
    }

    /// At most this many attempts, the first included; 0 for no bound.
    pub fn attempts_max(mut self, attempts: i32) -> Self {
        self.attributes
            .retry_policy
            .get_or_insert_default()
            .maximum_attempts = attempts;
        self
    }

    pub fn on_cancel(mut self, cancellation: ActivityCancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Schedules it with the workflow task that is worked on.
    pub fn start(self) -> ActivityFuture<R> {
        let Self {
            ctx,
            mut attributes,
            error,
            ..
        } = self;
        if let Some(error) = error {
            return ActivityFuture::ended(error);
        }
        if ctx.is_cancelled_for_steps() {
            return ActivityFuture::ended(WorkflowError::cancelled("the workflow is cancelled"));
        }
        let is_bounded = |timeout: Option<Duration>| timeout.is_some_and(|t| !t.is_zero());
        if !is_bounded(attributes.start_to_close_timeout)
            && !is_bounded(attributes.schedule_to_close_timeout)
        {
            let activity_type = attributes.activity_type.unwrap_or_default().name;
            return ActivityFuture::ended(WorkflowError::task_failed(format!(
                "schedule activity {activity_type}: set start_to_close or schedule_to_close"
            )));
        }
        let own_queue = || queue(ctx.info().task_queue.clone());
        attributes.task_queue.get_or_insert_with(own_queue);
        let sequence =
            ctx.shared
                .state()
                .schedule_activity(attributes, self.cancellation, ctx.scope);
        ActivityFuture {
            state: FutureState::Waiting(Step::new(ctx.shared, sequence)),
            result: PhantomData,
        }
    }
}

pub(crate) fn queue(name: String) -> TaskQueue {
    TaskQueue {
        name,
        kind: TaskQueueKind::Normal,
        ..TaskQueue::default()
    }
}

impl<R: DeserializeOwned + 'static> IntoFuture for ActivityCall<R> {
    type Output = WorkflowResult<R>;
    type IntoFuture = ActivityFuture<R>;

    fn into_future(self) -> ActivityFuture<R> {
        self.start()
    }
}

enum FutureState {
    Waiting(Step),
    /// Never scheduled.
    Ended(Option<WorkflowError>),
}

/// A scheduled activity. Dropping it leaves the activity running.
pub struct ActivityFuture<R> {
    state: FutureState,
    result: PhantomData<fn() -> R>,
}

impl<R> ActivityFuture<R> {
    fn ended(error: WorkflowError) -> Self {
        Self {
            state: FutureState::Ended(Some(error)),
            result: PhantomData,
        }
    }

    /// Cancels it as its [`ActivityCancellation`] says; what comes of it is what the future gives.
    pub fn cancel(&self) {
        if let FutureState::Waiting(step) = &self.state {
            step.shared().state().cancel_activity(step.sequence());
        }
    }
}

impl<R: DeserializeOwned + 'static> Future for ActivityFuture<R> {
    type Output = WorkflowResult<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WorkflowResult<R>> {
        match &mut self.state {
            FutureState::Waiting(step) => {
                let outcome = ready!(Pin::new(&mut *step).poll(cx));
                Poll::Ready(result_of(outcome, &step.shared().converter))
            }
            FutureState::Ended(error) => Poll::Ready(Err(error
                .take()
                .unwrap_or_else(|| WorkflowError::task_failed("an activity was awaited twice")))),
        }
    }
}

impl<R: DeserializeOwned + 'static> FusedFuture for ActivityFuture<R> {
    fn is_terminated(&self) -> bool {
        match &self.state {
            FutureState::Waiting(step) => step.is_done(),
            FutureState::Ended(error) => error.is_none(),
        }
    }
}

/// What code gets from a step's outcome.
pub(super) fn result_of<R: DeserializeOwned + 'static>(
    outcome: Outcome,
    converter: &Converter,
) -> WorkflowResult<R> {
    match outcome {
        Outcome::Done(payloads) => {
            let read = converter.read_payloads(payloads.as_ref());
            read.map_err(|error| WorkflowError::task_failed_by(&error))
        }
        Outcome::Failed(failure) => Err(WorkflowError::Failed(failure)),
        Outcome::Cancelled(failure) => Err(WorkflowError::Cancelled(failure)),
        Outcome::Backoff { .. } => Err(WorkflowError::task_failed(
            "a step that is no local activity ended with a backoff",
        )),
    }
}
