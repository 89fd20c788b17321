//! What clients ask of schedules, but for reading: create, update, patch, delete.

use std::time::Duration;

use bytes::Bytes;
use fermata_proto::enums::{ScheduleOverlapPolicy, WorkflowIdReusePolicy};
use fermata_proto::error_details::WorkflowExecutionAlreadyStartedFailure;
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind, Response};
use fermata_proto::schedule::*;
use fermata_proto::taskqueue::TaskQueue;

use super::act::{self, Acting};
use super::state::{Buffered, Defined, Progress};
use super::{find, kept, spec};
use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Effect, Reply, View};
use crate::run::Run;
use crate::transaction::Transaction;
use crate::{close, search_attributes, start, validate};

/// How late an action may be if the schedule does not say: a year, Temporal's default.
const CATCHUP_WINDOW: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Request ids that are remembered.
const REQUEST_IDS_MAX: usize = 100;
/// Backfills of a schedule that are not done yet. Temporal's default.
const BACKFILLS_MAX: usize = 1_000;

pub(crate) fn on_create(
    view: &View<'_>,
    request: &CreateScheduleRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let schedule = request.schedule.clone().unwrap_or_default();
    let (mut defined, state) = defined(&schedule, ctx)?;
    validate::takes_starts(ctx)?;
    validate::memo(request.memo.as_ref(), ctx).map_err(Rejection::invalid_argument)?;
    defined.search_attributes = attributes(request.search_attributes.as_ref(), ctx)?;
    if let Some(current) = view.current.filter(|run| run.is_open() && !run.deleting) {
        let is_repeat = current.schedule.as_ref().is_some_and(|kept| {
            !request.request_id.is_empty() && kept.defined.create_request_id == request.request_id
        });
        if is_repeat {
            return Ok(Decision::reply(created(current)));
        }
        return Err(already_exists(&request.schedule_id));
    }
    defined.schedule_id.clone_from(&request.schedule_id);
    defined.create_request_id.clone_from(&request.request_id);
    defined.memo.clone_from(&request.memo);
    let run = Run::new(
        ctx.namespace.id.clone(),
        workflow_id(&request.schedule_id),
        ctx.new_run_id(),
    );
    let mut tx = Transaction::create(run, ctx);
    let progress = Progress {
        state,
        conflict_token: 1,
        done_until: ctx.now,
        ..Progress::default()
    };
    act::begin(&mut tx, defined, progress);
    let mut acting = Acting::of(&mut tx);
    if let Some(patch) = &request.initial_patch {
        apply_patch(&mut acting, patch)?;
    }
    acting.finish();
    let run_id = tx.run().run_id.clone();
    tx.effect(Effect::PublishVisibility { run_id });
    let reply = created(tx.run());
    Ok(Decision::one(tx, reply))
}

/// The detail names nothing: a schedule's run is nobody's business.
fn already_exists(schedule_id: &str) -> Rejection {
    let detail = WorkflowExecutionAlreadyStartedFailure::default();
    let message = format!("schedule {schedule_id:?} is already registered");
    Rejection::new(RejectionKind::AlreadyExists, message)
        .with(ErrorDetail::WorkflowExecutionAlreadyStarted(detail))
}

fn created(run: &Run) -> Reply {
    Reply::Response(Response::CreateSchedule(Box::new(CreateScheduleResponse {
        conflict_token: token(kept(run).progress.conflict_token),
    })))
}

