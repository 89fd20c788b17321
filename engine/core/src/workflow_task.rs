//! Workflow tasks: scheduled, claimed, and ended by completion, failure or time-out.
//!
//! | state | claim | complete | fail or time out |
//! |---|---|---|---|
//! | none | not found | not found | not found |
//! | scheduled, attempt 1 | Started event | not found | sticky: TimedOut event, next attempt on the normal queue |
//! | scheduled, attempt > 1 | a fact; if events came in between, real events with attempt 1 | not found | |
//! | started, attempt 1 | same claim: same task | Completed event | Failed or TimedOut event, attempt 2 |
//! | started, attempt > 1 | same claim: same task | Scheduled, Started and Completed events | no event, next attempt |
//! | speculative | a fact | the same events, or it vanishes if its updates were rejected | Scheduled, Started and the end as events |
//!
//! A speculative task is made by an update alone ([`crate::update`]). It is an event as soon as anything else happens to the run
//! ([`Transaction::keep_speculative`]), or when nobody takes it in time.
//!
//! While a task is started, events from outside wait in the buffer ([`crate::buffer`]). Events flushed when an attempt
//! ends begin a new task with attempt 1.

use std::sync::Arc;

use std::time::Duration;

use fermata_proto::codec;
use fermata_proto::common::{Payload, WorkflowExecution};
use fermata_proto::enums::{
    SuggestContinueAsNewReason, TaskQueueKind, TimeoutType, WorkflowTaskFailedCause,
};
use fermata_proto::event::*;
use fermata_proto::failure::Failure;
use fermata_proto::rpc::{ClaimTask, Rejection, TaskReference, TaskToken};
use fermata_proto::service::{PollWorkflowTaskQueueResponse, RespondWorkflowTaskFailedRequest};
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;
use fermata_proto::workflow::ResetPointInfo;

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Effect, Reply, TaskHandout, View};
use crate::run::{Run, WorkflowTask};
use crate::transaction::Transaction;
use crate::{buffer, find, update};

/// The search attribute that tells which builds worked on a run.
pub(crate) const BUILD_IDS: &str = "BuildIds";

fn unversioned() -> Payload {
    let metadata = [("encoding", "json/plain"), ("type", "KeywordList")];
    Payload {
        metadata: metadata
            .map(|(key, value)| (key.to_owned(), value.into()))
            .into(),
        data: r#"["unversioned"]"#.into(),
        ..Payload::default()
    }
}

/// From this attempt on the start-to-close time-out grows.
const GROWING_ATTEMPT: i32 = 3;
const GROWTH_FIRST: Duration = Duration::from_secs(5);

/// Schedules a workflow task, unless there is one or the first one still waits for its backoff.
pub(crate) fn schedule_if_none(tx: &mut Transaction<'_>) {
    if tx.defers_task() {
        tx.want_task();
        return;
    }
    let run = tx.run();
    if run.is_open() && run.workflow_task.is_none() && run.first_workflow_task_at.is_none() {
        schedule(tx);
    }
}

/// Schedules a first attempt, as an event.
pub(crate) fn schedule(tx: &mut Transaction<'_>) {
    let queue = queue(tx.run());
    tx.event(WorkflowTaskScheduledEventAttributes {
        start_to_close_timeout: Some(base_timeout(tx.run())),
        task_queue: Some(queue),
        attempt: 1,
    });
    dispatch(tx);
}

/// A number that is not zero, and hardly ever the same twice.
#[expect(
    clippy::cast_possible_truncation,
    reason = "half of a random number is one"
)]
fn stamp(ctx: &Context<'_>) -> u32 {
    (ctx.next_u64() as u32) | 1
}

