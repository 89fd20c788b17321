//! Working on an activity task: one attempt, then its answer.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::common::Payloads;
use fermata_proto::failure::{Failure, FailureFailureInfo};
use fermata_proto::rpc::{
    CompleteActivity, DetachActivity, Rejection, RejectionKind, Request, Response,
};
use fermata_proto::service::*;
use futures::future::{BoxFuture, FutureExt};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::Inner;
use crate::activity::{ActivityContext, CancelReason};
use crate::error::{ActivityError, ActivityErrorKind, ApplicationError, panic_message};
use crate::interceptor::AttemptOutcome;

/// How long an answer is repeated while no engine takes it: what an attempt has done should not get lost.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Of a failure that cannot be sent whole.
const MESSAGE_CHARS_MAX: usize = 1_000;

type Ended = Result<Option<Payloads>, ActivityError>;

/// Runs the attempt and answers. Gives the workflow task that the answer brought.
pub(super) async fn work(
    worker: &Inner,
    mut task: Box<PollActivityTaskQueueResponse>,
) -> Option<Box<PollWorkflowTaskQueueResponse>> {
    let decoded = worker.connection.codec.decode(&mut *task).await;
    let input = task.input.take();
    let throttle = worker.options.throttle();
    let ctx = ActivityContext::new(&worker.connection, &mut task, &worker.task_queue, throttle);
    let interceptors = &worker.connection.interceptors;
    let began = Instant::now();
    let spans = interceptors.span(|interceptor| interceptor.activity_span(ctx.info()));
    let ended = match decoded {
        Ok(()) => within(spans, run(worker, &ctx, input)).await,
        Err(error) => Some(Err(codec_failed(&error.to_string()))),
    };
    observe(worker, &ctx, &ended, began.elapsed());
    let Some(ended) = ended else {
        // The engine has timed the attempt out by the same clock and waits for nothing.
        ctx.cancellation().cancel(CancelReason::Gone);
        return None;
    };
    ctx.stop_heartbeat();
    let answer = Answer {
        worker,
        ctx: &ctx,
        task_token: task.task_token,
    };
    match ended {
        Err(ActivityError(ActivityErrorKind::Later)) => {
            answer.detach().await;
            None
        }
        Ok(result) => answer.complete(result).await,
        Err(ActivityError(ActivityErrorKind::Cancelled(details))) => {
            answer.cancel(details).await;
            None
        }
        Err(error) => {
            answer.fail(error).await;
            None
        }
    }
}

/// Runs `work` within all spans, the first outermost.
pub(super) fn within<'a, T: 'a>(
    spans: Vec<Span>,
    work: impl Future<Output = T> + Send + 'a,
) -> BoxFuture<'a, T> {
    spans
        .into_iter()
        .rev()
        .fold(work.boxed(), |work, span| work.instrument(span).boxed())
}

/// Another attempt may find the codec well again.
fn codec_failed(text: &str) -> ActivityError {
    ApplicationError::new(text).with_type("PayloadCodec").into()
}

fn observe(worker: &Inner, ctx: &ActivityContext, ended: &Option<Ended>, took: Duration) {
    let (outcome, name) = match ended {
        None => (AttemptOutcome::TimedOut, "timed_out"),
        Some(Ok(_)) => (AttemptOutcome::Completed, "completed"),
        Some(Err(ActivityError(kind))) => match kind {
            ActivityErrorKind::Failed(_) => (AttemptOutcome::Failed, "failed"),
            ActivityErrorKind::Cancelled(_) => (AttemptOutcome::Cancelled, "cancelled"),
            ActivityErrorKind::Later => (AttemptOutcome::Detached, "detached"),
        },
    };
    let info = ctx.info();
    let metrics = &worker.metrics;
    // Names that nobody registered come from outside: they must not make series without end.
    let is_known = worker.registry.activities.contains_key(&info.activity_type);
    let activity_type = if is_known { &*info.activity_type } else { "" };
    metrics
        .activity_seconds
        .with_label_values(&[activity_type])
        .observe(took.as_secs_f64());
    metrics
        .activity_ends
        .with_label_values(&[activity_type, name])
        .inc();
    let interceptors = &worker.connection.interceptors;
    interceptors.each(|interceptor| interceptor.activity_ended(info, outcome, took));
}

