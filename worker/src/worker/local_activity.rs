//! Running local activities: those of one workflow task beside one another, each with its attempts.
//!
//! An attempt that ends without waiting for anything costs no task of its own: it is polled once where it is started, for as
//! long as that takes no more than [`INLINE_MAX`] together. What waits goes on as a task. All are dropped with the workflow
//! task that holds them.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::common::{ActivityType, Header, RetryPolicy, WorkflowExecution, WorkflowType};
use fermata_proto::enums::{RetryState, TimeoutType};
use fermata_proto::failure::{Failure, FailureFailureInfo, TimeoutFailureInfo};
use fermata_proto::service::PollActivityTaskQueueResponse;
use fermata_proto::time::Timestamp;
use futures::future::{BoxFuture, FutureExt};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::activity::{ActivityContext, CancelReason};
use crate::error::{ActivityError, ActivityErrorKind, ApplicationError, SOURCE, panic_message};
use crate::machine::{
    LocalActivity, LocalActivityEnd, LocalActivityResult, LocalActivityTask, Sequence, TaskFailure,
};
use crate::retry;

/// How long starting may take before what follows gets tasks of their own.
const INLINE_MAX: Duration = Duration::from_millis(1);

/// The local activities that a workflow task, and those that go on with it, have running.
pub(super) struct LocalActivities {
    run: Arc<Run>,
    running: JoinSet<LocalActivityEnd>,
    cancels: HashMap<Sequence, CancellationToken>,
    ended: Vec<LocalActivityEnd>,
}

struct Run {
    worker: Arc<Inner>,
    execution: WorkflowExecution,
    workflow_type: Option<WorkflowType>,
    /// When the workflow task was taken.
    began: Instant,
}

impl LocalActivities {
    pub fn of(
        worker: &Arc<Inner>,
        execution: &WorkflowExecution,
        workflow_type: Option<WorkflowType>,
    ) -> Self {
        Self {
            run: Arc::new(Run {
                worker: worker.clone(),
                execution: execution.clone(),
                workflow_type,
                began: Instant::now(),
            }),
            running: JoinSet::new(),
            cancels: HashMap::new(),
            ended: Vec::new(),
        }
    }

    /// A workflow task goes on with those that run: their ends count from its start.
    pub fn begin_task(&mut self) {
        let run = &self.run;
        self.run = Arc::new(Run {
            worker: run.worker.clone(),
            execution: run.execution.clone(),
            workflow_type: run.workflow_type.clone(),
            began: Instant::now(),
        });
    }

    /// # Errors
    /// If this worker does not host one of them; another may.
    pub async fn start(&mut self, tasks: Vec<LocalActivityTask>) -> Result<(), TaskFailure> {
        let began = Instant::now();
        for task in tasks {
            let activity_type = &task.activity.activity_type;
            let activities = &self.run.worker.registry.activities;
            if !activities.contains_key(activity_type) {
                let known: Vec<&str> = activities.keys().map(String::as_str).collect();
                return Err(TaskFailure::Code(format!(
                    "local activity type {activity_type:?} is not registered with this worker, which hosts [{}]",
                    known.join(", ")
                )));
            }
            let sequence = task.sequence;
            let cancel = CancellationToken::new();
            self.cancels.insert(sequence, cancel.clone());
            let mut running: BoxFuture<'static, _> = Box::pin(self.run.clone().run(task, cancel));
            if began.elapsed() < INLINE_MAX
                && let std::task::Poll::Ready(end) = futures::poll!(&mut running)
            {
                self.cancels.remove(&sequence);
                self.ended.push(end);
            } else {
                self.running.spawn(running);
            }
        }
        Ok(())
    }

    pub fn cancel(&self, sequences: &[Sequence]) {
        for cancel in sequences.iter().filter_map(|id| self.cancels.get(id)) {
            cancel.cancel();
        }
    }