/// Schedules a task that brings updates and nothing else, which history shows only when it has to.
pub(crate) fn schedule_speculative(tx: &mut Transaction<'_>) {
    let run = tx.run();
    let sticky = run.sticky.as_ref();
    let schedule_to_start_timeout = sticky.map_or(
        tx.ctx.limits.speculative_task_schedule_to_start_timeout,
        |sticky| sticky.schedule_to_start_timeout,
    );
    let task = WorkflowTask {
        scheduled_event_id: run.next_event_id,
        attempt: 1,
        queue: queue(run),
        scheduled_time: tx.ctx.now,
        original_scheduled_time: tx.ctx.now,
        start_to_close_timeout: base_timeout(run),
        schedule_to_start_timeout: Some(schedule_to_start_timeout),
        speculative: true,
        stamp: stamp(tx.ctx),
        ..WorkflowTask::default()
    };
    tx.keep_speculative();
    tx.fact(Fact::WorkflowTask(Some(Box::new(task))));
    dispatch(tx);
}

/// Schedules a further attempt, which history shows only when it succeeds.
fn schedule_attempt(tx: &mut Transaction<'_>, attempt: i32) {
    let task = WorkflowTask {
        scheduled_event_id: tx.run().next_event_id,
        attempt,
        queue: queue(tx.run()),
        scheduled_time: tx.ctx.now,
        original_scheduled_time: tx.ctx.now,
        start_to_close_timeout: attempt_timeout(tx.run(), attempt, tx.ctx),
        ..WorkflowTask::default()
    };
    tx.fact(Fact::WorkflowTask(Some(Box::new(task))));
    dispatch(tx);
}

fn dispatch(tx: &mut Transaction<'_>) {
    let run = tx.run();
    let task = run.workflow_task.as_ref().expect("a task was scheduled");
    let effect = Effect::DispatchWorkflowTask {
        task: reference(run, task),
        queue: task.queue.clone(),
    };
    tx.effect(effect);
}

/// What is put on the queue for `task`.
pub(crate) fn reference(run: &Run, task: &WorkflowTask) -> TaskReference {
    TaskReference {
        namespace_id: run.namespace_id.clone(),
        workflow_id: run.workflow_id.clone(),
        run_id: run.run_id.clone(),
        scheduled_event_id: task.scheduled_event_id,
        attempt: task.attempt,
        stamp: task.stamp,
        query_id: None,
    }
}

/// The sticky queue if a worker holds the run, else the normal one.
fn queue(run: &Run) -> TaskQueue {
    let normal = normal_queue(run);
    match &run.sticky {
        Some(sticky) => TaskQueue {
            name: sticky.queue.clone(),
            kind: TaskQueueKind::Sticky,
            normal_name: normal.name,
        },
        None => normal,
    }
}

/// The queue that the workflow was started on.
pub(crate) fn normal_queue(run: &Run) -> TaskQueue {
    let name = run
        .started
        .task_queue
        .as_ref()
        .map(|queue| queue.name.clone())
        .unwrap_or_default();
    TaskQueue {
        name,
        kind: TaskQueueKind::Normal,
        normal_name: String::new(),
    }
}

fn base_timeout(run: &Run) -> Duration {
    run.started.workflow_task_timeout.unwrap_or_default()
}

fn attempt_timeout(run: &Run, attempt: i32, ctx: &Context<'_>) -> Duration {
    let base = base_timeout(run);
    if attempt <= GROWING_ATTEMPT {
        return base;
    }
    let doublings = u32::try_from(attempt - GROWING_ATTEMPT - 1)
        .unwrap_or(0)
        .min(16);
    let growth = GROWTH_FIRST.saturating_mul(1 << doublings);
    (base + ctx.jitter(growth, 0.2)).min(ctx.limits.workflow_task_retry_timeout_max)
}

// -- claim -----------------------------------------------------------------------------------------------------------

