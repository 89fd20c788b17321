//! Deadlines of activities: the end of a backoff, and the four time-outs.

use std::time::Duration;

use fermata_proto::enums::*;
use fermata_proto::event::*;
use fermata_proto::failure::*;
use fermata_proto::time::Timestamp;

use crate::run::{Activity, Run};
use crate::transaction::Transaction;

use super::{close, dispatch, progress, retry_later};

pub(super) fn given(timeout: Option<Duration>) -> Option<Duration> {
    timeout.filter(|timeout| !timeout.is_zero())
}

pub(super) fn schedule_to_close_deadline(activity: &Activity) -> Option<Timestamp> {
    given(activity.scheduled.schedule_to_close_timeout)
        .map(|timeout| activity.progress.first_attempt_scheduled_time + timeout)
}

/// What is due next for one activity, and when.
pub(super) fn due(activity: &Activity) -> Option<(Timestamp, Due)> {
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
        None if progress.paused => None,
        None if progress.waiting => Some((progress.attempt_scheduled_time, Due::Attempt)),
        None => given(scheduled.schedule_to_start_timeout).map(|timeout| {
            (
                progress.attempt_scheduled_time + timeout,
                Due::TimeOut(TimeoutType::ScheduleToStart),
            )
        }),
    };
    if progress.waiting {
        // An attempt that could only begin when all is over does not.
        earlier(close, attempt)
    } else {
        earlier(attempt, close)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Due {
    /// The backoff is over.
    Attempt,
    TimeOut(TimeoutType),
}

/// The earlier of two; the first if they are due together.
pub(super) fn earlier(
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
            Due::TimeOut(timeout_type) => time_out(tx, &activity, timeout_type, None),
        }
    }
}

/// Ends the attempt; of a worker that was lost, `silent_for` tells since when.
pub(super) fn time_out(
    tx: &mut Transaction<'_>,
    activity: &Activity,
    timeout_type: TimeoutType,
    silent_for: Option<Duration>,
) {
    let failed_before = activity.progress.last_failure.is_some();
    let message = if timeout_type == TimeoutType::ScheduleToClose && failed_before {
        "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying".to_owned()
    } else if silent_for.is_some() {
        let identity = &activity.progress.started_identity;
        format!("activity {timeout_type:?} timeout: its worker {identity} is gone")
    } else {
        format!("activity {timeout_type:?} timeout")
    };
    let failure = Failure {
        message,
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
            match retry_later(tx, activity, &failure, silent_for.unwrap_or_default()) {
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