    /// What has ended; waits until something has. Gives up nothing when dropped: what has ended stays here.
    pub async fn next(&mut self) -> Vec<LocalActivityEnd> {
        if self.ended.is_empty() {
            match self.running.join_next().await {
                Some(Ok(end)) => self.ended.push(end),
                // The attempts catch their panics: a task that is gone was aborted with all others.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
        while let Some(Ok(end)) = self.running.try_join_next() {
            self.ended.push(end);
        }
        for end in &self.ended {
            self.cancels.remove(&end.sequence);
        }
        std::mem::take(&mut self.ended)
    }
}

/// How one attempt ended.
enum Attempt {
    Ended(Result<Option<fermata_proto::common::Payloads>, ActivityError>),
    TimedOut(TimeoutType),
}

impl Run {
    async fn run(
        self: Arc<Self>,
        task: LocalActivityTask,
        cancel: CancellationToken,
    ) -> LocalActivityEnd {
        let LocalActivityTask {
            sequence,
            activity,
            scheduled_at,
        } = task;
        let began = Instant::now();
        let spent = scheduled_at.since(activity.original_schedule_time);
        let until = activity
            .schedule_to_close
            .map(|timeout| began + timeout.saturating_sub(spent));
        let policy = retry::filled(&activity.retry);
        let mut attempt = activity.attempt.max(1);
        loop {
            let ended = self
                .attempt(sequence, &activity, attempt, until, &cancel)
                .await;
            let is_cancelled = cancel.is_cancelled();
            let result = match ended {
                Attempt::Ended(Ok(result)) => LocalActivityResult::Completed(result),
                Attempt::Ended(Err(ActivityError(ActivityErrorKind::Cancelled(details))))
                    if is_cancelled =>
                {
                    LocalActivityResult::Cancelled(details)
                }
                Attempt::Ended(Err(_)) if is_cancelled => LocalActivityResult::Cancelled(None),
                Attempt::TimedOut(kind) => {
                    let failure = timeout_failure(kind);
                    let is_final = kind != TimeoutType::StartToClose;
                    match self
                        .again(
                            &activity, &policy, attempt, failure, until, is_final, &cancel,
                        )
                        .await
                    {
                        Ok(()) => {
                            attempt += 1;
                            continue;
                        }
                        Err(result) => result,
                    }
                }
                Attempt::Ended(Err(error)) => {
                    let failure = error.into_failure();
                    match self
                        .again(&activity, &policy, attempt, failure, until, false, &cancel)
                        .await
                    {
                        Ok(()) => {
                            attempt += 1;
                            continue;
                        }
                        Err(result) => result,
                    }
                }
            };
            return LocalActivityEnd {
                sequence,
                attempt,
                elapsed: self.began.elapsed(),
                result,
            };
        }
    }

    /// Waits for the next attempt, or says how it ends.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of one local activity's state"
    )]
    async fn again(
        &self,
        activity: &LocalActivity,
        policy: &RetryPolicy,
        attempt: u32,
        failure: Failure,
        until: Option<Instant>,
        is_final: bool,
        cancel: &CancellationToken,
    ) -> Result<(), LocalActivityResult> {
        if is_final {
            let failure = Box::new(failure);
            return Err(LocalActivityResult::Failed(failure, RetryState::Timeout));
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match retry::next(policy, attempt, &failure, left) {
            Err(retry_state) => Err(LocalActivityResult::Failed(Box::new(failure), retry_state)),
            Ok(delay) if delay > activity.local_backoff_max => {
                Err(LocalActivityResult::Backoff(Box::new(failure), delay))
            }
            Ok(delay) => {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => Err(LocalActivityResult::Cancelled(None)),
                    () = tokio::time::sleep(delay) => Ok(()),
                }
            }
        }
    }

    async fn attempt(
        &self,
        sequence: Sequence,
        activity: &LocalActivity,
        attempt: u32,
        until: Option<Instant>,
        cancel: &CancellationToken,
    ) -> Attempt {
        let worker = &self.worker;
        let Ok(_slot) = worker.local_activity_slots.clone().acquire_owned().await else {
            return Attempt::Ended(Err(ActivityError::cancelled()));
        };
        let now = Timestamp::from_system(std::time::SystemTime::now());
        let mut task = PollActivityTaskQueueResponse {
            workflow_namespace: worker.connection.namespace.name.clone(),
            workflow_execution: Some(self.execution.clone()),
            workflow_type: self.workflow_type.clone(),
            activity_type: Some(ActivityType {
                name: activity.activity_type.clone(),
            }),
            activity_id: sequence.to_string(),
            header: (!activity.headers.is_empty()).then(|| Header {
                fields: activity.headers.clone(),
            }),
            attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
            scheduled_time: Some(activity.original_schedule_time),
            started_time: Some(now),
            start_to_close_timeout: activity.start_to_close,
            schedule_to_close_timeout: activity.schedule_to_close,
            ..PollActivityTaskQueueResponse::default()
        };
        // The workflow task is what tells the engine that somebody is at work.
        let ctx = ActivityContext::detached(&mut task, worker.connection.converter.clone());
        let Some(code) = worker.registry.activities.get(&activity.activity_type) else {
            return Attempt::Ended(Err(ActivityError::cancelled()));
        };
        let work = async { code(ctx.clone(), activity.input.clone()).await };
        let work = AssertUnwindSafe(work).catch_unwind().map(|ended| {
            ended.unwrap_or_else(|panic| {
                let text = format!("the activity panicked: {}", panic_message(&*panic));
                Err(ApplicationError::new(text).with_type("Panic").into())
            })
        });
        let work = until_cancelled(worker, &ctx, cancel, work);
        let start_to_close = activity
            .start_to_close
            .map(|timeout| Instant::now() + timeout);
        let (limit, kind) = match (start_to_close, until) {
            (Some(attempt), Some(until)) if until < attempt => {
                (Some(until), TimeoutType::ScheduleToClose)
            }
            (None, Some(until)) => (Some(until), TimeoutType::ScheduleToClose),
            (attempt, _) => (attempt, TimeoutType::StartToClose),
        };
        match limit {
            None => Attempt::Ended(work.await),
            Some(limit) => match tokio::time::timeout_at(limit, work).await {
                Ok(ended) => Attempt::Ended(ended),
                Err(_) => {
                    ctx.cancellation().cancel(CancelReason::Gone);
                    Attempt::TimedOut(kind)
                }
            },
        }
    }
}

/// Tells the attempt when it is to stop, and waits for it all the same.
async fn until_cancelled<T>(
    worker: &Inner,
    ctx: &ActivityContext,
    cancel: &CancellationToken,
    attempt: impl Future<Output = T>,
) -> T {
    let mut attempt = std::pin::pin!(attempt);
    tokio::select! {
        biased;
        ended = &mut attempt => return ended,
        () = cancel.cancelled() => ctx.cancellation().cancel(CancelReason::Requested),
        () = worker.shutdown.cancelled() => ctx.cancellation().cancel(CancelReason::WorkerShutdown),
    }
    attempt.await
}

fn timeout_failure(kind: TimeoutType) -> Failure {
    let which = match kind {
        TimeoutType::ScheduleToClose => "ScheduleToClose",
        _ => "StartToClose",
    };
    Failure {
        message: format!("activity {which} timeout"),
        source: SOURCE.to_owned(),
        failure_info: Some(FailureFailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type: kind,
            ..TimeoutFailureInfo::default()
        })),
        ..Failure::default()
    }
}