/// None if the attempt took longer than it may.
async fn run(worker: &Inner, ctx: &ActivityContext, input: Option<Payloads>) -> Option<Ended> {
    let activity_type = &ctx.info().activity_type;
    let Some(code) = worker.registry.activities.get(activity_type) else {
        let known: Vec<&str> = worker
            .registry
            .activities
            .keys()
            .map(String::as_str)
            .collect();
        let text = format!(
            "activity type {activity_type:?} is not registered with this worker, which hosts [{}]",
            known.join(", ")
        );
        return Some(Err(ApplicationError::new(text)
            .with_type("ActivityNotRegistered")
            .into()));
    };
    let attempt = AssertUnwindSafe(async { code(ctx.clone(), input).await }).catch_unwind();
    let attempt = attempt.map(|ended| {
        ended.unwrap_or_else(|panic| {
            let text = format!("the activity panicked: {}", panic_message(&*panic));
            Err(ApplicationError::new(text).with_type("Panic").into())
        })
    });
    let attempt = until_shutdown(worker, ctx, attempt);
    let Some(timeout) = ctx.info().start_to_close_timeout else {
        return Some(attempt.await);
    };
    let mut attempt = std::pin::pin!(attempt);
    let ended = tokio::time::timeout(timeout, &mut attempt).await.ok();
    if ended.is_none() && worker.registry.blocking.contains(activity_type) {
        // Its thread cannot be taken from it, so neither is its slot.
        ctx.cancellation().cancel(CancelReason::Gone);
        attempt.await.ok();
    }
    ended
}

/// Tells the attempt when the worker goes down, and drops it when its time is over.
async fn until_shutdown(
    worker: &Inner,
    ctx: &ActivityContext,
    attempt: impl Future<Output = Ended>,
) -> Ended {
    let mut attempt = std::pin::pin!(attempt);
    tokio::select! {
        biased;
        ended = &mut attempt => return ended,
        () = worker.shutdown.cancelled() => ctx.cancellation().cancel(CancelReason::WorkerShutdown),
    }
    tokio::select! {
        biased;
        ended = &mut attempt => ended,
        () = worker.force.cancelled() => Err(ApplicationError::new("the worker went down")
            .with_type("WorkerShutdown")
            .into()),
    }
}

/// What is left of a failure that cannot be sent whole.
fn shortened(failure: Failure, rejection: &Rejection) -> Failure {
    let mut message = failure.message;
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
        message.truncate(end);
    }
    let mut error = ApplicationError::new(format!(
        "{message} (the rest of the failure was refused: {rejection})"
    ));
    if let Some(FailureFailureInfo::ApplicationFailureInfo(info)) = failure.failure_info {
        error = error.with_type(info.r#type);
        if info.non_retryable {
            error = error.non_retryable();
        }
        if let Some(delay) = info.next_retry_delay {
            error = error.retry_after(delay);
        }
    }
    error.into_failure()
}

struct Answer<'a> {
    worker: &'a Inner,
    ctx: &'a ActivityContext,
    task_token: Bytes,
}