pub(crate) fn on_claim(
    view: &View<'_>,
    claim: &ClaimTask,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = find::open_run_of_id(view, &claim.task.workflow_id.0, &claim.task.run_id)?;
    let task = run
        .workflow_task
        .as_ref()
        .filter(|task| {
            task.scheduled_event_id == claim.task.scheduled_event_id
                && task.attempt == claim.task.attempt
                && task.stamp == claim.task.stamp
        })
        .ok_or_else(gone)?;
    if task.is_started() {
        if task.request_id == claim.claim_id {
            return Ok(Decision::reply(Reply::WorkflowTask(Box::new(handout(
                run,
                claim_is_sticky(task, claim),
            )))));
        }
        return Err(gone());
    }
    let mut tx = Transaction::of(run, ctx);
    tx.keep_speculative();
    start(&mut tx, &claim.identity, &claim.claim_id, &claim.worker_id);
    let task = tx
        .run()
        .workflow_task
        .as_ref()
        .expect("it was just started");
    let sticky = claim_is_sticky(task, claim);
    let handout = handout(tx.run(), sticky);
    Ok(Decision::one(tx, Reply::WorkflowTask(Box::new(handout))))
}

/// A worker that polled the task's sticky queue has the earlier history in its cache.
fn claim_is_sticky(task: &WorkflowTask, claim: &ClaimTask) -> bool {
    task.queue.kind == TaskQueueKind::Sticky && task.queue.name == claim.task_queue.name
}

fn gone() -> Rejection {
    Rejection::not_found("Workflow task not found.")
}

/// Starts the scheduled task for a worker; the updates that wait go with it.
pub(crate) fn start(tx: &mut Transaction<'_>, identity: &str, request_id: &str, worker_id: &str) {
    let run = tx.run();
    let task = run.workflow_task.as_ref().expect("a scheduled task");
    let overtaken = task.is_unwritten() && task.scheduled_event_id != run.next_event_id;
    if overtaken {
        // Events came between the attempts: the next one is a real task again.
        tx.event(WorkflowTaskScheduledEventAttributes {
            start_to_close_timeout: Some(base_timeout(tx.run())),
            task_queue: Some(queue(tx.run())),
            attempt: 1,
        });
    }
    let run = tx.run();
    let task = run.workflow_task.as_ref().expect("a scheduled task");
    if task.is_unwritten() {
        let mut task = task.clone();
        task.started_event_id = task.scheduled_event_id + 1;
        task.started_time = Some(tx.ctx.now);
        task.identity = identity.to_owned();
        task.request_id = request_id.to_owned();
        task.history_bytes = run.history_bytes;
        task.suggest_continue_as_new = !continue_as_new_reasons(run, tx.ctx).is_empty();
        task.worker_id = worker_id.to_owned();
        tx.fact(Fact::WorkflowTask(Some(task)));
    } else {
        let attributes =
            started_attributes(run, task.scheduled_event_id, identity, request_id, tx.ctx);
        tx.event(attributes);
        if !worker_id.is_empty() {
            tx.fact(Fact::WorkflowTaskWorker(worker_id.to_owned()));
        }
    }
    update::sent(tx);
}

fn started_attributes(
    run: &Run,
    scheduled_event_id: i64,
    identity: &str,
    request_id: &str,
    ctx: &Context<'_>,
) -> WorkflowTaskStartedEventAttributes {
    let reasons = continue_as_new_reasons(run, ctx);
    WorkflowTaskStartedEventAttributes {
        scheduled_event_id,
        identity: identity.to_owned(),
        request_id: request_id.to_owned(),
        suggest_continue_as_new: !reasons.is_empty(),
        suggest_continue_as_new_reasons: reasons,
        history_size_bytes: run.history_bytes,
        ..WorkflowTaskStartedEventAttributes::default()
    }
}

fn continue_as_new_reasons(run: &Run, ctx: &Context<'_>) -> Vec<SuggestContinueAsNewReason> {
    let mut reasons = Vec::new();
    if run.history_bytes >= ctx.limits.history_bytes_suggest_continue_as_new {
        reasons.push(SuggestContinueAsNewReason::HistorySizeTooLarge);
    }
    if run.next_event_id > ctx.limits.history_events_suggest_continue_as_new {
        reasons.push(SuggestContinueAsNewReason::TooManyHistoryEvents);
    }
    if update::is_many(run, ctx) {
        reasons.push(SuggestContinueAsNewReason::TooManyUpdates);
    }
    reasons
}

