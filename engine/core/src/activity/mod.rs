//! Activities: scheduled by a command, claimed, retried without events, and closed by one.
//!
//! | state | claim | complete, fail | time-outs |
//! |---|---|---|---|
//! | scheduled | started | by id: completed | schedule-to-start, schedule-to-close |
//! | started | same claim: same task | closed, or in backoff | start-to-close, heartbeat, schedule-to-close |
//! | in backoff | not found | not found | schedule-to-close; when over, scheduled again |
//! | closing (its event is buffered) | not found | not found | none |
//!
//! A paused activity stays in backoff ([`operate`]). ActivityTaskStarted is written only when the activity closes.

mod by_id;
mod claim;
mod lost;
mod operate;
mod respond;
mod schedule;
mod time_out;

pub(crate) use by_id::{
    on_canceled_by_id, on_completed_by_id, on_failed_by_id, on_heartbeat_by_id,
};
pub(crate) use claim::on_claim;
pub(crate) use lost::{held_by, on_detach, on_worker_lost};
pub(crate) use operate::{apply_options, on_pause, on_reset, on_unpause, on_update_options};
pub(crate) use respond::{on_canceled, on_completed, on_failed, on_heartbeat};
pub(crate) use schedule::{cancel_unstarted, on_request_cancel, on_schedule};
pub(crate) use time_out::{deadline, on_deadline};

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::enums::*;
use fermata_proto::event::*;
use fermata_proto::failure::*;
use fermata_proto::rpc::{Rejection, TaskReference, TaskToken};

use crate::change::Fact;
use crate::decision::{Effect, View};
use crate::run::{Activity, ActivityProgress, Run};
use crate::transaction::Transaction;
use crate::{find, retry, workflow_task};

/// What is put on the queue for `activity`.
pub(crate) fn reference(run: &Run, activity: &Activity) -> TaskReference {
    TaskReference {
        namespace_id: run.namespace_id.clone(),
        workflow_id: run.workflow_id.clone(),
        run_id: run.run_id.clone(),
        scheduled_event_id: activity.scheduled_event_id,
        attempt: activity.progress.attempt,
        stamp: activity.progress.stamp,
        query_id: None,
    }
}

fn gone() -> Rejection {
    Rejection::not_found(
        "invalid activityID or activity already timed out or invoking workflow is completed",
    )
}

/// The started activity that a token names.
fn started<'a>(view: &View<'a>, token: &[u8]) -> Result<(&'a Run, &'a Activity), Rejection> {
    let token = find::token(token)?;
    let run = find::open_run_of_id(view, &token.workflow_id.0, &token.run_id)?;
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

/// Puts the activity into backoff, of which `head_start` is over already.
///
/// # Errors
/// Why there is no further attempt.
fn retry_later(
    tx: &mut Transaction<'_>,
    activity: &Activity,
    failure: &Failure,
    head_start: Duration,
) -> Result<(), RetryState> {
    let now = tx.ctx.now;
    let current = &tx.run().activities[&activity.scheduled_event_id];
    if current.progress.cancel_requested_event_id != 0 {
        return Err(RetryState::CancelRequested);
    }
    let policy = current.scheduled.retry_policy.as_ref();
    // Whoever asked for a reset while it ran has made this the first attempt.
    let is_first = current.progress.reset_requested || current.progress.attempts_reset;
    let attempt = if is_first {
        1
    } else {
        current.progress.attempt
    };
    match retry::next(
        policy,
        attempt,
        failure,
        now,
        time_out::schedule_to_close_deadline(current),
    ) {
        retry::Next::Never(state) => Err(state),
        retry::Next::After(delay) => {
            let delay = delay.saturating_sub(head_start);
            let failure = Box::new(failure.clone());
            progress(tx, activity.scheduled_event_id, |progress| {
                progress.attempt = attempt + 1;
                progress.reset_requested = false;
                progress.attempts_reset = false;
                if std::mem::take(&mut progress.heartbeat_reset) {
                    progress.heartbeat_details = None;
                    progress.last_heartbeat_time = None;
                }
                progress.attempt_scheduled_time = now + delay;
                progress.waiting = true;
                progress.started_time = None;
                progress.worker_id = String::new();
                progress.last_failure = Some(failure);
            });
            Ok(())
        }
    }
}

/// Every activity that a reset found pending is a first attempt that begins now.
pub(crate) fn resume_after_reset(tx: &mut Transaction<'_>) {
    let now = tx.ctx.now;
    let pending: Vec<i64> = tx.run().activities.keys().copied().collect();
    for scheduled_event_id in pending {
        progress(tx, scheduled_event_id, |progress| {
            progress.attempt_scheduled_time = now;
            progress.first_attempt_scheduled_time = now;
        });
        dispatch(tx, scheduled_event_id);
    }
}

pub(crate) fn apply_scheduled(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &Arc<ActivityTaskScheduledEventAttributes>,
) {
    let time = event.event_time.unwrap_or_default();
    Arc::make_mut(&mut run.activity_ids).insert(attributes.activity_id.clone(), event.event_id);
    Arc::make_mut(&mut run.activities).insert(
        event.event_id,
        Activity {
            scheduled_event_id: event.event_id,
            scheduled_time: time,
            scheduled: attributes.clone(),
            original: None,
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
    if let Some(activity) = Arc::make_mut(&mut run.activities).get_mut(&scheduled_event_id) {
        let mut progress = (*activity.progress).clone();
        progress.cancel_requested_event_id = event.event_id;
        activity.progress = progress.into();
    }
}

pub(crate) fn apply_closed(run: &mut Run, scheduled_event_id: i64) {
    if let Some(activity) = Arc::make_mut(&mut run.activities).remove(&scheduled_event_id) {
        Arc::make_mut(&mut run.activity_ids).remove(&activity.scheduled.activity_id);
    }
}

/// The closing event stands in the buffer.
pub(crate) fn apply_buffered(run: &mut Run, scheduled_event_id: i64) {
    if let Some(activity) = Arc::make_mut(&mut run.activities).get_mut(&scheduled_event_id) {
        let mut progress = (*activity.progress).clone();
        progress.closing = true;
        activity.progress = progress.into();
    }
}
