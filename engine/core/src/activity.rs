//! Activities: scheduled by a command, claimed, retried without events, and closed by one.
//!
//! | state | claim | complete, fail | time-outs |
//! |---|---|---|---|
//! | scheduled | started | by id: completed | schedule-to-start, schedule-to-close |
//! | started | same claim: same task | closed, or in backoff | start-to-close, heartbeat, schedule-to-close |
//! | in backoff | not found | not found | schedule-to-close; when over, scheduled again |
//! | closing (its event is buffered) | not found | not found | none |
//!
//! ActivityTaskStarted is written only when the activity closes.

use std::time::Duration;

use fermata_proto::codec;
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::WorkflowTaskFailedCause as Cause;
use fermata_proto::enums::*;
use fermata_proto::event::*;
use fermata_proto::failure::*;
use fermata_proto::rpc::{
    ClaimTask, CompleteActivity, Rejection, Response, TaskReference, TaskToken,
};
use fermata_proto::service::*;
use fermata_proto::time::Timestamp;

use crate::change::Fact;
use crate::command::{CommandError, Outcome};
use crate::context::Context;
use crate::decision::{Decision, Effect, Reply, View};
use crate::run::{Activity, ActivityProgress, Run};
use crate::transaction::Transaction;
use crate::{find, retry, workflow_task};

// -- schedule --------------------------------------------------------------------------------------------------------

pub(crate) fn on_schedule(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    command: &Command,
    attributes: &ScheduleActivityTaskCommandAttributes,
    outcome: &mut Outcome<'_>,
) -> Result<(), CommandError> {
    let bad = |text: &str| {
        CommandError::fail(
            Cause::BadScheduleActivityAttributes,
            format!("BadScheduleActivityAttributes: {text}"),
        )
    };
    if attributes.activity_id.is_empty() {
        return Err(bad("ActivityId is not set on ScheduleActivityTaskCommand."));
    }
    if attributes
        .activity_type
        .as_ref()
        .is_none_or(|kind| kind.name.is_empty())
    {
        return Err(bad(
            "ActivityType is not set on ScheduleActivityTaskCommand.",
        ));
    }
    let Some(queue) = attributes
        .task_queue
        .as_ref()
        .filter(|queue| !queue.name.is_empty())
    else {
        return Err(bad("TaskQueue is not set on ScheduleActivityTaskCommand."));
    };
    if tx.run().activity_ids.contains_key(&attributes.activity_id) {
        return Err(CommandError::fail(
            Cause::ScheduleActivityDuplicateId,
            format!(
                "ScheduleActivityDuplicateId: an activity with id {:?} is open",
                attributes.activity_id
            ),
        ));
    }
    if tx.run().activities.len() >= tx.ctx.limits.pending_activities_max {
        return Err(CommandError::fail(
            Cause::PendingActivitiesLimitExceeded,
            format!(
                "PendingActivitiesLimitExceeded: the number of pending activities, {}, has reached the per-workflow limit of {}",
                tx.run().activities.len(),
                tx.ctx.limits.pending_activities_max
            ),
        ));
    }
    let timeouts = Timeouts::of(attributes, tx.run()).ok_or_else(|| {
        bad("A valid StartToClose or ScheduleToCloseTimeout is not set on ScheduleActivityTaskCommand.")
    })?;
    let queue_name = queue.name.clone();
    let event_id = tx.write(HistoryEvent {
        user_metadata: command.user_metadata.clone(),
        attributes: Some(
            ActivityTaskScheduledEventAttributes {
                activity_id: attributes.activity_id.clone(),
                activity_type: attributes.activity_type.clone(),
                task_queue: Some(fermata_proto::taskqueue::TaskQueue {
                    name: queue_name.clone(),
                    kind: TaskQueueKind::Normal,
                    normal_name: String::new(),
                }),
                header: attributes.header.clone(),
                input: attributes.input.clone(),
                schedule_to_close_timeout: Some(timeouts.schedule_to_close),
                schedule_to_start_timeout: Some(timeouts.schedule_to_start),
                start_to_close_timeout: Some(timeouts.start_to_close),
                heartbeat_timeout: Some(timeouts.heartbeat),
                workflow_task_completed_event_id: completed_event_id,
                retry_policy: Some(retry::filled(
                    &attributes.retry_policy.clone().unwrap_or_default(),
                )),
                use_workflow_build_id: attributes.use_workflow_build_id,
                priority: attributes.priority.clone(),
            }
            .into(),
        ),
        ..HistoryEvent::default()
    });
    if attributes.request_eager_execution
        && queue_name == workflow_task::normal_queue(tx.run()).name
    {
        let identity = tx.run().last_worker_identity.clone();
        let request_id = tx.ctx.new_id();
        start(tx, event_id, &identity, &request_id);
        outcome
            .eager
            .push(handout(tx.run(), &tx.run().activities[&event_id], tx.ctx));
    } else {
        dispatch(tx, event_id);
    }
    Ok(())
}

