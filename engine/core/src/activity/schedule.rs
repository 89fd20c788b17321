//! Scheduling by a command, and cancelling what no worker has yet.

use std::time::Duration;

use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::WorkflowTaskFailedCause as Cause;
use fermata_proto::enums::*;
use fermata_proto::event::*;

use crate::command::{CommandError, Outcome, json_text};
use crate::run::{Activity, Run};
use crate::transaction::Transaction;
use crate::{priority, retry, validate, workflow_task};

use super::claim::{handout, start};
use super::dispatch;

pub(crate) fn on_schedule(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    command: &Command,
    attributes: &ScheduleActivityTaskCommandAttributes,
    outcome: &mut Outcome<'_>,
) -> Result<(), CommandError> {
    let bad = |text: &str| {
        CommandError::fail(
            Cause::BadScheduleActivityAttributes,
            format!("BadScheduleActivityAttributes: {text}"),
        )
    };
    if attributes.activity_id.is_empty() {
        return Err(bad("activityId is not set"));
    }
    if attributes
        .activity_type
        .as_ref()
        .is_none_or(|kind| kind.name.is_empty())
    {
        return Err(bad("activityType is not set"));
    }
    let queue = attributes.task_queue.clone().unwrap_or_default();
    validate::task_queue(&queue.name, tx.ctx).map_err(&bad)?;
    if tx.run().activity_ids.contains_key(&attributes.activity_id) {
        return Err(CommandError::fail(
            Cause::ScheduleActivityDuplicateId,
            format!(
                "ScheduleActivityDuplicateId: invalid history builder state for action: add-activitytask-scheduled-event, ActivityID: {}",
                attributes.activity_id
            ),
        ));
    }
    if tx.run().activities.len() >= tx.ctx.limits.pending_activities_max {
        return Err(CommandError::fail(
            Cause::PendingActivitiesLimitExceeded,
            format!(
                "PendingActivitiesLimitExceeded: the number of pending activities, {}, has reached the per-workflow limit of {}",
                tx.run().activities.len(),
                tx.ctx.limits.pending_activities_max
            ),
        ));
    }
    let timeouts = Timeouts::of(attributes, tx.run()).ok_or_else(|| {
        bad(&format!(
            "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. ActivityId={} ActivityType={}",
            attributes.activity_id,
            attributes.activity_type.as_ref().map_or("", |kind| &kind.name)
        ))
    })?;
    if let Some(policy) = &attributes.retry_policy {
        validate::retry_policy(policy).map_err(&bad)?;
    }
    validate::id_length("ActivityId", &attributes.activity_id, tx.ctx)
        .map_err(|text| bad(&text))?;
    priority::check(attributes.priority.as_ref())
        .map_err(|text| bad(&format!("invalid priorities: {text}")))?;
    let queue_name = queue.name;
    let event_id = tx.write(HistoryEvent {
        user_metadata: command.user_metadata.clone(),
        attributes: Some(
            ActivityTaskScheduledEventAttributes {
                activity_id: attributes.activity_id.clone(),
                activity_type: attributes.activity_type.clone(),
                task_queue: Some(fermata_proto::taskqueue::TaskQueue {
                    name: queue_name.clone(),
                    kind: TaskQueueKind::Normal,
                    normal_name: String::new(),
                }),
                header: attributes.header.clone(),
                input: attributes.input.clone(),
                schedule_to_close_timeout: Some(timeouts.schedule_to_close),
                schedule_to_start_timeout: Some(timeouts.schedule_to_start),
                start_to_close_timeout: Some(timeouts.start_to_close),
                heartbeat_timeout: Some(timeouts.heartbeat),
                workflow_task_completed_event_id: completed_event_id,
                retry_policy: Some(retry::filled(
                    &attributes.retry_policy.clone().unwrap_or_default(),
                )),
                use_workflow_build_id: attributes.use_workflow_build_id,
                priority: attributes.priority.clone(),
            }
            .into(),
        ),
        ..HistoryEvent::default()
    });
    if attributes.request_eager_execution
        && queue_name == workflow_task::normal_queue(tx.run()).name
    {
        let identity = tx.run().last_worker_identity.clone();
        let request_id = tx.ctx.new_id();
        start(tx, event_id, &identity, &request_id, &outcome.worker_id);
        outcome
            .eager
            .push(handout(tx.run(), &tx.run().activities[&event_id], tx.ctx));
    } else {
        dispatch(tx, event_id);
    }
    Ok(())
}