/// The started task for its worker; `sticky` ones get only what is new.
pub(crate) fn handout(run: &Run, sticky: bool) -> TaskHandout {
    let task = run.workflow_task.as_ref().expect("a started task");
    let previous = run.last_completed_task_started_event_id;
    TaskHandout {
        run_id: run.run_id.clone(),
        response: PollWorkflowTaskQueueResponse {
            task_token: codec::encode(&token(run, task)),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: run.workflow_id.0.clone(),
                run_id: run.run_id.clone(),
            }),
            workflow_type: run.started.workflow_type.clone(),
            previous_started_event_id: previous,
            started_event_id: task.started_event_id,
            attempt: task.attempt,
            workflow_execution_task_queue: Some(normal_queue(run)),
            scheduled_time: Some(task.scheduled_time),
            started_time: task.started_time,
            messages: update::messages(run, task.started_event_id),
            ..PollWorkflowTaskQueueResponse::default()
        },
        history_from: if sticky { previous + 1 } else { 1 },
        tail: transient_events(run, true),
    }
}

/// The Scheduled and Started events that a task which is not written would have, for history shown meanwhile.
pub fn transient_events(run: &Run, with_identity: bool) -> Vec<HistoryEvent> {
    let Some(task) = run
        .workflow_task
        .as_ref()
        .filter(|task| task.is_unwritten())
    else {
        return Vec::new();
    };
    // Overtaken by events: it becomes a real task when claimed.
    if task.scheduled_event_id != run.next_event_id {
        return Vec::new();
    }
    let mut events = vec![HistoryEvent {
        event_id: task.scheduled_event_id,
        event_time: Some(task.scheduled_time),
        attributes: Some(scheduled_attributes(task).into()),
        ..HistoryEvent::default()
    }];
    if task.is_started() {
        let identity = if with_identity {
            task.identity.clone()
        } else {
            String::new()
        };
        events.push(HistoryEvent {
            event_id: task.started_event_id,
            event_time: task.started_time,
            attributes: Some(
                WorkflowTaskStartedEventAttributes {
                    scheduled_event_id: task.scheduled_event_id,
                    identity,
                    request_id: task.request_id.clone(),
                    suggest_continue_as_new: task.suggest_continue_as_new,
                    history_size_bytes: task.history_bytes,
                    ..WorkflowTaskStartedEventAttributes::default()
                }
                .into(),
            ),
            ..HistoryEvent::default()
        });
    }
    events
}

fn scheduled_attributes(task: &WorkflowTask) -> WorkflowTaskScheduledEventAttributes {
    WorkflowTaskScheduledEventAttributes {
        task_queue: Some(task.queue.clone()),
        start_to_close_timeout: Some(task.start_to_close_timeout),
        attempt: task.attempt,
    }
}

fn token(run: &Run, task: &WorkflowTask) -> TaskToken {
    TaskToken {
        namespace_id: run.namespace_id.clone(),
        workflow_id: run.workflow_id.clone(),
        run_id: run.run_id.clone(),
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        attempt: task.attempt,
        started_time: task.started_time,
        ..TaskToken::default()
    }
}

/// The started task that a token names.
///
/// # Errors
/// NOT_FOUND if the token is stale or the run closed; INVALID_ARGUMENT if it is none.
pub(crate) fn started<'a>(
    view: &View<'a>,
    token: &[u8],
) -> Result<(&'a Run, &'a WorkflowTask), Rejection> {
    let token = find::token(token)?;
    let run =
        find::open_run_of_id(view, &token.workflow_id.0, &token.run_id).map_err(|_| gone())?;
    let task = run
        .workflow_task
        .as_deref()
        .filter(|task| {
            task.is_started()
                && task.scheduled_event_id == token.scheduled_event_id
                && task.started_event_id == token.started_event_id
                && task.attempt == token.attempt
                && task.started_time == token.started_time
        })
        .ok_or_else(gone)?;
    Ok((run, task))
}