/// The time-outs of a scheduled activity, all within the run's.
struct Timeouts {
    schedule_to_close: Duration,
    schedule_to_start: Duration,
    start_to_close: Duration,
    heartbeat: Duration,
}

impl Timeouts {
    /// None if neither start-to-close nor schedule-to-close is given.
    fn of(attributes: &ScheduleActivityTaskCommandAttributes, run: &Run) -> Option<Self> {
        let given = |timeout: Option<Duration>| timeout.filter(|timeout| !timeout.is_zero());
        let run_timeout = given(run.started.workflow_run_timeout);
        let cut = |timeout: Duration| run_timeout.map_or(timeout, |bound| timeout.min(bound));
        let close = given(attributes.schedule_to_close_timeout).map(cut);
        let start = given(attributes.schedule_to_start_timeout).map(cut);
        let run_for = given(attributes.start_to_close_timeout).map(cut);
        let (schedule_to_close, schedule_to_start, start_to_close) = match (close, run_for) {
            (Some(close), run_for) => (
                close,
                start.map_or(close, |start| start.min(close)),
                run_for.map_or(close, |run_for| run_for.min(close)),
            ),
            (None, Some(run_for)) => (
                run_timeout.unwrap_or_default(),
                start.or(run_timeout).unwrap_or_default(),
                run_for,
            ),
            (None, None) => return None,
        };
        let heartbeat = given(attributes.heartbeat_timeout)
            .unwrap_or_default()
            .min(start_to_close);
        Some(Self {
            schedule_to_close,
            schedule_to_start,
            start_to_close,
            heartbeat,
        })
    }
}

fn dispatch(tx: &mut Transaction<'_>, scheduled_event_id: i64) {
    let run = tx.run();
    let activity = &run.activities[&scheduled_event_id];
    let effect = Effect::DispatchActivityTask {
        task: reference(run, activity),
        queue: activity
            .scheduled
            .task_queue
            .as_ref()
            .map(|queue| queue.name.clone())
            .unwrap_or_default(),
    };
    tx.effect(effect);
}

/// What is put on the queue for `activity`.
pub(crate) fn reference(run: &Run, activity: &Activity) -> TaskReference {
    TaskReference {
        namespace_id: run.namespace_id.clone(),
        workflow_id: run.workflow_id.clone(),
        run_id: run.run_id.clone(),
        scheduled_event_id: activity.scheduled_event_id,
        attempt: activity.progress.attempt,
        query_id: None,
    }
}

// -- claim -----------------------------------------------------------------------------------------------------------

