//! What operators do to pending activities: pause, unpause, reset, and other options.
//!
//! | state | pause | unpause | reset |
//! |---|---|---|---|
//! | scheduled or in backoff | taken from its queue, waits | due now | first attempt, now |
//! | started | goes on, but is not tried again | nothing | told by its heartbeat; this one counts as the first attempt |
//!
//! A heartbeat's details that are to be forgotten are kept while an attempt runs, which goes on to write them.
//!
//! Each of these makes what lies on the queue stale by a new stamp: a claim of it is refused.

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::activity::ActivityOptions;
use fermata_proto::common::WorkflowExecution;
use fermata_proto::event::ActivityTaskScheduledEventAttributes;
use fermata_proto::rpc::{Rejection, RejectionKind, Response};
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::workflow::{
    PendingActivityInfoPauseInfo, PendingActivityInfoPauseInfoManual,
    PendingActivityInfoPauseInfoPausedBy,
};

use super::{gone, progress};
use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::{Activity, ActivityProgress, Run};
use crate::transaction::Transaction;
use crate::{find, retry, start, validate};

/// Which pending activities are meant.
enum Chosen<'a> {
    Id(&'a str),
    Type(&'a str),
    All,
}

impl Chosen<'_> {
    /// # Errors
    /// NOT_FOUND if there is none.
    fn of(&self, run: &Run) -> Result<Vec<i64>, Rejection> {
        let is_chosen = |activity: &Activity| match self {
            Self::Id(id) => activity.scheduled.activity_id == *id,
            Self::Type(name) => activity
                .scheduled
                .activity_type
                .as_ref()
                .is_some_and(|kind| kind.name == *name),
            Self::All => true,
        };
        let chosen: Vec<i64> = run
            .activities
            .values()
            .filter(|activity| !activity.progress.closing && is_chosen(activity))
            .map(|activity| activity.scheduled_event_id)
            .collect();
        if chosen.is_empty() {
            return Err(gone());
        }
        Ok(chosen)
    }
}

fn none_chosen() -> Rejection {
    Rejection::invalid_argument("Activity is not set on request.")
}

/// The run and its chosen activities.
fn find<'a>(
    view: &View<'a>,
    execution: Option<&WorkflowExecution>,
    chosen: &Chosen<'_>,
) -> Result<(&'a Run, Vec<i64>), Rejection> {
    let run = find::open_run(view, execution)?;
    let activities = chosen.of(run)?;
    Ok((run, activities))
}

pub(crate) fn on_pause(
    view: &View<'_>,
    request: &PauseActivityRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let chosen = match request.activity.as_ref().ok_or_else(none_chosen)? {
        PauseActivityRequestActivity::Id(id) => Chosen::Id(id),
        PauseActivityRequestActivity::Type(name) => Chosen::Type(name),
    };
    let (run, activities) = find(view, request.execution.as_ref(), &chosen)?;
    let mut tx = Transaction::of(run, ctx);
    for scheduled_event_id in activities {
        let before = &tx.run().activities[&scheduled_event_id].progress;
        if before.paused {
            if before.pause_request_id != request.request_id {
                let kind = RejectionKind::FailedPrecondition;
                return Err(Rejection::new(kind, "activity is already paused"));
            }
            continue;
        }
        progress(&mut tx, scheduled_event_id, |progress| {
            progress.paused = true;
            progress.pause_request_id.clone_from(&request.request_id);
            progress.pause_info = Some(Box::new(PendingActivityInfoPauseInfo {
                pause_time: Some(ctx.now),
                paused_by: Some(PendingActivityInfoPauseInfoPausedBy::Manual(
                    PendingActivityInfoPauseInfoManual {
                        identity: request.identity.clone(),
                        reason: request.reason.clone(),
                    },
                )),
            }));
            take_back(progress);
        });
    }
    Ok(Decision::one(tx, Reply::done()))
}

pub(crate) fn on_unpause(
    view: &View<'_>,
    request: &UnpauseActivityRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let chosen = match request.activity.as_ref().ok_or_else(none_chosen)? {
        UnpauseActivityRequestActivity::Id(id) => Chosen::Id(id),
        UnpauseActivityRequestActivity::Type(name) => Chosen::Type(name),
        UnpauseActivityRequestActivity::UnpauseAll(_) => Chosen::All,
    };
    let (run, activities) = find(view, request.execution.as_ref(), &chosen)?;
    let mut tx = Transaction::of(run, ctx);
    for scheduled_event_id in activities {
        if !tx.run().activities[&scheduled_event_id].progress.paused {
            continue;
        }
        let later = jitter(request.jitter, ctx);
        progress(&mut tx, scheduled_event_id, |progress| {
            unpause(progress);
            if request.reset_heartbeat {
                forget_heartbeat(progress);
            }
            if progress.started_time.is_some() {
                progress.attempts_reset |= request.reset_attempts;
                return;
            }
            if request.reset_attempts {
                progress.attempt = 1;
            }
            progress.attempt_scheduled_time = ctx.now + later;
        });
    }
    Ok(Decision::one(tx, Reply::done()))
}

