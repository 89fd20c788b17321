//! The same from callers that know the activity by its id instead of a token.
//!
//! One that no worker has taken can only be completed.

use fermata_proto::codec;
use fermata_proto::common::*;
use fermata_proto::event::*;
use fermata_proto::rpc::{CompleteActivity, Rejection};
use fermata_proto::service::*;

use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::find;
use crate::transaction::Transaction;

use super::claim::start;
use super::respond::{on_canceled, on_completed, on_failed, on_heartbeat};
use super::{close, gone, started, token};

/// The token of the attempt that the activity with `activity_id` is at.
///
/// # Errors
/// NOT_FOUND if no such activity is open.
pub(super) fn token_by_id(
    view: &View<'_>,
    workflow_id: &str,
    run_id: &str,
    activity_id: &str,
) -> Result<(bytes::Bytes, bool), Rejection> {
    if activity_id.is_empty() {
        return Err(Rejection::invalid_argument(
            "ActivityId is not set on request.",
        ));
    }
    let execution = WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    };
    let run = find::open_run(view, Some(&execution))?;
    let activity = run
        .activity_ids
        .get(activity_id)
        .and_then(|scheduled_event_id| run.activities.get(scheduled_event_id))
        .filter(|activity| !activity.progress.closing)
        .ok_or_else(|| {
            Rejection::not_found(format!(
                "cannot find pending activity with ActivityID {activity_id}, check workflow execution history for more details"
            ))
        })?;
    let token = codec::encode(&token(run, activity));
    Ok((token, activity.progress.started_time.is_some()))
}

pub(crate) fn on_completed_by_id(
    view: &View<'_>,
    request: &RespondActivityTaskCompletedByIdRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let (task_token, is_started) = token_by_id(
        view,
        &request.workflow_id,
        &request.run_id,
        &request.activity_id,
    )?;
    let request = RespondActivityTaskCompletedRequest {
        task_token,
        result: request.result.clone(),
        identity: request.identity.clone(),
        ..RespondActivityTaskCompletedRequest::default()
    };
    if is_started {
        return on_completed(
            view,
            &CompleteActivity {
                request,
                sticky_queue: None,
            },
            ctx,
        );
    }
    // Somebody else did the work before a worker took it.
    let (run, activity) = started(view, &request.task_token)?;
    let mut tx = Transaction::of(run, ctx);
    start(
        &mut tx,
        activity.scheduled_event_id,
        &request.identity,
        "",
        "",
    );
    let scheduled_event_id = activity.scheduled_event_id;
    close(&mut tx, activity, true, |started_event_id| {
        ActivityTaskCompletedEventAttributes {
            result: request.result,
            scheduled_event_id,
            started_event_id,
            identity: request.identity,
            ..ActivityTaskCompletedEventAttributes::default()
        }
        .into()
    });
    Ok(Decision::one(tx, Reply::done()))
}

pub(crate) fn on_failed_by_id(
    view: &View<'_>,
    request: &RespondActivityTaskFailedByIdRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = RespondActivityTaskFailedRequest {
        task_token: started_by_id(
            view,
            &request.workflow_id,
            &request.run_id,
            &request.activity_id,
        )?,
        failure: request.failure.clone(),
        identity: request.identity.clone(),
        last_heartbeat_details: request.last_heartbeat_details.clone(),
        ..RespondActivityTaskFailedRequest::default()
    };
    on_failed(view, &request, ctx)
}

pub(crate) fn on_canceled_by_id(
    view: &View<'_>,
    request: &RespondActivityTaskCanceledByIdRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = RespondActivityTaskCanceledRequest {
        task_token: started_by_id(
            view,
            &request.workflow_id,
            &request.run_id,
            &request.activity_id,
        )?,
        details: request.details.clone(),
        identity: request.identity.clone(),
        ..RespondActivityTaskCanceledRequest::default()
    };
    on_canceled(view, &request, ctx)
}

pub(crate) fn on_heartbeat_by_id(
    view: &View<'_>,
    request: &RecordActivityTaskHeartbeatByIdRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = RecordActivityTaskHeartbeatRequest {
        task_token: started_by_id(
            view,
            &request.workflow_id,
            &request.run_id,
            &request.activity_id,
        )?,
        details: request.details.clone(),
        identity: request.identity.clone(),
        ..RecordActivityTaskHeartbeatRequest::default()
    };
    on_heartbeat(view, &request, ctx)
}

pub(super) fn started_by_id(
    view: &View<'_>,
    workflow_id: &str,
    run_id: &str,
    activity_id: &str,
) -> Result<bytes::Bytes, Rejection> {
    match token_by_id(view, workflow_id, run_id, activity_id)? {
        (token, true) => Ok(token),
        (_, false) => Err(gone()),
    }
}
