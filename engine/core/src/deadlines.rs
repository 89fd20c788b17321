//! When a run must be looked at again, and what happens then.

use fermata_proto::rpc::Rejection;
use fermata_proto::time::Timestamp;

use crate::context::Context;
use crate::decision::{Decision, Effect, Reply, View};
use crate::run::Run;
use crate::transaction::Transaction;
use crate::{activity, close, schedule, timer, workflow_task};

impl Run {
    /// The next moment at which something is due without anybody asking; none if the run only waits for others.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if !self.is_open() {
            return None;
        }
        if let Some(schedule) = &self.schedule {
            return schedule.progress.wake_at;
        }
        [
            self.first_workflow_task_at,
            workflow_task::deadline(self),
            timer::deadline(self),
            activity::deadline(self),
            close::deadline(self),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Every task that should lie on a queue now: dispatched again after a takeover or a lost stream.
    pub fn dispatches(&self) -> Vec<Effect> {
        if !self.is_open() {
            return Vec::new();
        }
        let workflow = self
            .workflow_task
            .as_ref()
            .filter(|task| !task.is_started())
            .map(|task| Effect::DispatchWorkflowTask {
                task: workflow_task::reference(self, task),
                queue: task.queue.clone(),
            });
        let activities = self
            .activities
            .values()
            .filter(|activity| {
                let progress = &activity.progress;
                progress.started_time.is_none()
                    && !progress.waiting
                    && !progress.closing
                    && !progress.paused
            })
            .map(|activity| Effect::DispatchActivityTask {
                task: activity::reference(self, activity),
                queue: activity
                    .scheduled
                    .task_queue
                    .as_ref()
                    .map(|queue| queue.name.clone())
                    .unwrap_or_default(),
            });
        workflow.into_iter().chain(activities).collect()
    }
}

/// Does all that is due. The run's own time-out goes first and leaves nothing else to do.
pub(crate) fn on_deadline(view: &View<'_>, ctx: &Context<'_>) -> Result<Decision, Rejection> {
    let Some(run) = view.run.filter(|run| run.is_open()) else {
        return Ok(Decision::reply(Reply::None));
    };
    let mut tx = Transaction::of(run, ctx);
    if run.schedule.is_some() {
        schedule::on_deadline(&mut tx);
        return Ok(Decision::one(tx, Reply::None));
    }
    let next = close::on_deadline(&mut tx);
    if tx.run().is_open() {
        if tx
            .run()
            .first_workflow_task_at
            .is_some_and(|at| at <= ctx.now)
        {
            if tx.run().workflow_task.is_some() {
                // An update did not wait for it.
                workflow_task::make_real(&mut tx, "");
            } else {
                workflow_task::schedule(&mut tx);
            }
        }
        tx.set_defers_task(true);
        timer::on_deadline(&mut tx);
        activity::on_deadline(&mut tx);
        tx.set_defers_task(false);
        if tx.wants_task() {
            workflow_task::schedule_if_none(&mut tx);
        }
        workflow_task::on_deadline(&mut tx);
    }
    Ok(Decision::of([tx].into_iter().chain(next), Reply::None))
}
