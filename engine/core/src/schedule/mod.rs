//! Schedules: they start workflows at the times of their specs.
//!
//! A schedule is kept like a workflow: a [`Run`] without history under the workflow id `temporal-sys-scheduler:<schedule id>`,
//! with [`state::Kept`] in it. So its log, checkpoints, deadline, outbox and takeover are those of runs. It starts workflows
//! through its outbox, and the last run of each chain tells it of its end by theirs ([`watch`]).
//!
//! | file | concept |
//! |---|---|
//! | [`calendar`] | calendars and cron strings as they are written |
//! | [`spec`] | the times that follow from a spec |
//! | [`state`] | what is kept |
//! | [`requests`] | create, update, patch, delete |
//! | [`act`] | what is due, and what becomes of it |
//! | [`overlap`] | overlap policies |
//! | [`watch`] | the workflows that were started: their starts and their ends |
//! | [`describe`] | describe, matching times and the entry in lists |
//!
//! Invariant: a schedule that can still act by itself has a time to wake up at.

mod act;
mod calendar;
mod describe;
mod overlap;
mod requests;
mod spec;
pub mod state;
mod watch;

use fermata_proto::rpc::Rejection;
use fermata_proto::schedule::workflow_id;

use crate::decision::View;
use crate::run::Run;
use state::Kept;

pub(crate) use act::on_deadline;
pub(crate) use describe::{info, on_describe, on_matching_times};
pub(crate) use requests::{on_create, on_delete, on_patch, on_update};
pub(crate) use watch::{on_closed, on_start, on_start_answered, tell_watcher, watch_again};

/// What is kept of a schedule's run.
fn kept(run: &Run) -> &Kept {
    run.schedule
        .as_ref()
        .expect("the run is that of a schedule")
}

impl Run {
    /// Whether this is a schedule of which starts are on their way.
    pub fn has_scheduled_starts(&self) -> bool {
        self.schedule
            .as_ref()
            .is_some_and(|kept| !kept.progress.starting.is_empty())
    }
}

/// The schedule that a request addresses.
///
/// # Errors
/// NOT_FOUND.
fn find<'a>(view: &View<'a>, schedule_id: &str) -> Result<&'a Run, Rejection> {
    view.current
        .filter(|run| run.is_open() && !run.deleting && run.schedule.is_some())
        .ok_or_else(|| {
            let workflow_id = workflow_id(schedule_id);
            Rejection::not_found(format!("workflow not found for ID: {workflow_id}"))
        })
}

/// Who starts, cancels and terminates workflows for a schedule, as history shows it.
fn identity(namespace: &str, schedule_id: &str) -> String {
    format!("temporal-scheduler-{namespace}-{schedule_id}")
}
