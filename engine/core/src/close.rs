//! How a run ends: by its own commands, by termination, by its time-outs; and the next run of its chain.

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::event::*;
use fermata_proto::failure::{Failure, FailureFailureInfo, TimeoutFailureInfo};
use fermata_proto::rpc::{Rejection, TerminateWorkflow};
use fermata_proto::service::DeleteWorkflowExecutionRequest;
use fermata_proto::time::Timestamp;

use crate::change::Fact;
use crate::command::{CLOSING, CommandError, Outcome, json_text};
use crate::context::Context;
use crate::decision::{Decision, Effect, Reply, View};
use crate::run::Run;
use crate::transaction::Transaction;
use crate::{
    child_workflow, cron, external, find, retry, schedule, search_attributes, start, update,
    validate, workflow_task,
};

/// Who acts when the server does.
pub(crate) const HISTORY_SERVICE: &str = "history-service";
/// Who terminates a run that is reset, as history shows it.
const RESETTER: &str = "history-resetter";

pub(crate) fn is_closing(command_type: CommandType) -> bool {
    CLOSING.contains(&command_type)
}

pub(crate) fn on_complete<'a>(
    tx: &mut Transaction<'a>,
    completed_event_id: i64,
    attributes: &CompleteWorkflowExecutionCommandAttributes,
    outcome: &mut Outcome<'a>,
) -> Result<(), CommandError> {
    let next = cron_run(tx, attributes.result.clone(), None);
    closing(tx);
    tx.event(WorkflowExecutionCompletedEventAttributes {
        result: attributes.result.clone(),
        workflow_task_completed_event_id: completed_event_id,
        new_execution_run_id: next
            .as_ref()
            .map(|next| next.run().run_id.clone())
            .unwrap_or_default(),
    });
    outcome.next_run = next;
    closed(tx, outcome.next_run.is_some());
    Ok(())
}

pub(crate) fn on_fail<'a>(
    tx: &mut Transaction<'a>,
    completed_event_id: i64,
    attributes: &FailWorkflowExecutionCommandAttributes,
    outcome: &mut Outcome<'a>,
) -> Result<(), CommandError> {
    let failure = attributes.failure.clone().ok_or_else(|| {
        CommandError::fail(
            WorkflowTaskFailedCause::BadFailWorkflowExecutionAttributes,
            "BadFailWorkflowExecutionAttributes: Failure is not set on FailWorkflowExecutionCommand.",
        )
    })?;
    let (next, retry_state) = retry_or_cron(tx, &failure);
    closing(tx);
    tx.event(WorkflowExecutionFailedEventAttributes {
        failure: Some(failure),
        retry_state,
        workflow_task_completed_event_id: completed_event_id,
        new_execution_run_id: next
            .as_ref()
            .map(|next| next.run().run_id.clone())
            .unwrap_or_default(),
    });
    outcome.next_run = next;
    closed(tx, outcome.next_run.is_some());
    Ok(())
}

pub(crate) fn on_cancel(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    attributes: &CancelWorkflowExecutionCommandAttributes,
) -> Result<(), CommandError> {
    closing(tx);
    tx.event(WorkflowExecutionCanceledEventAttributes {
        workflow_task_completed_event_id: completed_event_id,
        details: attributes.details.clone(),
    });
    closed(tx, false);
    Ok(())
}

