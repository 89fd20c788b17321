//! Activities of a worker that died or hangs: their attempts end as by a missed heartbeat.
//!
//! It is one attempt of the retry policy, as any time-out is. The time for which the worker was silent counts towards the
//! backoff, so that the first retries come at once, while an activity that kills every worker is still slowed down.

use std::time::Duration;

use fermata_proto::enums::TimeoutType;
use fermata_proto::rpc::{DetachActivity, Rejection};

use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::{Activity, Run};
use crate::transaction::Transaction;

use super::time_out::time_out;
use super::{progress, started};

/// The worker that runs `activity` now, if it announces itself.
fn holder(activity: &Activity) -> Option<&str> {
    let progress = &activity.progress;
    let is_running = progress.started_time.is_some() && !progress.closing;
    (is_running && !progress.worker_id.is_empty()).then_some(progress.worker_id.as_str())
}

/// The workers that run activities of `run` now, one entry an activity.
pub(crate) fn held_by(run: &Run) -> impl Iterator<Item = &str> {
    run.activities.values().filter_map(holder)
}

pub(crate) fn on_worker_lost(tx: &mut Transaction<'_>, worker_id: &str, silent_for: Duration) {
    let held: Vec<Activity> = tx
        .run()
        .activities
        .values()
        .filter(|activity| holder(activity) == Some(worker_id))
        .cloned()
        .collect();
    for activity in held {
        time_out(tx, &activity, TimeoutType::Heartbeat, Some(silent_for));
    }
}

/// Somebody else will complete it: the end of its worker says nothing any more.
pub(crate) fn on_detach(
    view: &View<'_>,
    request: &DetachActivity,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let (run, activity) = started(view, &request.task_token)?;
    let mut tx = Transaction::of(run, ctx);
    if !activity.progress.worker_id.is_empty() {
        progress(&mut tx, activity.scheduled_event_id, |progress| {
            progress.worker_id = String::new();
        });
    }
    Ok(Decision::one(tx, Reply::done()))
}