pub(crate) fn on_claim(
    view: &View<'_>,
    claim: &ClaimTask,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = find::open_run(view, &claim.task.run_id)?;
    let activity = run
        .activities
        .get(&claim.task.scheduled_event_id)
        .filter(|activity| {
            activity.progress.attempt == claim.task.attempt && !activity.progress.closing
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
    );
    let reply = respond(tx.run(), &tx.run().activities[&activity.scheduled_event_id]);
    Ok(Decision::one(tx, reply))
}

fn gone() -> Rejection {
    Rejection::not_found(
        "activity task not found: it has been taken, has ended, or its workflow is closed",
    )
}

fn start(tx: &mut Transaction<'_>, scheduled_event_id: i64, identity: &str, request_id: &str) {
    let now = tx.ctx.now;
    progress(tx, scheduled_event_id, |progress| {
        progress.started_time = Some(now);
        progress.last_started_time = Some(now);
        progress.started_identity = identity.to_owned();
        progress.last_worker_identity = identity.to_owned();
        progress.started_request_id = request_id.to_owned();
    });
}

/// Changes how far an activity is.
fn progress(
    tx: &mut Transaction<'_>,
    scheduled_event_id: i64,
    change: impl FnOnce(&mut ActivityProgress),
) {
    let mut progress = (*tx.run().activities[&scheduled_event_id].progress).clone();
    change(&mut progress);
    tx.fact(Fact::Activity {
        scheduled_event_id,
        progress: Box::new(progress),
    });
}

fn token(run: &Run, activity: &Activity) -> TaskToken {
    TaskToken {
        namespace_id: run.namespace_id.clone(),
        workflow_id: run.workflow_id.clone(),
        run_id: run.run_id.clone(),
        scheduled_event_id: activity.scheduled_event_id,
        attempt: activity.progress.attempt,
        activity_id: activity.scheduled.activity_id.clone(),
        started_time: activity.progress.started_time,
        ..TaskToken::default()
    }
}

/// The started activity for its worker.
fn handout(run: &Run, activity: &Activity, ctx: &Context<'_>) -> PollActivityTaskQueueResponse {
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
        priority: scheduled.priority.clone(),
        ..PollActivityTaskQueueResponse::default()
    }
}

// -- the ends --------------------------------------------------------------------------------------------------------

/// The started activity that a token names.
fn started<'a>(view: &View<'a>, token: &[u8]) -> Result<(&'a Run, &'a Activity), Rejection> {
    let token = find::token(token)?;
    let run = find::open_run(view, &token.run_id)?;
    let activity = run
        .activities
        .get(&token.scheduled_event_id)
        .filter(|activity| {
            let progress = &activity.progress;
            !progress.closing
                && progress.attempt == token.attempt
                && progress.started_time == token.started_time
        })
        .ok_or_else(gone)?;
    Ok((run, activity))
}

pub(crate) fn on_completed(
    view: &View<'_>,
    completed: &CompleteActivity,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = &completed.request;
    let (run, activity) = started(view, &request.task_token)?;
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
    );
    Ok(Decision::one(
        tx,
        Reply::ActivityCompleted {
            workflow_task: handout,
        },
    ))
}

/// Starts the workflow task that was just scheduled for a worker that holds the run in its cache.
fn return_task(
    tx: &mut Transaction<'_>,
    sticky_queue: Option<&str>,
    identity: &str,
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
    workflow_task::start(tx, identity, &request_id);
    Some(Box::new(workflow_task::handout(tx.run(), true)))
}