/// The time-outs of a scheduled activity, all within the run's.
pub(super) struct Timeouts {
    schedule_to_close: Duration,
    schedule_to_start: Duration,
    start_to_close: Duration,
    heartbeat: Duration,
}

impl Timeouts {
    /// None if neither start-to-close nor schedule-to-close is given.
    fn of(attributes: &ScheduleActivityTaskCommandAttributes, run: &Run) -> Option<Self> {
        let given = |timeout: Option<Duration>| timeout.filter(|timeout| !timeout.is_zero());
        let run_timeout = given(run.started.workflow_run_timeout);
        let cut = |timeout: Duration| run_timeout.map_or(timeout, |bound| timeout.min(bound));
        let close = given(attributes.schedule_to_close_timeout).map(cut);
        let start = given(attributes.schedule_to_start_timeout).map(cut);
        let run_for = given(attributes.start_to_close_timeout).map(cut);
        let (schedule_to_close, schedule_to_start, start_to_close) = match (close, run_for) {
            (Some(close), run_for) => (
                close,
                start.map_or(close, |start| start.min(close)),
                run_for.map_or(close, |run_for| run_for.min(close)),
            ),
            (None, Some(run_for)) => (
                run_timeout.unwrap_or_default(),
                start.or(run_timeout).unwrap_or_default(),
                run_for,
            ),
            (None, None) => return None,
        };
        let heartbeat = given(attributes.heartbeat_timeout)
            .unwrap_or_default()
            .min(start_to_close);
        Some(Self {
            schedule_to_close,
            schedule_to_start,
            start_to_close,
            heartbeat,
        })
    }
}

/// A cancel request by the workflow. One that no worker has is canceled when all commands are carried out.
pub(crate) fn on_request_cancel(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    attributes: &RequestCancelActivityTaskCommandAttributes,
    outcome: &mut Outcome<'_>,
) -> Result<(), CommandError> {
    let bad = |text: String| {
        CommandError::fail(
            Cause::BadRequestCancelActivityAttributes,
            format!("BadRequestCancelActivityAttributes: {text}"),
        )
    };
    let scheduled_event_id = attributes.scheduled_event_id;
    if scheduled_event_id <= 0 {
        return Err(bad(
            "ScheduledEventId is not set on RequestCancelActivityTaskCommand.".to_owned(),
        ));
    }
    let pending = tx.run().activities.get(&scheduled_event_id);
    let asked_before = |activity: &&Activity| activity.progress.cancel_requested_event_id != 0;
    let Some(activity) = pending.filter(|activity| !asked_before(activity)).cloned() else {
        return Err(bad(format!(
            "invalid history builder state for action: add-activitytask-cancel-requested-event, ScheduledEventID: {scheduled_event_id}"
        )));
    };
    tx.event(ActivityTaskCancelRequestedEventAttributes {
        scheduled_event_id,
        workflow_task_completed_event_id: completed_event_id,
    });
    if activity.progress.started_time.is_none() && !activity.progress.closing {
        outcome.canceled_activities.push(scheduled_event_id);
    }
    Ok(())
}

/// Closes activities that were canceled before a worker had them.
pub(crate) fn cancel_unstarted(tx: &mut Transaction<'_>, canceled: &[i64], identity: &str) {
    for scheduled_event_id in canceled {
        let Some(activity) = tx.run().activities.get(scheduled_event_id) else {
            continue;
        };
        let latest_cancel_requested_event_id = activity.progress.cancel_requested_event_id;
        tx.event(ActivityTaskCanceledEventAttributes {
            details: Some(Payloads {
                payloads: vec![json_text("ACTIVITY_ID_NOT_STARTED")],
            }),
            latest_cancel_requested_event_id,
            scheduled_event_id: *scheduled_event_id,
            identity: identity.to_owned(),
            ..ActivityTaskCanceledEventAttributes::default()
        });
        tx.want_task();
    }
}