pub(crate) fn on_continue_as_new<'a>(
    tx: &mut Transaction<'a>,
    completed_event_id: i64,
    attributes: &ContinueAsNewWorkflowExecutionCommandAttributes,
    outcome: &mut Outcome<'a>,
) -> Result<(), CommandError> {
    let run = tx.run();
    let old = run.started.clone();
    let ctx = tx.ctx;
    let cause = WorkflowTaskFailedCause::BadContinueAsNewAttributes;
    if let Some(policy) = &attributes.retry_policy {
        validate::retry_policy(policy)
            .map_err(|text| CommandError::fail(cause, format!("{cause:?}: {text}")))?;
    }
    if !attributes.cron_schedule.is_empty() && !cron::is_valid(&attributes.cron_schedule) {
        return Err(CommandError::fail(
            cause,
            format!("{cause:?}: invalid CronSchedule."),
        ));
    }
    let search_attributes = match &attributes.search_attributes {
        Some(given) => Some(search_attributes::typed(given, ctx).map_err(|text| {
            let cause = WorkflowTaskFailedCause::BadSearchAttributes;
            CommandError::fail(cause, format!("{cause:?}: {text}"))
        })?),
        None => None,
    };
    let run_timeout = start::capped(
        attributes
            .workflow_run_timeout
            .or(old.workflow_run_timeout)
            .filter(|timeout| !timeout.is_zero()),
        remaining(run, ctx.now),
    )
    .or(Some(Duration::ZERO));
    let task_timeout = start::task_timeout(
        attributes
            .workflow_task_timeout
            .filter(|timeout| !timeout.is_zero())
            .or(old.workflow_task_timeout),
        run_timeout,
        ctx,
    );
    let backoff = attributes
        .backoff_start_interval
        .unwrap_or_default()
        .max(least_backoff(run, ctx));
    let next = WorkflowExecutionStartedEventAttributes {
        workflow_type: attributes
            .workflow_type
            .clone()
            .filter(|kind| !kind.name.is_empty())
            .or(old.workflow_type.clone()),
        task_queue: attributes
            .task_queue
            .as_ref()
            .filter(|queue| !queue.name.is_empty())
            .map(start::normal)
            .or(old.task_queue.clone()),
        input: attributes.input.clone(),
        workflow_run_timeout: run_timeout,
        workflow_task_timeout: Some(task_timeout),
        initiator: ContinueAsNewInitiator::Workflow,
        continued_failure: attributes.failure.clone(),
        last_completion_result: attributes.last_completion_result.clone(),
        retry_policy: attributes.retry_policy.as_ref().map(retry::filled),
        cron_schedule: attributes.cron_schedule.clone(),
        memo: attributes.memo.clone(),
        search_attributes: search_attributes.clone(),
        header: attributes.header.clone(),
        first_workflow_task_backoff: Some(backoff),
        attempt: 1,
        ..inherited(run)
    };
    let next = follow(run, next, ctx);
    closing(tx);
    tx.event(WorkflowExecutionContinuedAsNewEventAttributes {
        new_execution_run_id: next.run().run_id.clone(),
        workflow_type: next.run().started.workflow_type.clone(),
        task_queue: next.run().started.task_queue.clone(),
        input: attributes.input.clone(),
        workflow_run_timeout: run_timeout,
        workflow_task_timeout: Some(task_timeout),
        workflow_task_completed_event_id: completed_event_id,
        backoff_start_interval: attributes.backoff_start_interval,
        failure: attributes.failure.clone(),
        last_completion_result: attributes.last_completion_result.clone(),
        header: attributes.header.clone(),
        memo: attributes.memo.clone(),
        search_attributes,
        inherit_build_id: attributes.inherit_build_id,
        initial_versioning_behavior: attributes.initial_versioning_behavior,
        ..WorkflowExecutionContinuedAsNewEventAttributes::default()
    });
    outcome.next_run = Some(next);
    closed(tx, true);
    Ok(())
}

pub(crate) fn on_terminate(
    view: &View<'_>,
    terminate: &TerminateWorkflow,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let request = &terminate.request;
    let run = find::open_run(view, request.workflow_execution.as_ref())?;
    find::chain(run, &request.first_execution_run_id)?;
    if let Some(sender) = &terminate.sender {
        external::may_address(run, sender)?;
    }
    let mut tx = Transaction::of(run, ctx);
    give_up_task(&mut tx);
    closing(&mut tx);
    tx.event(WorkflowExecutionTerminatedEventAttributes {
        reason: request.reason.clone(),
        details: request.details.clone(),
        identity: request.identity.clone(),
    });
    closed_from_outside(&mut tx, false);
    Ok(Decision::one(tx, Reply::done()))
}