/// Writes Started and the closing event, now or into the buffer, and wakes the workflow.
fn close(
    tx: &mut Transaction<'_>,
    activity: &Activity,
    was_started: bool,
    closing: impl FnOnce(i64) -> HistoryEventAttributes,
) {
    let progress_now = tx.run().activities[&activity.scheduled_event_id]
        .progress
        .clone();
    let mut started_event_id = 0;
    if was_started {
        let attributes = ActivityTaskStartedEventAttributes {
            scheduled_event_id: activity.scheduled_event_id,
            identity: progress_now.started_identity.clone(),
            request_id: progress_now.started_request_id.clone(),
            attempt: progress_now.attempt,
            last_failure: progress_now.last_failure.as_deref().cloned(),
            ..ActivityTaskStartedEventAttributes::default()
        };
        let event = HistoryEvent {
            event_time: progress_now.started_time,
            attributes: Some(attributes.into()),
            ..HistoryEvent::default()
        };
        started_event_id = tx.write_or_buffer(event).unwrap_or(0);
    }
    let event = HistoryEvent {
        attributes: Some(closing(started_event_id)),
        ..HistoryEvent::default()
    };
    tx.write_or_buffer(event);
    workflow_task::schedule_if_none(tx);
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
            "An application failure must be set on the request.",
        ));
    }
    let mut tx = Transaction::of(run, ctx);
    if request.last_heartbeat_details.is_some() {
        progress(&mut tx, activity.scheduled_event_id, |progress| {
            progress
                .heartbeat_details
                .clone_from(&request.last_heartbeat_details);
        });
    }
    if let Err(retry_state) = retry_later(&mut tx, activity, &failure) {
        let attributes = ActivityTaskFailedEventAttributes {
            failure: Some(failure),
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

/// Puts the activity into backoff.
///
/// # Errors
/// Why there is no further attempt.
fn retry_later(
    tx: &mut Transaction<'_>,
    activity: &Activity,
    failure: &Failure,
) -> Result<(), RetryState> {
    let now = tx.ctx.now;
    let current = &tx.run().activities[&activity.scheduled_event_id];
    if current.progress.cancel_requested_event_id != 0 {
        return Err(RetryState::CancelRequested);
    }
    let policy = current.scheduled.retry_policy.as_ref();
    match retry::next(
        policy,
        current.progress.attempt,
        failure,
        now,
        schedule_to_close_deadline(current),
    ) {
        retry::Next::Never(state) => Err(state),
        retry::Next::After(delay) => {
            let failure = Box::new(failure.clone());
            progress(tx, activity.scheduled_event_id, |progress| {
                progress.attempt += 1;
                progress.attempt_scheduled_time = now + delay;
                progress.waiting = true;
                progress.started_time = None;
                progress.last_attempt_complete_time = Some(now);
                progress.last_failure = Some(failure);
            });
            Ok(())
        }
    }
}

/// A cancel request by the workflow. One that no worker has is canceled when all commands are carried out.
pub(crate) fn on_request_cancel(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    attributes: &RequestCancelActivityTaskCommandAttributes,
    outcome: &mut Outcome<'_>,
) -> Result<(), CommandError> {
    let bad = |text: String| {
        CommandError::fail(
            Cause::BadRequestCancelActivityAttributes,
            format!("BadRequestCancelActivityAttributes: {text}"),
        )
    };
    let scheduled_event_id = attributes.scheduled_event_id;
    let Some(activity) = tx.run().activities.get(&scheduled_event_id).cloned() else {
        return Err(bad(format!(
            "invalid history builder state for action: no activity was scheduled by event {scheduled_event_id}"
        )));
    };
    if activity.progress.cancel_requested_event_id != 0 {
        return Err(bad(format!(
            "the activity scheduled by event {scheduled_event_id} was asked to cancel before"
        )));
    }
    tx.event(ActivityTaskCancelRequestedEventAttributes {
        scheduled_event_id,
        workflow_task_completed_event_id: completed_event_id,
    });
    if activity.progress.started_time.is_none() && !activity.progress.closing {
        outcome.canceled_activities.push(scheduled_event_id);
    }
    Ok(())
}

/// Closes activities that were canceled before a worker had them.
pub(crate) fn cancel_unstarted(tx: &mut Transaction<'_>, canceled: &[i64], identity: &str) {
    for scheduled_event_id in canceled {
        let Some(activity) = tx.run().activities.get(scheduled_event_id) else {
            continue;
        };
        let latest_cancel_requested_event_id = activity.progress.cancel_requested_event_id;
        tx.event(ActivityTaskCanceledEventAttributes {
            details: Some(Payloads {
                payloads: vec![json_text("ACTIVITY_ID_NOT_STARTED")],
            }),
            latest_cancel_requested_event_id,
            scheduled_event_id: *scheduled_event_id,
            identity: identity.to_owned(),
            ..ActivityTaskCanceledEventAttributes::default()
        });
        tx.want_task();
    }
}

fn json_text(text: &str) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), "json/plain".into())].into(),
        data: format!("\"{text}\"").into(),
        ..Payload::default()
    }
}

