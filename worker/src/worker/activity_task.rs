//! Working on an activity task: one attempt, then its answer.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::common::Payloads;
use fermata_proto::rpc::{CompleteActivity, Rejection, RejectionKind, Request, Response};
use fermata_proto::service::*;
use futures::future::FutureExt;

use super::Inner;
use crate::activity::{ActivityContext, CancelReason};
use crate::error::{ActivityError, ActivityErrorKind, ApplicationError, panic_message};

/// How long an answer is repeated while no engine takes it: what an attempt has done should not get lost.
const ANSWER_MAX: Duration = Duration::from_secs(60);

type Ended = Result<Option<Payloads>, ActivityError>;

/// Runs the attempt and answers. Gives the workflow task that the answer brought.
pub(super) async fn work(
    worker: &Inner,
    mut task: Box<PollActivityTaskQueueResponse>,
) -> Option<Box<PollWorkflowTaskQueueResponse>> {
    let input = task.input.take();
    let ctx = ActivityContext::new(&worker.connection, &mut task);
    let ended = match run(worker, &ctx, input).await {
        Some(ended) => ended,
        None => {
            // The engine has timed the attempt out by the same clock and waits for nothing.
            ctx.cancellation().cancel(CancelReason::Gone);
            return None;
        }
    };
    ctx.stop_heartbeat();
    let answer = Answer {
        worker,
        ctx: &ctx,
        task_token: task.task_token,
    };
    match ended {
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
    match ctx.info().start_to_close_timeout {
        Some(timeout) => tokio::time::timeout(timeout, attempt).await.ok(),
        None => Some(attempt.await),
    }
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
            Err(rejection) => {
                self.log(&rejection);
                None
            }
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
        let failure = match error.0 {
            ActivityErrorKind::Failed(failure) => *failure,
            ActivityErrorKind::Cancelled(_) => {
                ApplicationError::new("the activity stopped before its end").into_failure()
            }
        };
        let request = RespondActivityTaskFailedRequest {
            task_token: self.task_token.clone(),
            failure: Some(failure),
            identity: self.worker.claimant.identity.clone(),
            namespace: self.worker.connection.namespace.name.clone(),
            last_heartbeat_details: self.ctx.last_details(),
            ..RespondActivityTaskFailedRequest::default()
        };
        let request = Request::RespondActivityTaskFailed(Box::new(request));
        if let Err(rejection) = self.call(request).await {
            self.log(&rejection);
        }
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