/// Ends the open run because it has outgrown a limit. Its workflow task has been given up.
pub(crate) fn terminate(tx: &mut Transaction<'_>, reason: &str) {
    closing(tx);
    tx.event(WorkflowExecutionTerminatedEventAttributes {
        reason: reason.to_owned(),
        details: None,
        identity: HISTORY_SERVICE.to_owned(),
    });
    closed_from_outside(tx, false);
}

/// Terminates the run if it is open, and lets it go with all that is stored of it.
pub(crate) fn on_delete(
    view: &View<'_>,
    request: &DeleteWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = find::run(view, request.workflow_execution.as_ref())?;
    let mut tx = Transaction::of(run, ctx);
    if run.is_open() {
        give_up_task(&mut tx);
        terminate(&mut tx, "Delete workflow execution");
    }
    tx.fact(Fact::Deleting);
    delete_if_delivered(&mut tx);
    Ok(Decision::one(tx, Reply::done()))
}

/// A run that is to be deleted goes when others have heard all it had to say to them.
pub(crate) fn delete_if_delivered(tx: &mut Transaction<'_>) {
    if tx.run().deleting && tx.run().outbox.is_empty() {
        let run_id = tx.run().run_id.clone();
        tx.effect(Effect::Delete { run_id });
    }
}

/// Ends the open run for another that takes its workflow id.
pub(crate) fn terminate_for_new_run(tx: &mut Transaction<'_>, new_run_id: &str) {
    give_up_task(tx);
    closing(tx);
    tx.event(WorkflowExecutionTerminatedEventAttributes {
        reason: "TerminateIfRunning WorkflowIdReusePolicy".to_owned(),
        details: Some(Payloads {
            payloads: vec![json_text(&format!("terminated by new runID: {new_run_id}"))],
        }),
        identity: HISTORY_SERVICE.to_owned(),
    });
    closed_from_outside(tx, false);
}

/// Ends the open run for one that a reset begins. Of its children those are kept that were initiated up to `children_kept`.
pub(crate) fn terminate_for_reset(
    tx: &mut Transaction<'_>,
    reason: &str,
    children_kept: Option<i64>,
) {
    give_up_task(tx);
    tx.drop_new_outbox();
    child_workflow::on_parent_closing_behind(tx, children_kept.unwrap_or(0));
    tx.event(WorkflowExecutionTerminatedEventAttributes {
        reason: reason.to_owned(),
        details: None,
        identity: RESETTER.to_owned(),
    });
    // The chain goes on: its parent hears nothing.
    closed_from_outside(tx, true);
}

/// Before a close from outside: a started first attempt fails, and what it held back is written.
pub(crate) fn give_up_task(tx: &mut Transaction<'_>) {
    let Some(task) = tx.run().workflow_task.clone() else {
        return;
    };
    if task.is_started() {
        let cause = WorkflowTaskFailedCause::ForceCloseCommand;
        workflow_task::give_up(tx, cause, None, HISTORY_SERVICE);
    } else if task.speculative {
        workflow_task::vanish(tx);
    }
}

/// As [`closed`]. A close by a command leaves updates to the messages that come with it ([`crate::command`]).
fn closed_from_outside(tx: &mut Transaction<'_>, goes_on: bool) {
    closed(tx, goes_on);
    update::abort_all(tx, update::Abort::WorkflowClosed);
}

/// After the closing event. If the chain goes on, parent and children belong to the next run.
fn closed(tx: &mut Transaction<'_>, goes_on: bool) {
    if !goes_on {
        child_workflow::notify_parent(tx);
        schedule::tell_watcher(tx);
    }
    let run_id = tx.run().run_id.clone();
    tx.effect(Effect::PublishVisibility { run_id });
}

/// Before the closing event: children end as their policies say, and what was never delivered is dropped.
fn closing(tx: &mut Transaction<'_>) {
    tx.drop_new_outbox();
    child_workflow::on_parent_closing(tx);
}

// -- time-outs -------------------------------------------------------------------------------------------------------