impl Answer<'_> {
    async fn complete(
        &self,
        result: Option<Payloads>,
    ) -> Option<Box<PollWorkflowTaskQueueResponse>> {
        let worker = self.worker;
        let request = CompleteActivity {
            request: RespondActivityTaskCompletedRequest {
                task_token: self.task_token.clone(),
                result,
                identity: worker.claimant.identity.clone(),
                namespace: worker.connection.namespace.name.clone(),
                ..RespondActivityTaskCompletedRequest::default()
            },
            sticky_queue: worker
                .sticky_queue
                .clone()
                .filter(|_| !worker.is_shutting_down()),
        };
        let request = Request::RespondActivityTaskCompleted(Box::new(request));
        match self.call(request).await {
            Ok(Response::RespondActivityTaskCompleted(completed)) => completed.workflow_task,
            Ok(_) => None,
            Err(rejection) if rejection.kind == RejectionKind::InvalidArgument => {
                // The result cannot be taken (it is too large, say): another attempt would end the same way.
                let text = format!("the activity's result was refused: {rejection}");
                let error = ApplicationError::new(text)
                    .with_type("ResultRefused")
                    .non_retryable();
                self.fail(error.into()).await;
                None
            }
            Err(rejection) if rejection.kind == RejectionKind::Internal => {
                self.fail(codec_failed(&rejection.to_string())).await;
                None
            }
            Err(rejection) => {
                self.log(&rejection);
                None
            }
        }
    }

    /// Somebody else completes it: the end of this worker is not to end it.
    async fn detach(&self) {
        let request = Request::DetachActivity(Box::new(DetachActivity {
            task_token: self.task_token.clone(),
        }));
        // NOT_FOUND if it was completed already.
        if let Err(rejection) = self.call(request).await {
            self.log(&rejection);
        }
    }

    async fn cancel(&self, details: Option<Payloads>) {
        if self.ctx.cancel_reason() != Some(CancelReason::Requested) {
            // The workflow did not ask for it, so for the engine it is a failed attempt.
            let error = ApplicationError::new("the activity stopped before its end");
            return self.fail(error.with_type("Cancelled").into()).await;
        }
        let request = RespondActivityTaskCanceledRequest {
            task_token: self.task_token.clone(),
            details,
            identity: self.worker.claimant.identity.clone(),
            namespace: self.worker.connection.namespace.name.clone(),
            ..RespondActivityTaskCanceledRequest::default()
        };
        let request = Request::RespondActivityTaskCanceled(Box::new(request));
        if let Err(rejection) = self.call(request).await {
            self.log(&rejection);
        }
    }

    async fn fail(&self, error: ActivityError) {
        let info = self.ctx.info();
        tracing::debug!(
            workflow_id = info.workflow_id,
            activity_type = info.activity_type,
            attempt = info.attempt,
            %error,
            "activity attempt failed"
        );
        let failure = error.into_failure();
        let Err(rejection) = self.send_failure(failure.clone()).await else {
            return;
        };
        self.log(&rejection);
        let is_ours = matches!(
            rejection.kind,
            RejectionKind::InvalidArgument | RejectionKind::Internal
        );
        if is_ours {
            // Its details or causes cannot be sent: what kind of failure it is still counts.
            if let Err(rejection) = self.send_failure(shortened(failure, &rejection)).await {
                self.log(&rejection);
            }
        }
    }

    async fn send_failure(&self, failure: Failure) -> Result<Response, Rejection> {
        let request = RespondActivityTaskFailedRequest {
            task_token: self.task_token.clone(),
            failure: Some(failure),
            identity: self.worker.claimant.identity.clone(),
            namespace: self.worker.connection.namespace.name.clone(),
            last_heartbeat_details: self.ctx.last_details(),
            ..RespondActivityTaskFailedRequest::default()
        };
        let request = Request::RespondActivityTaskFailed(Box::new(request));
        self.call(request).await
    }

    async fn call(&self, request: Request) -> Result<Response, Rejection> {
        let workflow_id = &self.ctx.info().workflow_id;
        self.worker
            .connection
            .call(workflow_id, ANSWER_MAX, request)
            .await
    }

    fn log(&self, rejection: &Rejection) {
        let info = self.ctx.info();
        if rejection.kind == RejectionKind::NotFound {
            tracing::debug!(workflow_id = info.workflow_id, activity_type = info.activity_type, %rejection, "an activity was over before its answer");
        } else {
            tracing::warn!(workflow_id = info.workflow_id, activity_type = info.activity_type, %rejection, "answer an activity task");
        }
    }
}