/// The token as callers see it: eight bytes, big-endian.
pub(super) fn token(number: i64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(crate) fn on_update(
    view: &View<'_>,
    request: &UpdateScheduleRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let schedule = request.schedule.clone().unwrap_or_default();
    let (defined, state) = defined(&schedule, ctx)?;
    validate::memo(request.memo.as_ref(), ctx).map_err(Rejection::invalid_argument)?;
    let attributes = attributes(request.search_attributes.as_ref(), ctx)?;
    let run = find(view, &request.schedule_id)?;
    let before = kept(run);
    let is_stale = !request.conflict_token.is_empty()
        && request.conflict_token != token(before.progress.conflict_token);
    if is_stale || is_repeat(&before.progress, &request.request_id) {
        // A stale update is dropped without a word, as the reference server does it.
        return Ok(Decision::reply(Reply::done()));
    }
    let defined = Defined {
        schedule_id: before.defined.schedule_id.clone(),
        create_time: before.defined.create_time,
        create_request_id: before.defined.create_request_id.clone(),
        update_time: Some(ctx.now),
        memo: request.memo.clone().or(before.defined.memo.clone()),
        search_attributes: attributes.or(before.defined.search_attributes.clone()),
        ..defined
    };
    let mut tx = Transaction::of(run, ctx);
    // What was due under the old spec is still taken.
    Acting::of(&mut tx).finish();
    tx.fact(Fact::ScheduleDefined(Box::new(defined)));
    let mut acting = Acting::of(&mut tx);
    acting.progress.state = state;
    acting.progress.conflict_token += 1;
    acting.progress.done_until = ctx.now;
    remember(&mut acting.progress, &request.request_id);
    acting.finish();
    Ok(Decision::one(tx, Reply::done()))
}

pub(crate) fn on_patch(
    view: &View<'_>,
    request: &PatchScheduleRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = find(view, &request.schedule_id)?;
    let patch = request.patch.clone().unwrap_or_default();
    if is_repeat(&kept(run).progress, &request.request_id) {
        return Ok(Decision::reply(Reply::done()));
    }
    let mut tx = Transaction::of(run, ctx);
    Acting::of(&mut tx).finish();
    let mut acting = Acting::of(&mut tx);
    apply_patch(&mut acting, &patch)?;
    remember(&mut acting.progress, &request.request_id);
    acting.finish();
    Ok(Decision::one(tx, Reply::done()))
}

fn apply_patch(acting: &mut Acting<'_, '_>, patch: &SchedulePatch) -> Result<(), Rejection> {
    let now = acting.tx.ctx.now;
    if acting.progress.backfills.len() + patch.backfill_request.len() > BACKFILLS_MAX {
        return Err(Rejection::invalid_argument(format!(
            "too many backfills: at most {BACKFILLS_MAX} may be under way"
        )));
    }
    if let Some(trigger) = &patch.trigger_immediately {
        let nominal = trigger.scheduled_time.unwrap_or(now);
        acting.add(Buffered {
            nominal,
            actual: nominal,
            overlap_policy: trigger.overlap_policy,
            manual: true,
        });
    }
    for backfill in &patch.backfill_request {
        acting.add_backfill(backfill);
    }
    let progress = &mut acting.progress;
    for (notes, paused) in [(&patch.pause, true), (&patch.unpause, false)] {
        if !notes.is_empty() {
            progress.state.paused = paused;
            progress.state.notes.clone_from(notes);
            progress.conflict_token += 1;
        }
    }
    Ok(())
}

pub(crate) fn on_delete(
    view: &View<'_>,
    request: &DeleteScheduleRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = find(view, &request.schedule_id)?;
    let mut tx = Transaction::of(run, ctx);
    tx.fact(Fact::ScheduleDeleted { time: ctx.now });
    close::delete_if_delivered(&mut tx);
    Ok(Decision::one(tx, Reply::done()))
}

fn is_repeat(progress: &Progress, request_id: &str) -> bool {
    !request_id.is_empty() && progress.request_ids.iter().any(|known| known == request_id)
}

fn remember(progress: &mut Progress, request_id: &str) {
    if !request_id.is_empty() {
        progress.request_ids.push_back(request_id.to_owned());
    }
    while progress.request_ids.len() > REQUEST_IDS_MAX {
        progress.request_ids.pop_front();
    }
}

/// A schedule as it is kept: the spec in its canonical form, defaults filled in.
///
/// # Errors
/// INVALID_ARGUMENT.
fn defined(schedule: &Schedule, ctx: &Context<'_>) -> Result<(Defined, ScheduleState), Rejection> {
    let spec = spec::canonical(&schedule.spec.clone().unwrap_or_default())
        .map_err(|text| Rejection::invalid_argument(format!("Invalid schedule spec: {text}")))?;
    let mut policies = schedule.policies.clone().unwrap_or_default();
    if policies.overlap_policy == ScheduleOverlapPolicy::Unspecified {
        policies.overlap_policy = ScheduleOverlapPolicy::Skip;
    }
    policies.catchup_window = policies
        .catchup_window
        .filter(|window| !window.is_zero())
        .or(Some(CATCHUP_WINDOW));
    let defined = Defined {
        spec,
        action: schedule
            .action
            .as_ref()
            .map(|action| checked(action, ctx))
            .transpose()?,
        policies,
        create_time: ctx.now,
        ..Defined::default()
    };
    Ok((defined, schedule.state.clone().unwrap_or_default()))
}

/// An action that will be able to start its workflow.
fn checked(action: &ScheduleAction, ctx: &Context<'_>) -> Result<ScheduleAction, Rejection> {
    let Some(ScheduleActionAction::StartWorkflow(info)) = &action.action else {
        return Ok(action.clone());
    };
    let invalid = |text: &str| Rejection::invalid_argument(text);
    let mut info = info.clone();
    if !info.cron_schedule.is_empty() {
        return Err(invalid("Scheduled workflow must not contain CronSchedule"));
    }
    let reuse = info.workflow_id_reuse_policy;
    if !matches!(
        reuse,
        WorkflowIdReusePolicy::Unspecified | WorkflowIdReusePolicy::AllowDuplicate
    ) {
        return Err(invalid(
            "Scheduled workflow must not contain WorkflowIDReusePolicy",
        ));
    }
    let kind = info
        .workflow_type
        .as_ref()
        .map_or("", |kind| kind.name.as_str());
    if kind.is_empty() {
        return Err(invalid("WorkflowType is not set on request."));
    }
    let queue: &TaskQueue = info
        .task_queue
        .as_ref()
        .filter(|queue| !queue.name.is_empty())
        .ok_or_else(|| invalid("taskQueue is not set"))?;
    info.task_queue = Some(start::normal(queue));
    for (name, value) in [
        ("WorkflowId", &info.workflow_id),
        ("WorkflowType", &kind.to_owned()),
    ] {
        validate::id_length(name, value, ctx).map_err(Rejection::invalid_argument)?;
    }
    if let Some(policy) = &info.retry_policy {
        validate::retry_policy(policy).map_err(Rejection::invalid_argument)?;
    }
    validate::blob(info.input.as_ref(), ctx).map_err(Rejection::invalid_argument)?;
    validate::memo(info.memo.as_ref(), ctx).map_err(Rejection::invalid_argument)?;
    info.search_attributes = attributes(info.search_attributes.as_ref(), ctx)?;
    Ok(ScheduleAction {
        action: Some(ScheduleActionAction::StartWorkflow(info)),
    })
}

fn attributes(
    given: Option<&fermata_proto::common::SearchAttributes>,
    ctx: &Context<'_>,
) -> Result<Option<fermata_proto::common::SearchAttributes>, Rejection> {
    given
        .map(|given| search_attributes::typed(given, ctx).map_err(Rejection::invalid_argument))
        .transpose()
}