/// Writes the events of a task that history does not show: a transient one that turned out to be the successful one, or a
/// speculative one, which goes on as a normal task. `identity` is that of whoever it was started for.
pub(crate) fn make_real(tx: &mut Transaction<'_>, identity: &str) {
    let Some(mut task) = tx.run().workflow_task.clone() else {
        return;
    };
    tx.keep_speculative();
    for mut event in transient_events(tx.run(), false) {
        if let Some(HistoryEventAttributes::WorkflowTaskStarted(started)) = &mut event.attributes {
            identity.clone_into(&mut Arc::make_mut(started).identity);
        }
        tx.write(event);
    }
    if task.speculative {
        task.speculative = false;
        tx.fact(Fact::WorkflowTask(Some(task)));
    }
}

/// A speculative task vanishes: history and the next task know nothing of it.
pub(crate) fn vanish(tx: &mut Transaction<'_>) {
    tx.keep_speculative();
    tx.fact(Fact::WorkflowTask(None));
}

// -- the bad ends ----------------------------------------------------------------------------------------------------

pub(crate) fn on_failed(
    view: &View<'_>,
    request: &RespondWorkflowTaskFailedRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let (run, _) = started(view, &request.task_token)?;
    let mut tx = Transaction::of(run, ctx);
    fail(
        &mut tx,
        request.cause,
        request.failure.clone(),
        &request.identity,
        |attributes| {
            attributes
                .binary_checksum
                .clone_from(&request.binary_checksum);
            attributes
                .worker_version
                .clone_from(&request.worker_version);
        },
    );
    Ok(Decision::one(tx, Reply::done()))
}

/// Ends the started task without success: an event for a first attempt, then the buffer, then the next attempt.
pub(crate) fn fail(
    tx: &mut Transaction<'_>,
    cause: WorkflowTaskFailedCause,
    failure: Option<Failure>,
    identity: &str,
    also: impl FnOnce(&mut WorkflowTaskFailedEventAttributes),
) {
    let task = tx
        .run()
        .workflow_task
        .as_ref()
        .expect("a started task")
        .clone();
    if task.speculative {
        make_real(tx, identity);
    }
    if !task.is_transient() {
        let mut attributes = WorkflowTaskFailedEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            cause,
            failure,
            identity: identity.to_owned(),
            ..WorkflowTaskFailedEventAttributes::default()
        };
        also(&mut attributes);
        tx.event(attributes);
    }
    try_again(tx, &task);
}

/// Ends the started task for good: an event for a first attempt, then the buffer.
pub(crate) fn give_up(
    tx: &mut Transaction<'_>,
    cause: WorkflowTaskFailedCause,
    failure: Option<Failure>,
    identity: &str,
) {
    let task = tx
        .run()
        .workflow_task
        .as_ref()
        .expect("a started task")
        .clone();
    if task.speculative {
        make_real(tx, identity);
    }
    if task.is_transient() {
        tx.fact(Fact::WorkflowTask(None));
    } else {
        tx.event(WorkflowTaskFailedEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            cause,
            failure,
            identity: identity.to_owned(),
            ..WorkflowTaskFailedEventAttributes::default()
        });
    }
    buffer::flush(tx);
}

/// The scheduled task goes on with the work of one that was first scheduled at `since`.
pub(crate) fn hold_since(tx: &mut Transaction<'_>, since: Timestamp) {
    if let Some(mut task) = tx.run().workflow_task.clone() {
        task.original_scheduled_time = since;
        tx.fact(Fact::WorkflowTask(Some(task)));
    }
}