pub(crate) fn on_canceled(
    view: &View<'_>,
    request: &RespondActivityTaskCanceledRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let (run, activity) = started(view, &request.task_token)?;
    if activity.progress.cancel_requested_event_id == 0 {
        return Err(Rejection::invalid_argument(
            "Unable to mark activity as cancelled without activity being request cancelled first.",
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

/// The token of the attempt that the activity with `activity_id` is at.
///
/// # Errors
/// NOT_FOUND if no such activity is open.
fn token_by_id(
    view: &View<'_>,
    run_id: &str,
    activity_id: &str,
) -> Result<(bytes::Bytes, bool), Rejection> {
    let run = find::open_run(view, run_id)?;
    let activity = run
        .activity_ids
        .get(activity_id)
        .and_then(|scheduled_event_id| run.activities.get(scheduled_event_id))
        .filter(|activity| !activity.progress.closing)
        .ok_or_else(|| {
            Rejection::not_found(format!(
                "cannot find pending activity with ActivityID {activity_id}"
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
    let (task_token, is_started) = token_by_id(view, &request.run_id, &request.activity_id)?;
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
    start(&mut tx, activity.scheduled_event_id, &request.identity, "");
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
        task_token: started_by_id(view, &request.run_id, &request.activity_id)?,
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
        task_token: started_by_id(view, &request.run_id, &request.activity_id)?,
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
        task_token: started_by_id(view, &request.run_id, &request.activity_id)?,
        details: request.details.clone(),
        identity: request.identity.clone(),
        ..RecordActivityTaskHeartbeatRequest::default()
    };
    on_heartbeat(view, &request, ctx)
}

fn started_by_id(
    view: &View<'_>,
    run_id: &str,
    activity_id: &str,
) -> Result<bytes::Bytes, Rejection> {
    match token_by_id(view, run_id, activity_id)? {
        (token, true) => Ok(token),
        (_, false) => Err(gone()),
    }
}

pub(crate) fn on_heartbeat(
    view: &View<'_>,
    request: &RecordActivityTaskHeartbeatRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let (run, activity) = started(view, &request.task_token)?;
    let mut tx = Transaction::of(run, ctx);
    progress(&mut tx, activity.scheduled_event_id, |progress| {
        progress.last_heartbeat_time = Some(ctx.now);
        progress.heartbeat_details.clone_from(&request.details);
    });
    let response = RecordActivityTaskHeartbeatResponse {
        cancel_requested: activity.progress.cancel_requested_event_id != 0,
        activity_paused: activity.progress.paused,
        ..RecordActivityTaskHeartbeatResponse::default()
    };
    Ok(Decision::one(
        tx,
        Reply::Response(Response::RecordActivityTaskHeartbeat(Box::new(response))),
    ))
}

// -- time-outs -------------------------------------------------------------------------------------------------------

fn given(timeout: Option<Duration>) -> Option<Duration> {
    timeout.filter(|timeout| !timeout.is_zero())
}

fn schedule_to_close_deadline(activity: &Activity) -> Option<Timestamp> {
    given(activity.scheduled.schedule_to_close_timeout)
        .map(|timeout| activity.scheduled_time + timeout)
}

/// What is due next for one activity, and when.
fn due(activity: &Activity) -> Option<(Timestamp, Due)> {
    let (scheduled, progress) = (&activity.scheduled, &activity.progress);
    if progress.closing {
        return None;
    }
    let close = schedule_to_close_deadline(activity)
        .map(|at| (at, Due::TimeOut(TimeoutType::ScheduleToClose)));
    let attempt = match progress.started_time {
        Some(started) => {
            let run = given(scheduled.start_to_close_timeout)
                .map(|timeout| (started + timeout, Due::TimeOut(TimeoutType::StartToClose)));
            let beat = given(scheduled.heartbeat_timeout).map(|timeout| {
                let last = progress.last_heartbeat_time.unwrap_or(started).max(started);
                (last + timeout, Due::TimeOut(TimeoutType::Heartbeat))
            });
            earlier(run, beat)
        }
        None if progress.waiting => Some((progress.attempt_scheduled_time, Due::Attempt)),
        None => given(scheduled.schedule_to_start_timeout).map(|timeout| {
            (
                progress.attempt_scheduled_time + timeout,
                Due::TimeOut(TimeoutType::ScheduleToStart),
            )
        }),
    };
    earlier(attempt, close)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Due {
    /// The backoff is over.
    Attempt,
    TimeOut(TimeoutType),
}

fn earlier(
    one: Option<(Timestamp, Due)>,
    other: Option<(Timestamp, Due)>,
) -> Option<(Timestamp, Due)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.0 < one.0 { other } else { one }),
        (one, other) => one.or(other),
    }
}

pub(crate) fn deadline(run: &Run) -> Option<Timestamp> {
    run.activities
        .values()
        .filter_map(due)
        .map(|(at, _)| at)
        .min()
}

pub(crate) fn on_deadline(tx: &mut Transaction<'_>) {
    let now = tx.ctx.now;
    let all: Vec<(Activity, Due)> = tx
        .run()
        .activities
        .values()
        .filter_map(|activity| {
            due(activity)
                .filter(|(at, _)| *at <= now)
                .map(|(_, due)| (activity.clone(), due))
        })
        .collect();
    for (activity, due) in all {
        match due {
            Due::Attempt => {
                progress(tx, activity.scheduled_event_id, |progress| {
                    progress.waiting = false
                });
                dispatch(tx, activity.scheduled_event_id);
            }
            Due::TimeOut(timeout_type) => time_out(tx, &activity, timeout_type),
        }
    }
}

fn time_out(tx: &mut Transaction<'_>, activity: &Activity, timeout_type: TimeoutType) {
    let failure = Failure {
        message: format!("activity {timeout_type:?} timeout"),
        source: "Server".to_owned(),
        failure_info: Some(FailureFailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type,
            last_heartbeat_details: activity.progress.heartbeat_details.clone(),
        })),
        cause: activity.progress.last_failure.clone(),
        ..Failure::default()
    };
    let retry_state = match timeout_type {
        TimeoutType::StartToClose | TimeoutType::Heartbeat => {
            match retry_later(tx, activity, &failure) {
                Ok(()) => return,
                Err(state) => state,
            }
        }
        _ => RetryState::Timeout,
    };
    let attributes = ActivityTaskTimedOutEventAttributes {
        failure: Some(failure),
        scheduled_event_id: activity.scheduled_event_id,
        retry_state,
        ..ActivityTaskTimedOutEventAttributes::default()
    };
    close(
        tx,
        activity,
        activity.progress.started_time.is_some(),
        |started_event_id| {
            ActivityTaskTimedOutEventAttributes {
                started_event_id,
                ..attributes
            }
            .into()
        },
    );
}

// -- apply -----------------------------------------------------------------------------------------------------------

pub(crate) fn apply_scheduled(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &ActivityTaskScheduledEventAttributes,
) {
    let time = event.event_time.unwrap_or_default();
    run.activity_ids
        .insert(attributes.activity_id.clone(), event.event_id);
    run.activities.insert(
        event.event_id,
        Activity {
            scheduled_event_id: event.event_id,
            scheduled_time: time,
            scheduled: attributes.clone().into(),
            progress: ActivityProgress {
                attempt: 1,
                attempt_scheduled_time: time,
                first_attempt_scheduled_time: time,
                ..ActivityProgress::default()
            }
            .into(),
        },
    );
}

pub(crate) fn apply_cancel_requested(run: &mut Run, event: &HistoryEvent, scheduled_event_id: i64) {
    if let Some(activity) = run.activities.get_mut(&scheduled_event_id) {
        let mut progress = (*activity.progress).clone();
        progress.cancel_requested_event_id = event.event_id;
        activity.progress = progress.into();
    }
}

pub(crate) fn apply_closed(run: &mut Run, scheduled_event_id: i64) {
    if let Some(activity) = run.activities.remove(&scheduled_event_id) {
        run.activity_ids.remove(&activity.scheduled.activity_id);
    }
}

/// The closing event stands in the buffer.
pub(crate) fn apply_buffered(run: &mut Run, scheduled_event_id: i64) {
    if let Some(activity) = run.activities.get_mut(&scheduled_event_id) {
        let mut progress = (*activity.progress).clone();
        progress.closing = true;
        activity.progress = progress.into();
    }
}
