//! What a worker says of its attempt: completed, failed, canceled, still at it.

use std::time::Duration;

use fermata_proto::enums::*;
use fermata_proto::event::*;
use fermata_proto::failure::*;
use fermata_proto::rpc::{CompleteActivity, Rejection, Response};
use fermata_proto::service::*;

use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::{Activity, Run};
use crate::transaction::Transaction;
use crate::{validate, workflow_task};

use super::{close, progress, retry_later, started};

pub(crate) fn on_completed(
    view: &View<'_>,
    completed: &CompleteActivity,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = &completed.request;
    let (run, activity) = started(view, &request.task_token)?;
    if validate::blob(request.result.as_ref(), ctx).is_err() {
        let failure = too_large("Complete result exceeds size limit.");
        return Ok(fail(run, activity, Some(failure), &request.identity, ctx));
    }
    let mut tx = Transaction::of(run, ctx);
    let attributes = ActivityTaskCompletedEventAttributes {
        result: request.result.clone(),
        scheduled_event_id: activity.scheduled_event_id,
        identity: request.identity.clone(),
        worker_version: request.worker_version.clone(),
        ..ActivityTaskCompletedEventAttributes::default()
    };
    close(&mut tx, activity, true, |started_event_id| {
        ActivityTaskCompletedEventAttributes {
            started_event_id,
            ..attributes
        }
        .into()
    });
    let handout = return_task(
        &mut tx,
        completed.sticky_queue.as_deref(),
        &request.identity,
        &activity.progress.worker_id,
    );
    Ok(Decision::one(
        tx,
        Reply::ActivityCompleted {
            workflow_task: handout,
        },
    ))
}

/// Starts the workflow task that was just scheduled for a worker that holds the run in its cache.
pub(super) fn return_task(
    tx: &mut Transaction<'_>,
    sticky_queue: Option<&str>,
    identity: &str,
    worker_id: &str,
) -> Option<Box<crate::decision::TaskHandout>> {
    let task = tx.run().workflow_task.as_ref()?;
    if task.is_started()
        || task.queue.kind != TaskQueueKind::Sticky
        || sticky_queue != Some(task.queue.name.as_str())
    {
        return None;
    }
    if !tx.take_dispatch() {
        return None;
    }
    let request_id = tx.ctx.new_id();
    workflow_task::start(tx, identity, &request_id, worker_id);
    Some(Box::new(workflow_task::handout(tx.run(), true)))
}

pub(crate) fn on_failed(
    view: &View<'_>,
    request: &RespondActivityTaskFailedRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let (run, activity) = started(view, &request.task_token)?;
    let failure = request.failure.clone().unwrap_or_default();
    let is_application = matches!(
        failure.failure_info,
        Some(FailureFailureInfo::ApplicationFailureInfo(_))
    );
    if request.failure.is_some() && !is_application {
        return Err(Rejection::invalid_argument(
            "Failure must have ApplicationFailureInfo.",
        ));
    }
    let mut tx = Transaction::of(run, ctx);
    progress(&mut tx, activity.scheduled_event_id, |progress| {
        progress.last_attempt_complete_time = Some(ctx.now);
        if request.last_heartbeat_details.is_some() {
            progress
                .heartbeat_details
                .clone_from(&request.last_heartbeat_details);
        }
    });
    if let Err(retry_state) = retry_later(&mut tx, activity, &failure, Duration::ZERO) {
        let attributes = ActivityTaskFailedEventAttributes {
            failure: request.failure.clone(),
            scheduled_event_id: activity.scheduled_event_id,
            identity: request.identity.clone(),
            retry_state,
            worker_version: request.worker_version.clone(),
            ..ActivityTaskFailedEventAttributes::default()
        };
        close(&mut tx, activity, true, |started_event_id| {
            ActivityTaskFailedEventAttributes {
                started_event_id,
                ..attributes
            }
            .into()
        });
    }
    Ok(Decision::one(tx, Reply::done()))
}

/// What a worker sent is replaced by this; another attempt would send the same.
pub(super) fn too_large(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        failure_info: Some(FailureFailureInfo::ServerFailureInfo(ServerFailureInfo {
            non_retryable: true,
        })),
        ..Failure::default()
    }
}

/// Closes an activity as failed for good.
pub(super) fn fail(
    run: &Run,
    activity: &Activity,
    failure: Option<Failure>,
    identity: &str,
    ctx: &Context<'_>,
) -> Decision {
    let mut tx = Transaction::of(run, ctx);
    let attributes = ActivityTaskFailedEventAttributes {
        failure,
        scheduled_event_id: activity.scheduled_event_id,
        identity: identity.to_owned(),
        retry_state: RetryState::NonRetryableFailure,
        ..ActivityTaskFailedEventAttributes::default()
    };
    close(&mut tx, activity, true, |started_event_id| {
        ActivityTaskFailedEventAttributes {
            started_event_id,
            ..attributes
        }
        .into()
    });
    Decision::one(tx, Reply::done())
}

pub(crate) fn on_canceled(
    view: &View<'_>,
    request: &RespondActivityTaskCanceledRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let (run, activity) = started(view, &request.task_token)?;
    if activity.progress.cancel_requested_event_id == 0 {
        return Err(Rejection::invalid_argument(
            "unable to mark activity as canceled without activity being request canceled first",
        ));
    }
    let mut tx = Transaction::of(run, ctx);
    let attributes = ActivityTaskCanceledEventAttributes {
        details: request.details.clone(),
        latest_cancel_requested_event_id: activity.progress.cancel_requested_event_id,
        scheduled_event_id: activity.scheduled_event_id,
        identity: request.identity.clone(),
        worker_version: request.worker_version.clone(),
        ..ActivityTaskCanceledEventAttributes::default()
    };
    close(&mut tx, activity, true, |started_event_id| {
        ActivityTaskCanceledEventAttributes {
            started_event_id,
            ..attributes
        }
        .into()
    });
    Ok(Decision::one(tx, Reply::done()))
}

pub(crate) fn on_heartbeat(
    view: &View<'_>,
    request: &RecordActivityTaskHeartbeatRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let (run, activity) = started(view, &request.task_token)?;
    if validate::blob(request.details.as_ref(), ctx).is_err() {
        let failure = too_large("Heartbeat details exceed size limit.");
        let mut decision = fail(run, activity, Some(failure), &request.identity, ctx);
        // The worker is to stop.
        let response = RecordActivityTaskHeartbeatResponse {
            cancel_requested: true,
            ..RecordActivityTaskHeartbeatResponse::default()
        };
        decision.reply = Ok(Reply::Response(Response::RecordActivityTaskHeartbeat(
            Box::new(response),
        )));
        return Ok(decision);
    }
    let mut tx = Transaction::of(run, ctx);
    progress(&mut tx, activity.scheduled_event_id, |progress| {
        progress.last_heartbeat_time = Some(ctx.now);
        progress.heartbeat_details.clone_from(&request.details);
    });
    let response = RecordActivityTaskHeartbeatResponse {
        cancel_requested: activity.progress.cancel_requested_event_id != 0,
        activity_paused: activity.progress.paused,
        activity_reset: activity.progress.reset_requested,
    };
    Ok(Decision::one(
        tx,
        Reply::Response(Response::RecordActivityTaskHeartbeat(Box::new(response))),
    ))
}