/// When the run or its whole chain times out.
pub(crate) fn deadline(run: &Run) -> Option<Timestamp> {
    let backoff = run.started.first_workflow_task_backoff.unwrap_or_default();
    let by_run = run
        .started
        .workflow_run_timeout
        .filter(|timeout| !timeout.is_zero())
        .map(|timeout| run.start_time + timeout + backoff);
    match (by_run, run.started.workflow_execution_expiration_time) {
        (Some(run), Some(chain)) => Some(run.min(chain)),
        (run, chain) => run.or(chain),
    }
}

impl Run {
    /// When this run times out; none if it may run for ever.
    pub(crate) fn run_deadline(&self) -> Option<Timestamp> {
        let backoff = self.started.first_workflow_task_backoff.unwrap_or_default();
        let timeout = self
            .started
            .workflow_run_timeout
            .filter(|timeout| !timeout.is_zero())?;
        Some(self.start_time + timeout + backoff)
    }
}

pub(crate) fn on_deadline<'a>(tx: &mut Transaction<'a>) -> Option<Transaction<'a>> {
    if deadline(tx.run()).is_none_or(|deadline| deadline > tx.ctx.now) {
        return None;
    }
    let failure = Failure {
        message: "workflow timeout".to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureFailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type: TimeoutType::StartToClose,
            ..TimeoutFailureInfo::default()
        })),
        ..Failure::default()
    };
    let expired = tx
        .run()
        .started
        .workflow_execution_expiration_time
        .is_some_and(|end| end <= tx.ctx.now);
    let (next, retry_state) = if expired {
        (None, RetryState::Timeout)
    } else {
        retry_or_cron(tx, &failure)
    };
    give_up_task(tx);
    closing(tx);
    tx.event(WorkflowExecutionTimedOutEventAttributes {
        retry_state,
        new_execution_run_id: next
            .as_ref()
            .map(|next| next.run().run_id.clone())
            .unwrap_or_default(),
    });
    closed_from_outside(tx, next.is_some());
    next
}

// -- the next run of the chain ---------------------------------------------------------------------------------------

/// Runs of a chain that end at once begin no more than one an interval.
fn least_backoff(run: &Run, ctx: &Context<'_>) -> Duration {
    ctx.limits
        .workflow_id_reuse_interval_min
        .saturating_sub(ctx.now.since(began(run)))
}

/// When the run's own work began, after its delay or backoff.
fn began(run: &Run) -> Timestamp {
    run.start_time + run.started.first_workflow_task_backoff.unwrap_or_default()
}

/// How long the chain may still last.
fn remaining(run: &Run, now: Timestamp) -> Option<Duration> {
    run.started
        .workflow_execution_expiration_time
        .map(|end| end.since(now))
}

/// What every further run has from the one before.
fn inherited(run: &Run) -> WorkflowExecutionStartedEventAttributes {
    let old = &run.started;
    WorkflowExecutionStartedEventAttributes {
        workflow_id: old.workflow_id.clone(),
        parent_workflow_namespace: old.parent_workflow_namespace.clone(),
        parent_workflow_namespace_id: old.parent_workflow_namespace_id.clone(),
        parent_workflow_execution: old.parent_workflow_execution.clone(),
        parent_initiated_event_id: old.parent_initiated_event_id,
        root_workflow_execution: old.root_workflow_execution.clone(),
        workflow_execution_timeout: old.workflow_execution_timeout,
        workflow_execution_expiration_time: old.workflow_execution_expiration_time,
        continued_execution_run_id: run.run_id.clone(),
        first_execution_run_id: old.first_execution_run_id.clone(),
        priority: old.priority.clone(),
        ..WorkflowExecutionStartedEventAttributes::default()
    }
}