pub(crate) fn on_reset(
    view: &View<'_>,
    request: &ResetActivityRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let chosen = match request.activity.as_ref().ok_or_else(none_chosen)? {
        ResetActivityRequestActivity::Id(id) => Chosen::Id(id),
        ResetActivityRequestActivity::Type(name) => Chosen::Type(name),
        ResetActivityRequestActivity::MatchAll(_) => Chosen::All,
    };
    let (run, activities) = find(view, request.execution.as_ref(), &chosen)?;
    let mut tx = Transaction::of(run, ctx);
    for scheduled_event_id in activities {
        if request.restore_original_options {
            restore(&mut tx, scheduled_event_id);
        }
        let later = jitter(request.jitter, ctx);
        progress(&mut tx, scheduled_event_id, |progress| {
            if progress.paused && !request.keep_paused {
                unpause(progress);
            }
            if progress.started_time.is_some() {
                progress.reset_requested = true;
                progress.heartbeat_reset |= request.reset_heartbeat;
                return;
            }
            if request.reset_heartbeat {
                forget_heartbeat(progress);
            }
            progress.attempt = 1;
            progress.attempt_scheduled_time = ctx.now + later;
            take_back(progress);
        });
    }
    Ok(Decision::one(tx, Reply::done()))
}

pub(crate) fn on_update_options(
    view: &View<'_>,
    request: &UpdateActivityOptionsRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let chosen = match request.activity.as_ref().ok_or_else(none_chosen)? {
        UpdateActivityOptionsRequestActivity::Id(id) => Chosen::Id(id),
        UpdateActivityOptionsRequestActivity::Type(name) => Chosen::Type(name),
        UpdateActivityOptionsRequestActivity::MatchAll(_) => Chosen::All,
    };
    let mask: &[String] = request
        .update_mask
        .as_ref()
        .map_or(&[], |mask| mask.paths.as_slice());
    if request.restore_original != mask.is_empty() {
        return Err(Rejection::invalid_argument(if request.restore_original {
            "RestoreOriginal cannot be set together with UpdateMask."
        } else {
            "UpdateMask is not set on request."
        }));
    }
    let (run, activities) = find(view, request.execution.as_ref(), &chosen)?;
    let wanted = request.activity_options.clone().unwrap_or_default();
    let mut tx = Transaction::of(run, ctx);
    let mut shown = None;
    for scheduled_event_id in activities {
        if request.restore_original {
            restore(&mut tx, scheduled_event_id);
        } else {
            let scheduled = &tx.run().activities[&scheduled_event_id].scheduled;
            let changed = merged(scheduled, &wanted, mask)?;
            change_options(&mut tx, scheduled_event_id, changed);
        }
        progress(&mut tx, scheduled_event_id, take_back);
        let activity = &tx.run().activities[&scheduled_event_id];
        shown.get_or_insert_with(|| options(&activity.scheduled));
    }
    let response = Response::UpdateActivityOptions(Box::new(UpdateActivityOptionsResponse {
        activity_options: shown,
    }));
    Ok(Decision::one(tx, Reply::Response(response)))
}

/// An attempt that no worker has yet is stale: unless paused, it is put on its queue anew when its time has come.
fn take_back(progress: &mut ActivityProgress) {
    progress.stamp += 1;
    if progress.started_time.is_none() {
        progress.waiting = true;
    }
}

fn unpause(progress: &mut ActivityProgress) {
    progress.paused = false;
    progress.pause_info = None;
    progress.pause_request_id.clear();
    take_back(progress);
}

fn forget_heartbeat(progress: &mut ActivityProgress) {
    progress.heartbeat_details = None;
    progress.last_heartbeat_time = None;
}

/// A delay of up to `most`.
fn jitter(most: Option<Duration>, ctx: &Context<'_>) -> Duration {
    let most = most.unwrap_or_default() / 2;
    // Half of it, more or less by all of that half.
    ctx.jitter(most, 1.0)
}