/// A worker has kept a task alive for too long: it times out, and another worker may try.
pub(crate) fn heartbeat_too_long(mut tx: Transaction<'_>) -> Decision {
    let task = tx
        .run()
        .workflow_task
        .as_ref()
        .expect("a started task")
        .clone();
    tx.event(WorkflowTaskTimedOutEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        timeout_type: TimeoutType::StartToClose,
    });
    try_again(&mut tx, &task);
    Decision::of_refused(
        [tx],
        Rejection::not_found("workflow task heartbeat timeout"),
    )
}

fn try_again(tx: &mut Transaction<'_>, task: &WorkflowTask) {
    if tx.run().workflow_task.is_some() {
        tx.fact(Fact::WorkflowTask(None));
    }
    if tx.run().sticky.is_some() {
        tx.fact(Fact::Sticky(None));
    }
    let was_sticky = task.queue.kind == TaskQueueKind::Sticky;
    if buffer::flush(tx) || was_sticky || !task.is_started() {
        schedule(tx);
    } else {
        schedule_attempt(tx, task.attempt + 1);
    }
}

/// When the open task times out: a sticky one that nobody takes, or a started one.
pub(crate) fn deadline(run: &Run) -> Option<Timestamp> {
    let task = run.workflow_task.as_ref()?;
    match task.started_time {
        Some(started) => Some(started + task.start_to_close_timeout),
        None => task
            .schedule_to_start_timeout
            .map(|timeout| task.scheduled_time + timeout),
    }
}

pub(crate) fn on_deadline(tx: &mut Transaction<'_>) {
    if deadline(tx.run()).is_none_or(|deadline| deadline > tx.ctx.now) {
        return;
    }
    let task = tx
        .run()
        .workflow_task
        .as_ref()
        .expect("a deadline has a task")
        .clone();
    let timeout_type = if task.is_started() {
        TimeoutType::StartToClose
    } else {
        TimeoutType::ScheduleToStart
    };
    time_out(tx, &task, timeout_type);
}

/// The worker that holds the started task, if any does and announces itself.
pub(crate) fn held_by(run: &Run) -> Option<&str> {
    let task = run.workflow_task.as_ref()?;
    (task.is_started() && !task.worker_id.is_empty()).then_some(task.worker_id.as_str())
}

/// Another worker may try without waiting for the time-out.
pub(crate) fn on_worker_lost(tx: &mut Transaction<'_>, worker_id: &str) {
    if held_by(tx.run()) != Some(worker_id) {
        return;
    }
    let task = tx
        .run()
        .workflow_task
        .as_ref()
        .expect("somebody holds it")
        .clone();
    time_out(tx, &task, TimeoutType::StartToClose);
}

fn time_out(tx: &mut Transaction<'_>, task: &WorkflowTask, timeout_type: TimeoutType) {
    if !task.is_transient() {
        tx.event(WorkflowTaskTimedOutEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            timeout_type,
        });
    }
    try_again(tx, task);
}

// -- apply -----------------------------------------------------------------------------------------------------------

pub(crate) fn apply_scheduled(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &WorkflowTaskScheduledEventAttributes,
) {
    let time = event.event_time.unwrap_or_default();
    let queue = attributes.task_queue.clone().unwrap_or_default();
    let sticky = run
        .sticky
        .as_ref()
        .filter(|sticky| sticky.queue == queue.name);
    run.first_workflow_task_at = None;
    run.workflow_task = Some(Box::new(WorkflowTask {
        scheduled_event_id: event.event_id,
        attempt: attributes.attempt,
        schedule_to_start_timeout: sticky.map(|sticky| sticky.schedule_to_start_timeout),
        queue,
        scheduled_time: time,
        original_scheduled_time: time,
        start_to_close_timeout: attributes.start_to_close_timeout.unwrap_or_default(),
        ..WorkflowTask::default()
    }));
}

