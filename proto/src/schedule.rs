//! Schedules, and the requests about them.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::common::{
    Header, Memo, Payloads, Priority, RetryPolicy, SearchAttributes, WorkflowExecution,
    WorkflowType,
};
use crate::enums::{ScheduleOverlapPolicy, WorkflowExecutionStatus, WorkflowIdReusePolicy};
use crate::event::HistoryEvent;
use crate::ids::{NamespaceId, WorkflowId};
use crate::pb;
use crate::sdk::UserMetadata;
use crate::service::StartWorkflowExecutionRequest;
use crate::taskqueue::TaskQueue;
use crate::time::Timestamp;
use crate::wire::{is_default, message, oneof};
use crate::workflow::VersioningOverride;

/// What stands before a schedule's id in the workflow id under which its partition keeps it.
pub const WORKFLOW_ID_PREFIX: &str = "temporal-sys-scheduler:";
/// The type that lists show of a schedule.
pub const WORKFLOW_TYPE: &str = "temporal-sys-scheduler-workflow";
/// The namespace division that tells schedules from workflows in lists.
pub const NAMESPACE_DIVISION: &str = "TemporalScheduler";
/// The field of a schedule's memo in lists that holds its [`ScheduleListInfo`] in MessagePack.
pub const LIST_INFO: &str = "ScheduleInfo";

/// The workflow id under which a schedule is kept.
pub fn workflow_id(schedule_id: &str) -> WorkflowId {
    format!("{WORKFLOW_ID_PREFIX}{schedule_id}").into()
}

/// The schedule that a workflow id stands for, if it stands for one.
pub fn schedule_id(workflow_id: &str) -> Option<&str> {
    workflow_id.strip_prefix(WORKFLOW_ID_PREFIX)
}

/// Starts a workflow for a schedule, which hears when its chain of runs has closed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartScheduledWorkflow {
    #[serde(skip_serializing_if = "is_default")]
    pub start: StartWorkflowExecutionRequest,
    /// None if nobody wants to hear of the end.
    #[serde(skip_serializing_if = "is_default")]
    pub watcher: Option<Watcher>,
}

/// Who hears that a chain of runs has closed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watcher {
    pub namespace_id: NamespaceId,
    pub workflow_id: WorkflowId,
    pub run_id: String,
    /// The request id by which the watcher started the chain.
    pub request_id: String,
}

/// Tells a schedule that a workflow it started has closed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduledWorkflowClosed {
    /// The schedule's run.
    pub run_id: String,
    pub request_id: String,
    /// The closing event of the last run of the chain.
    pub close_event: HistoryEvent,
}

message! {
    /// `temporal.api.schedule.v1.CalendarSpec`.
    CalendarSpec = pb::schedule::v1::CalendarSpec {
        second: String,
        minute: String,
        hour: String,
        day_of_month: String,
        month: String,
        year: String,
        day_of_week: String,
        comment: String,
    }
}

message! {
    /// `temporal.api.schedule.v1.Range`.
    Range = pb::schedule::v1::Range {
        start: i32,
        end: i32,
        step: i32,
    }
}

message! {
    /// `temporal.api.schedule.v1.StructuredCalendarSpec`.
    StructuredCalendarSpec = pb::schedule::v1::StructuredCalendarSpec {
        second: Vec<Range>,
        minute: Vec<Range>,
        hour: Vec<Range>,
        day_of_month: Vec<Range>,
        month: Vec<Range>,
        year: Vec<Range>,
        day_of_week: Vec<Range>,
        comment: String,
    }
}

message! {
    /// `temporal.api.schedule.v1.IntervalSpec`.
    IntervalSpec = pb::schedule::v1::IntervalSpec {
        interval: Option<Duration>,
        phase: Option<Duration>,
    }
}

message! {
    /// `temporal.api.schedule.v1.ScheduleSpec`.
    ScheduleSpec = pb::schedule::v1::ScheduleSpec {
        structured_calendar: Vec<StructuredCalendarSpec>,
        cron_string: Vec<String>,
        calendar: Vec<CalendarSpec>,
        interval: Vec<IntervalSpec>,
        exclude_calendar: Vec<CalendarSpec>,
        exclude_structured_calendar: Vec<StructuredCalendarSpec>,
        start_time: Option<Timestamp>,
        end_time: Option<Timestamp>,
        jitter: Option<Duration>,
        timezone_name: String,
        timezone_data: Bytes,
    }
}

message! {
    /// `temporal.api.schedule.v1.SchedulePolicies`.
    SchedulePolicies = pb::schedule::v1::SchedulePolicies {
        overlap_policy: ScheduleOverlapPolicy,
        catchup_window: Option<Duration>,
        pause_on_failure: bool,
        keep_original_workflow_id: bool,
    }
}

message! {
    /// `temporal.api.workflow.v1.NewWorkflowExecutionInfo`.
    NewWorkflowExecutionInfo = pb::workflow::v1::NewWorkflowExecutionInfo {
        workflow_id: String,
        workflow_type: Option<WorkflowType>,
        task_queue: Option<TaskQueue>,
        input: Option<Payloads>,
        workflow_execution_timeout: Option<Duration>,
        workflow_run_timeout: Option<Duration>,
        workflow_task_timeout: Option<Duration>,
        workflow_id_reuse_policy: WorkflowIdReusePolicy,
        retry_policy: Option<RetryPolicy>,
        cron_schedule: String,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        header: Option<Header>,
        user_metadata: Option<UserMetadata>,
        versioning_override: Option<VersioningOverride>,
        priority: Option<Priority>,
    }
}

