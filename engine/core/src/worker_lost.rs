//! What a worker holds, and what becomes of it when the worker is lost.
//!
//! Only workers that announce themselves are known here; of the others time-outs tell. Whether a worker is lost is the
//! shell's to say. It may be wrong (the worker was only paused): then its tokens are stale, and all it can do is ask for
//! other tasks.

use std::collections::BTreeSet;
use std::time::Duration;

use fermata_proto::rpc::Rejection;

use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::Run;
use crate::transaction::Transaction;
use crate::{activity, workflow_task};

impl Run {
    /// The workers that announce themselves and hold a started task of this run.
    pub fn claimants(&self) -> BTreeSet<&str> {
        if !self.is_open() {
            return BTreeSet::new();
        }
        activity::held_by(self)
            .chain(workflow_task::held_by(self))
            .collect()
    }
}

/// Ends everything that the worker holds of this run, for others to take.
pub(crate) fn on_worker_lost(
    view: &View<'_>,
    worker_id: &str,
    silent_for: Duration,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let Some(run) = view.run.filter(|run| run.is_open()) else {
        return Ok(Decision::reply(Reply::None));
    };
    let mut tx = Transaction::of(run, ctx);
    // Before the activities: what they write goes into history then, not into the buffer of a task that nobody works on.
    workflow_task::on_worker_lost(&mut tx, worker_id);
    activity::on_worker_lost(&mut tx, worker_id, silent_for);
    Ok(Decision::one(tx, Reply::None))
}