pub(crate) fn apply_started(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &WorkflowTaskStartedEventAttributes,
) {
    let task = run
        .workflow_task
        .as_mut()
        .expect("a task is scheduled before it starts");
    task.started_event_id = event.event_id;
    task.started_time = event.event_time;
    task.identity.clone_from(&attributes.identity);
    task.request_id.clone_from(&attributes.request_id);
    task.history_bytes = attributes.history_size_bytes;
    task.suggest_continue_as_new = attributes.suggest_continue_as_new;
}

pub(crate) fn apply_completed(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &WorkflowTaskCompletedEventAttributes,
) {
    run.workflow_task = None;
    run.last_completed_task_started_event_id = attributes.started_event_id;
    run.last_task_completed_event_id = event.event_id;
    run.last_worker_identity.clone_from(&attributes.identity);
    run.last_worker_version
        .clone_from(&attributes.worker_version);
    apply_build_id(run, attributes);
    apply_reset_point(run, event, attributes);
}

/// Reset points that are kept; the oldest go first. Temporal's default.
const RESET_POINTS_MAX: usize = 20;

/// The first task that a build completes is a point to go back to when that build turns out bad.
fn apply_reset_point(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &WorkflowTaskCompletedEventAttributes,
) {
    let build_id = attributes
        .worker_version
        .as_ref()
        .map_or("", |stamp| &stamp.build_id);
    let binary_checksum = attributes.binary_checksum.as_str();
    let is_known = run
        .reset_points
        .iter()
        .any(|point| point.build_id == build_id && point.binary_checksum == binary_checksum);
    if is_known || build_id.is_empty() && binary_checksum.is_empty() {
        return;
    }
    let points = Arc::make_mut(&mut run.reset_points);
    points.push(ResetPointInfo {
        build_id: build_id.to_owned(),
        binary_checksum: binary_checksum.to_owned(),
        run_id: run.run_id.clone(),
        first_workflow_task_completed_id: event.event_id,
        create_time: event.event_time,
        expire_time: None,
        resettable: true,
    });
    if points.len() > RESET_POINTS_MAX {
        points.remove(0);
    }
}

/// Adds the worker's build to the search attribute, if it is new.
fn apply_build_id(run: &mut Run, attributes: &WorkflowTaskCompletedEventAttributes) {
    let stamp = attributes.worker_version.as_ref();
    let build_id = stamp
        .filter(|stamp| !stamp.use_versioning)
        .map_or("", |stamp| &stamp.build_id);
    // Odd ones are left out rather than escaped.
    let is_plain = build_id
        .chars()
        .all(|c| !c.is_control() && c != '"' && c != '\\');
    let item = (!build_id.is_empty() && is_plain).then(|| format!("\"unversioned:{build_id}\""));
    let known = run.search_attributes.indexed_fields.get(BUILD_IDS);
    let has = |item: &str| {
        known.is_some_and(|list| {
            list.data
                .windows(item.len())
                .any(|window| window == item.as_bytes())
        })
    };
    let item = item.filter(|item| !has(item));
    if known.is_some() && item.is_none() {
        return;
    }
    // What a client may have put there instead of a list is dropped.
    let is_list = |list: &&Payload| list.data.starts_with(b"[") && list.data.ends_with(b"]");
    let mut list = known.filter(is_list).cloned().unwrap_or_else(unversioned);
    if let Some(item) = item {
        let items = String::from_utf8_lossy(&list.data[1..list.data.len() - 1]).into_owned();
        let comma = if items.trim().is_empty() { "" } else { "," };
        list.data = format!("[{items}{comma}{item}]").into();
    }
    Arc::make_mut(&mut run.search_attributes)
        .indexed_fields
        .insert(BUILD_IDS.to_owned(), list);
}

/// Failed or timed out: the task is gone, whatever follows.
pub(crate) fn apply_ended(run: &mut Run) {
    run.workflow_task = None;
}