message! {
    /// `temporal.api.schedule.v1.ScheduleAction`.
    ScheduleAction = pb::schedule::v1::ScheduleAction {
        action: Option<ScheduleActionAction>,
    }
}

oneof! {
    /// The choice `action` of [`ScheduleAction`].
    ScheduleActionAction = pb::schedule::v1::schedule_action::Action {
        StartWorkflow = StartWorkflow(NewWorkflowExecutionInfo),
    }
}

message! {
    /// `temporal.api.schedule.v1.ScheduleActionResult`.
    ScheduleActionResult = pb::schedule::v1::ScheduleActionResult {
        schedule_time: Option<Timestamp>,
        actual_time: Option<Timestamp>,
        start_workflow_result: Option<WorkflowExecution>,
        start_workflow_status: WorkflowExecutionStatus,
    }
}

message! {
    /// `temporal.api.schedule.v1.ScheduleState`.
    ScheduleState = pb::schedule::v1::ScheduleState {
        notes: String,
        paused: bool,
        limited_actions: bool,
        remaining_actions: i64,
    }
}

message! {
    /// `temporal.api.schedule.v1.TriggerImmediatelyRequest`.
    TriggerImmediatelyRequest = pb::schedule::v1::TriggerImmediatelyRequest {
        overlap_policy: ScheduleOverlapPolicy,
        scheduled_time: Option<Timestamp>,
    }
}

message! {
    /// `temporal.api.schedule.v1.BackfillRequest`.
    BackfillRequest = pb::schedule::v1::BackfillRequest {
        start_time: Option<Timestamp>,
        end_time: Option<Timestamp>,
        overlap_policy: ScheduleOverlapPolicy,
    }
}

message! {
    /// `temporal.api.schedule.v1.SchedulePatch`.
    SchedulePatch = pb::schedule::v1::SchedulePatch {
        trigger_immediately: Option<TriggerImmediatelyRequest>,
        backfill_request: Vec<BackfillRequest>,
        pause: String,
        unpause: String,
    }
}

message! {
    /// `temporal.api.schedule.v1.ScheduleInfo`.
    ScheduleInfo = pb::schedule::v1::ScheduleInfo {
        action_count: i64,
        missed_catchup_window: i64,
        overlap_skipped: i64,
        buffer_dropped: i64,
        buffer_size: i64,
        running_workflows: Vec<WorkflowExecution>,
        recent_actions: Vec<ScheduleActionResult>,
        future_action_times: Vec<Timestamp>,
        create_time: Option<Timestamp>,
        update_time: Option<Timestamp>,
        invalid_schedule_error: String,
        state_size_bytes: i64,
    }
}

message! {
    /// `temporal.api.schedule.v1.Schedule`.
    Schedule = pb::schedule::v1::Schedule {
        spec: Option<ScheduleSpec>,
        action: Option<ScheduleAction>,
        policies: Option<SchedulePolicies>,
        state: Option<ScheduleState>,
    }
}

message! {
    /// `temporal.api.schedule.v1.ScheduleListInfo`.
    ScheduleListInfo = pb::schedule::v1::ScheduleListInfo {
        spec: Option<ScheduleSpec>,
        workflow_type: Option<WorkflowType>,
        notes: String,
        paused: bool,
        recent_actions: Vec<ScheduleActionResult>,
        future_action_times: Vec<Timestamp>,
        state_size_bytes: i64,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.CreateScheduleRequest`.
    CreateScheduleRequest = pb::workflowservice::v1::CreateScheduleRequest {
        namespace: String,
        schedule_id: String,
        schedule: Option<Schedule>,
        initial_patch: Option<SchedulePatch>,
        identity: String,
        request_id: String,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.CreateScheduleResponse`.
    CreateScheduleResponse = pb::workflowservice::v1::CreateScheduleResponse {
        conflict_token: Bytes,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DescribeScheduleRequest`.
    DescribeScheduleRequest = pb::workflowservice::v1::DescribeScheduleRequest {
        namespace: String,
        schedule_id: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DescribeScheduleResponse`.
    DescribeScheduleResponse = pb::workflowservice::v1::DescribeScheduleResponse {
        schedule: Option<Schedule>,
        info: Option<ScheduleInfo>,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        conflict_token: Bytes,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.UpdateScheduleRequest`.
    UpdateScheduleRequest = pb::workflowservice::v1::UpdateScheduleRequest {
        namespace: String,
        schedule_id: String,
        schedule: Option<Schedule>,
        conflict_token: Bytes,
        identity: String,
        request_id: String,
        search_attributes: Option<SearchAttributes>,
        memo: Option<Memo>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.PatchScheduleRequest`.
    PatchScheduleRequest = pb::workflowservice::v1::PatchScheduleRequest {
        namespace: String,
        schedule_id: String,
        patch: Option<SchedulePatch>,
        identity: String,
        request_id: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DeleteScheduleRequest`.
    DeleteScheduleRequest = pb::workflowservice::v1::DeleteScheduleRequest {
        namespace: String,
        schedule_id: String,
        identity: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ListScheduleMatchingTimesRequest`.
    ListScheduleMatchingTimesRequest = pb::workflowservice::v1::ListScheduleMatchingTimesRequest {
        namespace: String,
        schedule_id: String,
        start_time: Option<Timestamp>,
        end_time: Option<Timestamp>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ListScheduleMatchingTimesResponse`.
    ListScheduleMatchingTimesResponse = pb::workflowservice::v1::ListScheduleMatchingTimesResponse {
        start_time: Vec<Timestamp>,
    }
}
