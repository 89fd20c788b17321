//! Handing a scheduled activity to a worker.

use fermata_proto::codec;
use fermata_proto::common::*;
use fermata_proto::rpc::{ClaimTask, Rejection, Response};
use fermata_proto::service::*;

use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::{Activity, Run};
use crate::transaction::Transaction;
use crate::{find, priority};

use super::{gone, progress, token};

pub(crate) fn on_claim(
    view: &View<'_>,
    claim: &ClaimTask,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = find::open_run_of_id(view, &claim.task.workflow_id.0, &claim.task.run_id)?;
    let activity = run
        .activities
        .get(&claim.task.scheduled_event_id)
        .filter(|activity| {
            let progress = &activity.progress;
            // One that is paused, or was put on its queue anew, is not to be had by an old reference.
            let is_current = progress.stamp == claim.task.stamp && !progress.waiting;
            progress.attempt == claim.task.attempt
                && !progress.closing
                && (is_current || progress.started_time.is_some())
        })
        .ok_or_else(gone)?;
    let respond = |run: &Run, activity: &Activity| {
        Reply::Response(Response::ActivityTask(Box::new(handout(
            run, activity, ctx,
        ))))
    };
    if activity.progress.started_time.is_some() {
        if activity.progress.started_request_id == claim.claim_id {
            return Ok(Decision::reply(respond(run, activity)));
        }
        return Err(gone());
    }
    let mut tx = Transaction::of(run, ctx);
    start(
        &mut tx,
        activity.scheduled_event_id,
        &claim.identity,
        &claim.claim_id,
        &claim.worker_id,
    );
    let reply = respond(tx.run(), &tx.run().activities[&activity.scheduled_event_id]);
    Ok(Decision::one(tx, reply))
}

pub(super) fn start(
    tx: &mut Transaction<'_>,
    scheduled_event_id: i64,
    identity: &str,
    request_id: &str,
    worker_id: &str,
) {
    let now = tx.ctx.now;
    progress(tx, scheduled_event_id, |progress| {
        progress.started_time = Some(now);
        progress.last_started_time = Some(now);
        progress.started_identity = identity.to_owned();
        progress.last_worker_identity = identity.to_owned();
        progress.started_request_id = request_id.to_owned();
        progress.worker_id = worker_id.to_owned();
    });
}

/// The started activity for its worker.
pub(super) fn handout(
    run: &Run,
    activity: &Activity,
    ctx: &Context<'_>,
) -> PollActivityTaskQueueResponse {
    let (scheduled, progress) = (&activity.scheduled, &activity.progress);
    PollActivityTaskQueueResponse {
        task_token: codec::encode(&token(run, activity)),
        workflow_namespace: ctx.namespace.name.clone(),
        workflow_type: run.started.workflow_type.clone(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: run.workflow_id.0.clone(),
            run_id: run.run_id.clone(),
        }),
        activity_type: scheduled.activity_type.clone(),
        activity_id: scheduled.activity_id.clone(),
        header: scheduled.header.clone(),
        input: scheduled.input.clone(),
        heartbeat_details: progress.heartbeat_details.clone(),
        scheduled_time: Some(activity.scheduled_time),
        current_attempt_scheduled_time: Some(progress.attempt_scheduled_time),
        started_time: progress.started_time,
        attempt: progress.attempt,
        schedule_to_close_timeout: scheduled.schedule_to_close_timeout,
        start_to_close_timeout: scheduled.start_to_close_timeout,
        heartbeat_timeout: scheduled.heartbeat_timeout,
        retry_policy: scheduled.retry_policy.clone(),
        priority: priority::merged(run.started.priority.as_ref(), scheduled.priority.as_ref()),
        ..PollActivityTaskQueueResponse::default()
    }
}