fn restore(tx: &mut Transaction<'_>, scheduled_event_id: i64) {
    if let Some(original) = tx.run().activities[&scheduled_event_id].original.clone() {
        change_options(tx, scheduled_event_id, (*original).clone());
    }
}

fn change_options(
    tx: &mut Transaction<'_>,
    scheduled_event_id: i64,
    scheduled: ActivityTaskScheduledEventAttributes,
) {
    tx.fact(Fact::ActivityOptions {
        scheduled_event_id,
        scheduled: Box::new(scheduled),
    });
}

/// The options with those of the mask replaced. Paths are taken in both spellings, `retry_policy` and `retryPolicy`.
fn merged(
    scheduled: &ActivityTaskScheduledEventAttributes,
    wanted: &ActivityOptions,
    mask: &[String],
) -> Result<ActivityTaskScheduledEventAttributes, Rejection> {
    let mut out = scheduled.clone();
    let policy = wanted.retry_policy.clone().unwrap_or_default();
    for path in mask {
        let plain: String = path
            .chars()
            .filter(|letter| *letter != '_')
            .flat_map(char::to_lowercase)
            .collect();
        let own = out.retry_policy.get_or_insert_default();
        match plain.as_str() {
            "taskqueue" | "taskqueue.name" => {
                let queue: &TaskQueue = wanted
                    .task_queue
                    .as_ref()
                    .filter(|queue| !queue.name.is_empty())
                    .ok_or_else(|| Rejection::invalid_argument("TaskQueue is not provided"))?;
                out.task_queue = Some(start::normal(queue));
            }
            "scheduletoclosetimeout" => {
                out.schedule_to_close_timeout = wanted.schedule_to_close_timeout;
            }
            "scheduletostarttimeout" => {
                out.schedule_to_start_timeout = wanted.schedule_to_start_timeout;
            }
            "starttoclosetimeout" => out.start_to_close_timeout = wanted.start_to_close_timeout,
            "heartbeattimeout" => out.heartbeat_timeout = wanted.heartbeat_timeout,
            "retrypolicy" => *own = policy.clone(),
            "retrypolicy.initialinterval" => own.initial_interval = policy.initial_interval,
            "retrypolicy.backoffcoefficient" => {
                own.backoff_coefficient = policy.backoff_coefficient;
            }
            "retrypolicy.maximuminterval" => own.maximum_interval = policy.maximum_interval,
            "retrypolicy.maximumattempts" => own.maximum_attempts = policy.maximum_attempts,
            "retrypolicy.nonretryableerrortypes" => {
                own.non_retryable_error_types
                    .clone_from(&policy.non_retryable_error_types);
            }
            "priority" => out.priority.clone_from(&wanted.priority),
            _ => {
                return Err(Rejection::invalid_argument(format!(
                    "the options of an activity have no field {path}"
                )));
            }
        }
    }
    let given = |timeout: Option<Duration>| timeout.is_some_and(|timeout| !timeout.is_zero());
    if !given(out.start_to_close_timeout) && !given(out.schedule_to_close_timeout) {
        return Err(Rejection::invalid_argument(
            "A valid StartToClose or ScheduleToCloseTimeout is not set.",
        ));
    }
    if let Some(policy) = &out.retry_policy {
        validate::retry_policy(policy).map_err(Rejection::invalid_argument)?;
        out.retry_policy = Some(retry::filled(policy));
    }
    Ok(out)
}

fn options(scheduled: &ActivityTaskScheduledEventAttributes) -> ActivityOptions {
    ActivityOptions {
        task_queue: scheduled.task_queue.clone(),
        schedule_to_close_timeout: scheduled.schedule_to_close_timeout,
        schedule_to_start_timeout: scheduled.schedule_to_start_timeout,
        start_to_close_timeout: scheduled.start_to_close_timeout,
        heartbeat_timeout: scheduled.heartbeat_timeout,
        retry_policy: scheduled.retry_policy.clone(),
        priority: scheduled.priority.clone(),
        ..ActivityOptions::default()
    }
}

pub(crate) fn apply_options(
    run: &mut Run,
    scheduled_event_id: i64,
    scheduled: &ActivityTaskScheduledEventAttributes,
) {
    if let Some(activity) = Arc::make_mut(&mut run.activities).get_mut(&scheduled_event_id) {
        let before = std::mem::replace(&mut activity.scheduled, Arc::new(scheduled.clone()));
        activity.original.get_or_insert(before);
    }
}
