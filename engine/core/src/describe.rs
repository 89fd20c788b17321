//! The answer to a describe request.

use fermata_proto::activity::ActivityOptions;
use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::*;
use fermata_proto::rpc::Rejection;
use fermata_proto::service::DescribeWorkflowExecutionResponse;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;
use fermata_proto::workflow::*;

use crate::decision::View;
use crate::find;
use crate::run::{Activity, Run};
use crate::workflow_task;

/// How a run stands; an empty `run_id` means the current one.
///
/// # Errors
/// NOT_FOUND.
pub fn describe(
    view: &View<'_>,
    run_id: &str,
    now: Timestamp,
) -> Result<DescribeWorkflowExecutionResponse, Rejection> {
    let workflow_id = view
        .current
        .or(view.run)
        .map_or_else(|| "unknown".to_owned(), |run| run.workflow_id.0.clone());
    let run_id = run_id.to_owned();
    let execution = WorkflowExecution {
        workflow_id,
        run_id,
    };
    describe_execution(view, Some(&execution), now)
}

/// How the named run stands.
///
/// # Errors
/// As [`find::run`].
pub fn describe_execution(
    view: &View<'_>,
    execution: Option<&WorkflowExecution>,
    now: Timestamp,
) -> Result<DescribeWorkflowExecutionResponse, Rejection> {
    Ok(response(find::run(view, execution)?, now))
}

fn response(run: &Run, now: Timestamp) -> DescribeWorkflowExecutionResponse {
    let started = &run.started;
    DescribeWorkflowExecutionResponse {
        execution_config: Some(WorkflowExecutionConfig {
            task_queue: Some(workflow_task::normal_queue(run)),
            workflow_execution_timeout: started.workflow_execution_timeout,
            workflow_run_timeout: started.workflow_run_timeout,
            default_workflow_task_timeout: started.workflow_task_timeout,
            user_metadata: run.user_metadata.clone(),
        }),
        workflow_execution_info: Some(run.info()),
        pending_activities: run
            .activities
            .values()
            .map(|activity| pending_activity(activity, now))
            .collect(),
        pending_children: run
            .children
            .iter()
            .map(|(initiated_id, child)| PendingChildExecutionInfo {
                workflow_id: child.initiated.workflow_id.clone(),
                run_id: child.progress.run_id.clone(),
                workflow_type_name: child
                    .initiated
                    .workflow_type
                    .clone()
                    .unwrap_or_default()
                    .name,
                initiated_id: *initiated_id,
                parent_close_policy: child.initiated.parent_close_policy,
            })
            .collect(),
        pending_workflow_task: run
            .workflow_task
            .as_ref()
            .map(|task| PendingWorkflowTaskInfo {
                state: if task.is_started() {
                    PendingWorkflowTaskState::Started
                } else {
                    PendingWorkflowTaskState::Scheduled
                },
                scheduled_time: Some(task.scheduled_time),
                original_scheduled_time: Some(task.original_scheduled_time),
                started_time: task.started_time,
                attempt: task.attempt,
            }),
        workflow_extended_info: Some(WorkflowExecutionExtendedInfo {
            execution_expiration_time: started.workflow_execution_expiration_time,
            // A run without a time-out expires at the zero of time.
            run_expiration_time: Some(run.run_deadline().unwrap_or_default()),
            cancel_requested: run.cancel_requested,
            last_reset_time: run.reset_from.as_ref().map(|from| from.time),
            original_start_time: Some(
                run.reset_from
                    .as_ref()
                    .map_or(run.start_time, |from| from.original_start_time),
            ),
            reset_run_id: run
                .reset_to
                .as_ref()
                .map(|to| to.run_id.clone())
                .unwrap_or_default(),
            request_id_infos: run
                .request_ids
                .iter()
                .filter(|(_, record)| {
                    matches!(
                        record.event_type,
                        EventType::WorkflowExecutionStarted
                            | EventType::WorkflowExecutionOptionsUpdated
                    )
                })
                .map(|(request_id, record)| {
                    let info = RequestIdInfo {
                        event_type: record.event_type,
                        event_id: record.event_id,
                        buffered: record.event_id == 0,
                    };
                    (request_id.clone(), info)
                })
                .collect(),
            ..WorkflowExecutionExtendedInfo::default()
        }),
        ..DescribeWorkflowExecutionResponse::default()
    }
}

fn pending_activity(activity: &Activity, now: Timestamp) -> PendingActivityInfo {
    let (scheduled, progress) = (&activity.scheduled, &activity.progress);
    let queue = scheduled.task_queue.clone().unwrap_or_default().name;
    let retry = scheduled.retry_policy.clone().unwrap_or_default();
    let in_backoff = progress.waiting && !progress.paused && progress.attempt_scheduled_time > now;
    PendingActivityInfo {
        activity_id: scheduled.activity_id.clone(),
        activity_type: scheduled.activity_type.clone(),
        state: if progress.cancel_requested_event_id != 0 {
            PendingActivityState::CancelRequested
        } else if progress.started_time.is_some() && progress.paused {
            PendingActivityState::PauseRequested
        } else if progress.started_time.is_some() {
            PendingActivityState::Started
        } else if progress.paused {
            PendingActivityState::Paused
        } else {
            PendingActivityState::Scheduled
        },
        heartbeat_details: progress.heartbeat_details.clone(),
        last_heartbeat_time: progress.last_heartbeat_time,
        last_started_time: progress.started_time,
        attempt: if progress.reset_requested || progress.attempts_reset {
            1
        } else {
            progress.attempt
        },
        maximum_attempts: retry.maximum_attempts,
        scheduled_time: Some(progress.attempt_scheduled_time)
            .filter(|_| !in_backoff)
            .or(Some(activity.scheduled_time)),
        expiration_time: scheduled
            .schedule_to_close_timeout
            .filter(|timeout| !timeout.is_zero())
            .map(|timeout| activity.scheduled_time + timeout),
        last_failure: progress.last_failure.as_deref().cloned(),
        last_worker_identity: progress.last_worker_identity.clone(),
        current_retry_interval: in_backoff.then(|| {
            progress
                .attempt_scheduled_time
                .since(progress.last_attempt_complete_time.unwrap_or(now))
        }),
        last_attempt_complete_time: progress.last_attempt_complete_time,
        next_attempt_schedule_time: in_backoff.then_some(progress.attempt_scheduled_time),
        paused: progress.paused,
        pause_info: progress.pause_info.as_deref().cloned(),
        priority: scheduled.priority.clone(),
        activity_options: Some(ActivityOptions {
            task_queue: Some(TaskQueue {
                name: queue.clone(),
                normal_name: queue,
                ..TaskQueue::default()
            }),
            schedule_to_close_timeout: scheduled.schedule_to_close_timeout,
            schedule_to_start_timeout: scheduled.schedule_to_start_timeout,
            start_to_close_timeout: scheduled.start_to_close_timeout,
            heartbeat_timeout: scheduled.heartbeat_timeout,
            retry_policy: scheduled.retry_policy.clone(),
            priority: scheduled.priority.clone(),
            ..ActivityOptions::default()
        }),
        ..PendingActivityInfo::default()
    }
}