/// All of the run before, for a retry or a cron run.
fn repeated(run: &Run) -> WorkflowExecutionStartedEventAttributes {
    let old = &run.started;
    WorkflowExecutionStartedEventAttributes {
        workflow_type: old.workflow_type.clone(),
        task_queue: old.task_queue.clone(),
        input: old.input.clone(),
        workflow_run_timeout: old.workflow_run_timeout,
        workflow_task_timeout: old.workflow_task_timeout,
        retry_policy: old.retry_policy.clone(),
        cron_schedule: old.cron_schedule.clone(),
        memo: (!run.memo.is_empty()).then(|| Memo {
            fields: (*run.memo).clone(),
        }),
        search_attributes: old
            .search_attributes
            .as_ref()
            .map(|_| (*run.search_attributes).clone()),
        header: old.header.clone(),
        last_completion_result: old.last_completion_result.clone(),
        ..inherited(run)
    }
}

fn follow<'a>(
    run: &Run,
    mut attributes: WorkflowExecutionStartedEventAttributes,
    ctx: &'a Context<'a>,
) -> Transaction<'a> {
    let run_id = ctx.new_run_id();
    attributes.original_execution_run_id.clone_from(&run_id);
    let event = HistoryEvent {
        attributes: Some(attributes.into()),
        ..HistoryEvent::default()
    };
    let watcher = run.watcher.as_deref();
    start::open(event, run_id, None, ctx, |tx| {
        schedule::watch_again(tx, watcher);
    })
}

fn retry_or_cron<'a>(
    tx: &Transaction<'a>,
    failure: &Failure,
) -> (Option<Transaction<'a>>, RetryState) {
    let run = tx.run();
    let started = &run.started;
    let until = started.workflow_execution_expiration_time;
    match retry::next(
        started.retry_policy.as_ref(),
        started.attempt,
        failure,
        tx.ctx.now,
        until,
    ) {
        retry::Next::After(backoff) => {
            let attributes = WorkflowExecutionStartedEventAttributes {
                attempt: started.attempt + 1,
                initiator: ContinueAsNewInitiator::Retry,
                continued_failure: Some(failure.clone()),
                first_workflow_task_backoff: Some(backoff.max(least_backoff(run, tx.ctx))),
                ..repeated(run)
            };
            (
                Some(follow(run, attributes, tx.ctx)),
                RetryState::InProgress,
            )
        }
        retry::Next::Never(state) => (cron_run(tx, None, Some(failure)), state),
    }
}

fn cron_run<'a>(
    tx: &Transaction<'a>,
    result: Option<Payloads>,
    failure: Option<&Failure>,
) -> Option<Transaction<'a>> {
    let run = tx.run();
    let schedule = &run.started.cron_schedule;
    if schedule.is_empty() {
        return None;
    }
    let backoff = cron::backoff(schedule, began(run), tx.ctx.now)?;
    if run
        .started
        .workflow_execution_expiration_time
        .is_some_and(|end| tx.ctx.now + backoff > end)
    {
        return None;
    }
    let repeated = repeated(run);
    let attributes = WorkflowExecutionStartedEventAttributes {
        attempt: 1,
        initiator: ContinueAsNewInitiator::CronSchedule,
        continued_failure: failure.cloned(),
        last_completion_result: result.or_else(|| repeated.last_completion_result.clone()),
        first_workflow_task_backoff: Some(backoff),
        ..repeated
    };
    Some(follow(run, attributes, tx.ctx))
}

// -- apply -----------------------------------------------------------------------------------------------------------

/// Closes the run: nothing moves it any more.
pub(crate) fn apply_closed(
    run: &mut Run,
    event: &Arc<HistoryEvent>,
    status: WorkflowExecutionStatus,
) {
    run.status = status;
    run.close_time = event.event_time;
    run.close_event = Some(event.clone());
    // A task that nobody took is still described, and so are pending activities and children.
    if run
        .workflow_task
        .as_ref()
        .is_some_and(|task| task.is_started())
    {
        run.workflow_task = None;
    }
    run.first_workflow_task_at = None;
    run.sticky = None;
    run.activity_ids = Arc::default();
    run.timers = Arc::default();
    run.external_signals.clear();
    run.external_cancels.clear();
    run.buffered.clear();
    run.buffered_bytes = 0;
}
