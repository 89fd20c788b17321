//! Calling an activity that the workflow's own worker runs.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fermata_proto::common::{Payload, Payloads, RetryPolicy};
use futures::future::FusedFuture;
use serde::de::DeserializeOwned;

use super::activity_call::result_of;
use super::context::WorkflowContext;
use super::timer::Timer;
use crate::error::{WorkflowError, WorkflowResult};
use crate::machine::{ActivityCancellation, LocalActivity, Outcome, Step};
use crate::payload::PayloadError;
use crate::setters::setters;

/// As in Temporal's SDKs.
const LOCAL_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// A local activity about to be started: set options, then await it, or [`Self::start`] it and await it later.
#[must_use = "a local activity is started when it is awaited or started"]
pub struct LocalActivityCall<R> {
    ctx: WorkflowContext,
    activity: LocalActivity,
    cancellation: ActivityCancellation,
    error: Option<WorkflowError>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned + 'static> LocalActivityCall<R> {
    pub(super) fn new(
        ctx: WorkflowContext,
        activity_type: &str,
        input: Result<Option<Payloads>, PayloadError>,
    ) -> Self {
        let (input, error) = match input {
            Ok(input) => (input, None),
            Err(error) => (None, Some(WorkflowError::task_failed_by(&error))),
        };
        Self {
            ctx,
            activity: LocalActivity {
                activity_type: activity_type.to_owned(),
                input,
                attempt: 1,
                local_backoff_max: LOCAL_BACKOFF_MAX,
                ..LocalActivity::default()
            },
            cancellation: ActivityCancellation::default(),
            error,
            result: PhantomData,
        }
    }

    setters! { activity:
        /// How long one attempt may take.
        start_to_close(timeout: Duration) => start_to_close = Some(timeout);
        /// How long it may take in all, with retries.
        schedule_to_close(timeout: Duration) => schedule_to_close = Some(timeout);
        /// How failed attempts are repeated; by default after 1 s, 2 s, 4 s and so on up to 100 s, without end.
        retry(policy: RetryPolicy) => retry = policy;
        /// At most this many attempts, the first included; 0 for no bound.
        attempts_max(attempts: i32) => retry.maximum_attempts = attempts;
        /// A backoff up to this long is waited for by the worker, within workflow tasks; a longer one by a timer, which
        /// survives the worker. By default a minute.
        local_backoff_max(length: Duration) => local_backoff_max = length;
        headers(headers: BTreeMap<String, Payload>) => headers = headers;
    }

    pub fn on_cancel(mut self, cancellation: ActivityCancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Starts it.
    pub fn start(self) -> LocalActivityFuture<R> {
        let Self {
            ctx,
            activity,
            cancellation,
            error,
            ..
        } = self;
        let is_bounded = activity.start_to_close.is_some() || activity.schedule_to_close.is_some();
        let state = if let Some(error) = error {
            FutureState::Ended(Some(error))
        } else if ctx.is_cancelled_for_steps() {
            FutureState::Ended(Some(WorkflowError::cancelled("the workflow is cancelled")))
        } else if !is_bounded {
            FutureState::Ended(Some(WorkflowError::task_failed(format!(
                "start local activity {}: set start_to_close or schedule_to_close",
                activity.activity_type
            ))))
        } else {
            FutureState::Running(begin(&ctx, &activity, cancellation))
        };
        LocalActivityFuture {
            ctx,
            activity,
            cancellation,
            state,
            result: PhantomData,
        }
    }
}

fn begin(
    ctx: &WorkflowContext,
    activity: &LocalActivity,
    cancellation: ActivityCancellation,
) -> Step {
    let sequence =
        ctx.shared
            .state()
            .schedule_local_activity(activity.clone(), cancellation, ctx.scope);
    Step::new(ctx.shared.clone(), sequence)
}

impl<R: DeserializeOwned + 'static> IntoFuture for LocalActivityCall<R> {
    type Output = WorkflowResult<R>;
    type IntoFuture = LocalActivityFuture<R>;

    fn into_future(self) -> LocalActivityFuture<R> {
        self.start()
    }
}

enum FutureState {
    Running(Step),
    /// A long backoff, before the next attempt.
    Backoff(Timer),
    /// Given, or never started.
    Ended(Option<WorkflowError>),
}

/// A started local activity. Dropping it leaves the activity running.
pub struct LocalActivityFuture<R> {
    ctx: WorkflowContext,
    activity: LocalActivity,
    cancellation: ActivityCancellation,
    state: FutureState,
    result: PhantomData<fn() -> R>,
}

impl<R> LocalActivityFuture<R> {
    /// Cancels it as its [`ActivityCancellation`] says; what comes of it is what the future gives.
    pub fn cancel(&self) {
        match &self.state {
            FutureState::Running(step) => {
                let mut state = self.ctx.shared.state();
                state.cancel_local_activity(step.sequence());
            }
            FutureState::Backoff(timer) => timer.cancel(),
            FutureState::Ended(_) => {}
        }
    }
}

impl<R: DeserializeOwned + 'static> Future for LocalActivityFuture<R> {
    type Output = WorkflowResult<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WorkflowResult<R>> {
        let this = self.get_mut();
        loop {
            let ended = match &mut this.state {
                FutureState::Running(step) => match ready!(Pin::new(step).poll(cx)) {
                    Outcome::Backoff {
                        delay,
                        attempt,
                        original_schedule_time,
                    } => {
                        this.activity.attempt = attempt;
                        this.activity.original_schedule_time = original_schedule_time;
                        this.state = FutureState::Backoff(this.ctx.sleep(delay));
                        continue;
                    }
                    outcome => result_of(outcome, this.ctx.converter()),
                },
                FutureState::Backoff(timer) => match ready!(Pin::new(timer).poll(cx)) {
                    Ok(()) => {
                        let step = begin(&this.ctx, &this.activity, this.cancellation);
                        this.state = FutureState::Running(step);
                        continue;
                    }
                    Err(error) => Err(error),
                },
                FutureState::Ended(error) => Err(error.take().unwrap_or_else(|| {
                    WorkflowError::task_failed("a local activity was awaited twice")
                })),
            };
            this.state = FutureState::Ended(None);
            return Poll::Ready(ended);
        }
    }
}

impl<R: DeserializeOwned + 'static> FusedFuture for LocalActivityFuture<R> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, FutureState::Ended(None))
    }
}
