//! History events. Persisted: names of fields and variants never change.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{
    ActivityType, Callback, Header, Link, Memo, MeteringMetadata, Payload, Payloads, Principal,
    Priority, RetryPolicy, SearchAttributes, TimeSkippingConfig, TimeSkippingStatePropagation,
    WorkerVersionStamp, WorkflowExecution, WorkflowType,
};
use crate::deployment::{Deployment, InheritedAutoUpgradeInfo, WorkerDeploymentVersion};
use crate::enums::{
    ActivityTaskFailedCause, CancelExternalWorkflowExecutionFailedCause, ContinueAsNewInitiator,
    ContinueAsNewVersioningBehavior, ParentClosePolicy, RetryState,
    SignalExternalWorkflowExecutionFailedCause, StartChildWorkflowExecutionFailedCause,
    SuggestContinueAsNewReason, TimeoutType, UpdateAdmittedEventOrigin, VersioningBehavior,
    WorkflowIdReusePolicy, WorkflowTaskFailedCause,
};
use crate::failure::Failure;
use crate::pb;
use crate::sdk::{EventGroupMarker, UserMetadata, WorkflowTaskCompletedMetadata};
use crate::taskqueue::TaskQueue;
use crate::time::Timestamp;
use crate::update::{Meta, Outcome, Request};
use crate::wire::{is_default, message, oneof};
use crate::workflow::{ResetPoints, VersioningOverride};
use serde::{Deserialize, Serialize};

message! {
    /// `temporal.api.history.v1.History`.
    History = pb::history::v1::History {
        events: Vec<HistoryEvent>,
    }
}

/// `temporal.api.history.v1.HistoryEvent`; its type follows from the attributes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEvent {
    #[serde(skip_serializing_if = "is_default")]
    pub event_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub event_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_default")]
    pub version: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub task_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub worker_may_ignore: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub user_metadata: Option<UserMetadata>,
    #[serde(skip_serializing_if = "is_default")]
    pub links: Vec<Link>,
    #[serde(skip_serializing_if = "is_default")]
    pub principal: Option<Principal>,
    #[serde(skip_serializing_if = "is_default")]
    pub event_group_markers: Vec<EventGroupMarker>,
    #[serde(skip_serializing_if = "is_default")]
    pub attributes: Option<HistoryEventAttributes>,
}

oneof! {
    shared
    /// The choice `attributes` of [`HistoryEvent`].
    HistoryEventAttributes = pb::history::v1::history_event::Attributes {
        WorkflowExecutionStarted = WorkflowExecutionStartedEventAttributes(WorkflowExecutionStartedEventAttributes),
        WorkflowExecutionCompleted = WorkflowExecutionCompletedEventAttributes(WorkflowExecutionCompletedEventAttributes),
        WorkflowExecutionFailed = WorkflowExecutionFailedEventAttributes(WorkflowExecutionFailedEventAttributes),
        WorkflowExecutionTimedOut = WorkflowExecutionTimedOutEventAttributes(WorkflowExecutionTimedOutEventAttributes),
        WorkflowTaskScheduled = WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes),
        WorkflowTaskStarted = WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes),
        WorkflowTaskCompleted = WorkflowTaskCompletedEventAttributes(WorkflowTaskCompletedEventAttributes),
        WorkflowTaskTimedOut = WorkflowTaskTimedOutEventAttributes(WorkflowTaskTimedOutEventAttributes),
        WorkflowTaskFailed = WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes),
        ActivityTaskScheduled = ActivityTaskScheduledEventAttributes(ActivityTaskScheduledEventAttributes),
        ActivityTaskStarted = ActivityTaskStartedEventAttributes(ActivityTaskStartedEventAttributes),
        ActivityTaskCompleted = ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes),
        ActivityTaskFailed = ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes),
        ActivityTaskTimedOut = ActivityTaskTimedOutEventAttributes(ActivityTaskTimedOutEventAttributes),
        TimerStarted = TimerStartedEventAttributes(TimerStartedEventAttributes),
        TimerFired = TimerFiredEventAttributes(TimerFiredEventAttributes),
        ActivityTaskCancelRequested = ActivityTaskCancelRequestedEventAttributes(ActivityTaskCancelRequestedEventAttributes),
        ActivityTaskCanceled = ActivityTaskCanceledEventAttributes(ActivityTaskCanceledEventAttributes),
        TimerCanceled = TimerCanceledEventAttributes(TimerCanceledEventAttributes),
        MarkerRecorded = MarkerRecordedEventAttributes(MarkerRecordedEventAttributes),
        WorkflowExecutionSignaled = WorkflowExecutionSignaledEventAttributes(WorkflowExecutionSignaledEventAttributes),
        WorkflowExecutionTerminated = WorkflowExecutionTerminatedEventAttributes(WorkflowExecutionTerminatedEventAttributes),
        WorkflowExecutionCancelRequested = WorkflowExecutionCancelRequestedEventAttributes(WorkflowExecutionCancelRequestedEventAttributes),
        WorkflowExecutionCanceled = WorkflowExecutionCanceledEventAttributes(WorkflowExecutionCanceledEventAttributes),
        RequestCancelExternalWorkflowExecutionInitiated = RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(RequestCancelExternalWorkflowExecutionInitiatedEventAttributes),
        RequestCancelExternalWorkflowExecutionFailed = RequestCancelExternalWorkflowExecutionFailedEventAttributes(RequestCancelExternalWorkflowExecutionFailedEventAttributes),
        ExternalWorkflowExecutionCancelRequested = ExternalWorkflowExecutionCancelRequestedEventAttributes(ExternalWorkflowExecutionCancelRequestedEventAttributes),
        WorkflowExecutionContinuedAsNew = WorkflowExecutionContinuedAsNewEventAttributes(WorkflowExecutionContinuedAsNewEventAttributes),
        StartChildWorkflowExecutionInitiated = StartChildWorkflowExecutionInitiatedEventAttributes(StartChildWorkflowExecutionInitiatedEventAttributes),
        StartChildWorkflowExecutionFailed = StartChildWorkflowExecutionFailedEventAttributes(StartChildWorkflowExecutionFailedEventAttributes),
        ChildWorkflowExecutionStarted = ChildWorkflowExecutionStartedEventAttributes(ChildWorkflowExecutionStartedEventAttributes),
        ChildWorkflowExecutionCompleted = ChildWorkflowExecutionCompletedEventAttributes(ChildWorkflowExecutionCompletedEventAttributes),
        ChildWorkflowExecutionFailed = ChildWorkflowExecutionFailedEventAttributes(ChildWorkflowExecutionFailedEventAttributes),
        ChildWorkflowExecutionCanceled = ChildWorkflowExecutionCanceledEventAttributes(ChildWorkflowExecutionCanceledEventAttributes),
        ChildWorkflowExecutionTimedOut = ChildWorkflowExecutionTimedOutEventAttributes(ChildWorkflowExecutionTimedOutEventAttributes),
        ChildWorkflowExecutionTerminated = ChildWorkflowExecutionTerminatedEventAttributes(ChildWorkflowExecutionTerminatedEventAttributes),
        SignalExternalWorkflowExecutionInitiated = SignalExternalWorkflowExecutionInitiatedEventAttributes(SignalExternalWorkflowExecutionInitiatedEventAttributes),
        SignalExternalWorkflowExecutionFailed = SignalExternalWorkflowExecutionFailedEventAttributes(SignalExternalWorkflowExecutionFailedEventAttributes),
        ExternalWorkflowExecutionSignaled = ExternalWorkflowExecutionSignaledEventAttributes(ExternalWorkflowExecutionSignaledEventAttributes),
        UpsertWorkflowSearchAttributes = UpsertWorkflowSearchAttributesEventAttributes(UpsertWorkflowSearchAttributesEventAttributes),
        WorkflowExecutionUpdateAccepted = WorkflowExecutionUpdateAcceptedEventAttributes(WorkflowExecutionUpdateAcceptedEventAttributes),
        WorkflowExecutionUpdateRejected = WorkflowExecutionUpdateRejectedEventAttributes(WorkflowExecutionUpdateRejectedEventAttributes),
        WorkflowExecutionUpdateCompleted = WorkflowExecutionUpdateCompletedEventAttributes(WorkflowExecutionUpdateCompletedEventAttributes),
        WorkflowPropertiesModifiedExternally = WorkflowPropertiesModifiedExternallyEventAttributes(WorkflowPropertiesModifiedExternallyEventAttributes),
        ActivityPropertiesModifiedExternally = ActivityPropertiesModifiedExternallyEventAttributes(ActivityPropertiesModifiedExternallyEventAttributes),
        WorkflowPropertiesModified = WorkflowPropertiesModifiedEventAttributes(WorkflowPropertiesModifiedEventAttributes),
        WorkflowExecutionUpdateAdmitted = WorkflowExecutionUpdateAdmittedEventAttributes(WorkflowExecutionUpdateAdmittedEventAttributes),
        NexusOperationScheduled = NexusOperationScheduledEventAttributes(NexusOperationScheduledEventAttributes),
        NexusOperationStarted = NexusOperationStartedEventAttributes(NexusOperationStartedEventAttributes),
        NexusOperationCompleted = NexusOperationCompletedEventAttributes(NexusOperationCompletedEventAttributes),
        NexusOperationFailed = NexusOperationFailedEventAttributes(NexusOperationFailedEventAttributes),
        NexusOperationCanceled = NexusOperationCanceledEventAttributes(NexusOperationCanceledEventAttributes),
        NexusOperationTimedOut = NexusOperationTimedOutEventAttributes(NexusOperationTimedOutEventAttributes),
        NexusOperationCancelRequested = NexusOperationCancelRequestedEventAttributes(NexusOperationCancelRequestedEventAttributes),
        WorkflowExecutionOptionsUpdated = WorkflowExecutionOptionsUpdatedEventAttributes(WorkflowExecutionOptionsUpdatedEventAttributes),
        NexusOperationCancelRequestCompleted = NexusOperationCancelRequestCompletedEventAttributes(NexusOperationCancelRequestCompletedEventAttributes),
        NexusOperationCancelRequestFailed = NexusOperationCancelRequestFailedEventAttributes(NexusOperationCancelRequestFailedEventAttributes),
        WorkflowExecutionPaused = WorkflowExecutionPausedEventAttributes(WorkflowExecutionPausedEventAttributes),
        WorkflowExecutionUnpaused = WorkflowExecutionUnpausedEventAttributes(WorkflowExecutionUnpausedEventAttributes),
        WorkflowExecutionTimeSkippingTransitioned = WorkflowExecutionTimeSkippingTransitionedEventAttributes(WorkflowExecutionTimeSkippingTransitionedEventAttributes),
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionStartedEventAttributes`.
    WorkflowExecutionStartedEventAttributes = pb::history::v1::WorkflowExecutionStartedEventAttributes {
        workflow_type: Option<WorkflowType>,
        parent_workflow_namespace: String,
        parent_workflow_namespace_id: String,
        parent_workflow_execution: Option<WorkflowExecution>,
        parent_initiated_event_id: i64,
        task_queue: Option<TaskQueue>,
        input: Option<Payloads>,
        workflow_execution_timeout: Option<Duration>,
        workflow_run_timeout: Option<Duration>,
        workflow_task_timeout: Option<Duration>,
        continued_execution_run_id: String,
        initiator: ContinueAsNewInitiator,
        continued_failure: Option<Failure>,
        last_completion_result: Option<Payloads>,
        original_execution_run_id: String,
        identity: String,
        first_execution_run_id: String,
        retry_policy: Option<RetryPolicy>,
        attempt: i32,
        workflow_execution_expiration_time: Option<Timestamp>,
        cron_schedule: String,
        first_workflow_task_backoff: Option<Duration>,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        prev_auto_reset_points: Option<ResetPoints>,
        header: Option<Header>,
        parent_initiated_event_version: i64,
        workflow_id: String,
        source_version_stamp: Option<WorkerVersionStamp>,
        completion_callbacks: Vec<Callback>,
        root_workflow_execution: Option<WorkflowExecution>,
        inherited_build_id: String,
        versioning_override: Option<VersioningOverride>,
        parent_pinned_worker_deployment_version: String,
        priority: Option<Priority>,
        inherited_pinned_version: Option<WorkerDeploymentVersion>,
        inherited_auto_upgrade_info: Option<InheritedAutoUpgradeInfo>,
        eager_execution_accepted: bool,
        declined_target_version_upgrade: Option<DeclinedTargetVersionUpgrade>,
        time_skipping_config: Option<TimeSkippingConfig>,
        time_skipping_state_propagation: Option<TimeSkippingStatePropagation>,
    }
}

message! {
    /// `temporal.api.history.v1.DeclinedTargetVersionUpgrade`.
    DeclinedTargetVersionUpgrade = pb::history::v1::DeclinedTargetVersionUpgrade {
        deployment_version: Option<WorkerDeploymentVersion>,
        revision_number: i64,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionCompletedEventAttributes`.
    WorkflowExecutionCompletedEventAttributes = pb::history::v1::WorkflowExecutionCompletedEventAttributes {
        result: Option<Payloads>,
        workflow_task_completed_event_id: i64,
        new_execution_run_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionFailedEventAttributes`.
    WorkflowExecutionFailedEventAttributes = pb::history::v1::WorkflowExecutionFailedEventAttributes {
        failure: Option<Failure>,
        retry_state: RetryState,
        workflow_task_completed_event_id: i64,
        new_execution_run_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionTimedOutEventAttributes`.
    WorkflowExecutionTimedOutEventAttributes = pb::history::v1::WorkflowExecutionTimedOutEventAttributes {
        retry_state: RetryState,
        new_execution_run_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowTaskScheduledEventAttributes`.
    WorkflowTaskScheduledEventAttributes = pb::history::v1::WorkflowTaskScheduledEventAttributes {
        task_queue: Option<TaskQueue>,
        start_to_close_timeout: Option<Duration>,
        attempt: i32,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowTaskStartedEventAttributes`.
    WorkflowTaskStartedEventAttributes = pb::history::v1::WorkflowTaskStartedEventAttributes {
        scheduled_event_id: i64,
        identity: String,
        request_id: String,
        suggest_continue_as_new: bool,
        suggest_continue_as_new_reasons: Vec<SuggestContinueAsNewReason>,
        target_worker_deployment_version_changed: bool,
        history_size_bytes: i64,
        worker_version: Option<WorkerVersionStamp>,
        build_id_redirect_counter: i64,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowTaskCompletedEventAttributes`.
    WorkflowTaskCompletedEventAttributes = pb::history::v1::WorkflowTaskCompletedEventAttributes {
        scheduled_event_id: i64,
        started_event_id: i64,
        identity: String,
        binary_checksum: String,
        worker_version: Option<WorkerVersionStamp>,
        sdk_metadata: Option<WorkflowTaskCompletedMetadata>,
        metering_metadata: Option<MeteringMetadata>,
        deployment: Option<Deployment>,
        versioning_behavior: VersioningBehavior,
        worker_deployment_version: String,
        worker_deployment_name: String,
        deployment_version: Option<WorkerDeploymentVersion>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowTaskTimedOutEventAttributes`.
    WorkflowTaskTimedOutEventAttributes = pb::history::v1::WorkflowTaskTimedOutEventAttributes {
        scheduled_event_id: i64,
        started_event_id: i64,
        timeout_type: TimeoutType,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowTaskFailedEventAttributes`.
    WorkflowTaskFailedEventAttributes = pb::history::v1::WorkflowTaskFailedEventAttributes {
        scheduled_event_id: i64,
        started_event_id: i64,
        cause: WorkflowTaskFailedCause,
        failure: Option<Failure>,
        identity: String,
        base_run_id: String,
        new_run_id: String,
        fork_event_version: i64,
        binary_checksum: String,
        worker_version: Option<WorkerVersionStamp>,
    }
}

message! {
    /// `temporal.api.history.v1.ActivityTaskScheduledEventAttributes`.
    ActivityTaskScheduledEventAttributes = pb::history::v1::ActivityTaskScheduledEventAttributes {
        activity_id: String,
        activity_type: Option<ActivityType>,
        task_queue: Option<TaskQueue>,
        header: Option<Header>,
        input: Option<Payloads>,
        schedule_to_close_timeout: Option<Duration>,
        schedule_to_start_timeout: Option<Duration>,
        start_to_close_timeout: Option<Duration>,
        heartbeat_timeout: Option<Duration>,
        workflow_task_completed_event_id: i64,
        retry_policy: Option<RetryPolicy>,
        use_workflow_build_id: bool,
        priority: Option<Priority>,
    }
}

message! {
    /// `temporal.api.history.v1.ActivityTaskStartedEventAttributes`.
    ActivityTaskStartedEventAttributes = pb::history::v1::ActivityTaskStartedEventAttributes {
        scheduled_event_id: i64,
        identity: String,
        request_id: String,
        attempt: i32,
        last_failure: Option<Failure>,
        worker_version: Option<WorkerVersionStamp>,
        build_id_redirect_counter: i64,
    }
}

message! {
    /// `temporal.api.history.v1.ActivityTaskCompletedEventAttributes`.
    ActivityTaskCompletedEventAttributes = pb::history::v1::ActivityTaskCompletedEventAttributes {
        result: Option<Payloads>,
        scheduled_event_id: i64,
        started_event_id: i64,
        identity: String,
        worker_version: Option<WorkerVersionStamp>,
    }
}

message! {
    /// `temporal.api.history.v1.ActivityTaskFailedEventAttributes`.
    ActivityTaskFailedEventAttributes = pb::history::v1::ActivityTaskFailedEventAttributes {
        failure: Option<Failure>,
        scheduled_event_id: i64,
        started_event_id: i64,
        identity: String,
        retry_state: RetryState,
        worker_version: Option<WorkerVersionStamp>,
        cause: ActivityTaskFailedCause,
    }
}

message! {
    /// `temporal.api.history.v1.ActivityTaskTimedOutEventAttributes`.
    ActivityTaskTimedOutEventAttributes = pb::history::v1::ActivityTaskTimedOutEventAttributes {
        failure: Option<Failure>,
        scheduled_event_id: i64,
        started_event_id: i64,
        retry_state: RetryState,
    }
}

message! {
    /// `temporal.api.history.v1.TimerStartedEventAttributes`.
    TimerStartedEventAttributes = pb::history::v1::TimerStartedEventAttributes {
        timer_id: String,
        start_to_fire_timeout: Option<Duration>,
        workflow_task_completed_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.TimerFiredEventAttributes`.
    TimerFiredEventAttributes = pb::history::v1::TimerFiredEventAttributes {
        timer_id: String,
        started_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.ActivityTaskCancelRequestedEventAttributes`.
    ActivityTaskCancelRequestedEventAttributes = pb::history::v1::ActivityTaskCancelRequestedEventAttributes {
        scheduled_event_id: i64,
        workflow_task_completed_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.ActivityTaskCanceledEventAttributes`.
    ActivityTaskCanceledEventAttributes = pb::history::v1::ActivityTaskCanceledEventAttributes {
        details: Option<Payloads>,
        latest_cancel_requested_event_id: i64,
        scheduled_event_id: i64,
        started_event_id: i64,
        identity: String,
        worker_version: Option<WorkerVersionStamp>,
    }
}

message! {
    /// `temporal.api.history.v1.TimerCanceledEventAttributes`.
    TimerCanceledEventAttributes = pb::history::v1::TimerCanceledEventAttributes {
        timer_id: String,
        started_event_id: i64,
        workflow_task_completed_event_id: i64,
        identity: String,
    }
}

message! {
    /// `temporal.api.history.v1.MarkerRecordedEventAttributes`.
    MarkerRecordedEventAttributes = pb::history::v1::MarkerRecordedEventAttributes {
        marker_name: String,
        details: BTreeMap<String, Payloads>,
        workflow_task_completed_event_id: i64,
        header: Option<Header>,
        failure: Option<Failure>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionSignaledEventAttributes`.
    WorkflowExecutionSignaledEventAttributes = pb::history::v1::WorkflowExecutionSignaledEventAttributes {
        signal_name: String,
        input: Option<Payloads>,
        identity: String,
        header: Option<Header>,
        skip_generate_workflow_task: bool,
        external_workflow_execution: Option<WorkflowExecution>,
        request_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionTerminatedEventAttributes`.
    WorkflowExecutionTerminatedEventAttributes = pb::history::v1::WorkflowExecutionTerminatedEventAttributes {
        reason: String,
        details: Option<Payloads>,
        identity: String,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionCancelRequestedEventAttributes`.
    WorkflowExecutionCancelRequestedEventAttributes = pb::history::v1::WorkflowExecutionCancelRequestedEventAttributes {
        cause: String,
        external_initiated_event_id: i64,
        external_workflow_execution: Option<WorkflowExecution>,
        identity: String,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionCanceledEventAttributes`.
    WorkflowExecutionCanceledEventAttributes = pb::history::v1::WorkflowExecutionCanceledEventAttributes {
        workflow_task_completed_event_id: i64,
        details: Option<Payloads>,
    }
}

message! {
    /// `temporal.api.history.v1.RequestCancelExternalWorkflowExecutionInitiatedEventAttributes`.
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes = pb::history::v1::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: i64,
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        control: String,
        child_workflow_only: bool,
        reason: String,
    }
}

message! {
    /// `temporal.api.history.v1.RequestCancelExternalWorkflowExecutionFailedEventAttributes`.
    RequestCancelExternalWorkflowExecutionFailedEventAttributes = pb::history::v1::RequestCancelExternalWorkflowExecutionFailedEventAttributes {
        cause: CancelExternalWorkflowExecutionFailedCause,
        workflow_task_completed_event_id: i64,
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        initiated_event_id: i64,
        control: String,
    }
}

message! {
    /// `temporal.api.history.v1.ExternalWorkflowExecutionCancelRequestedEventAttributes`.
    ExternalWorkflowExecutionCancelRequestedEventAttributes = pb::history::v1::ExternalWorkflowExecutionCancelRequestedEventAttributes {
        initiated_event_id: i64,
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionContinuedAsNewEventAttributes`.
    WorkflowExecutionContinuedAsNewEventAttributes = pb::history::v1::WorkflowExecutionContinuedAsNewEventAttributes {
        new_execution_run_id: String,
        workflow_type: Option<WorkflowType>,
        task_queue: Option<TaskQueue>,
        input: Option<Payloads>,
        workflow_run_timeout: Option<Duration>,
        workflow_task_timeout: Option<Duration>,
        workflow_task_completed_event_id: i64,
        backoff_start_interval: Option<Duration>,
        initiator: ContinueAsNewInitiator,
        failure: Option<Failure>,
        last_completion_result: Option<Payloads>,
        header: Option<Header>,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        inherit_build_id: bool,
        initial_versioning_behavior: ContinueAsNewVersioningBehavior,
    }
}

message! {
    /// `temporal.api.history.v1.StartChildWorkflowExecutionInitiatedEventAttributes`.
    StartChildWorkflowExecutionInitiatedEventAttributes = pb::history::v1::StartChildWorkflowExecutionInitiatedEventAttributes {
        namespace: String,
        namespace_id: String,
        workflow_id: String,
        workflow_type: Option<WorkflowType>,
        task_queue: Option<TaskQueue>,
        input: Option<Payloads>,
        workflow_execution_timeout: Option<Duration>,
        workflow_run_timeout: Option<Duration>,
        workflow_task_timeout: Option<Duration>,
        parent_close_policy: ParentClosePolicy,
        control: String,
        workflow_task_completed_event_id: i64,
        workflow_id_reuse_policy: WorkflowIdReusePolicy,
        retry_policy: Option<RetryPolicy>,
        cron_schedule: String,
        header: Option<Header>,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        inherit_build_id: bool,
        priority: Option<Priority>,
        time_skipping_config: Option<TimeSkippingConfig>,
        time_skipping_state_propagation: Option<TimeSkippingStatePropagation>,
        versioning_override: Option<VersioningOverride>,
    }
}

message! {
    /// `temporal.api.history.v1.StartChildWorkflowExecutionFailedEventAttributes`.
    StartChildWorkflowExecutionFailedEventAttributes = pb::history::v1::StartChildWorkflowExecutionFailedEventAttributes {
        namespace: String,
        namespace_id: String,
        workflow_id: String,
        workflow_type: Option<WorkflowType>,
        cause: StartChildWorkflowExecutionFailedCause,
        control: String,
        initiated_event_id: i64,
        workflow_task_completed_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.ChildWorkflowExecutionStartedEventAttributes`.
    ChildWorkflowExecutionStartedEventAttributes = pb::history::v1::ChildWorkflowExecutionStartedEventAttributes {
        namespace: String,
        namespace_id: String,
        initiated_event_id: i64,
        workflow_execution: Option<WorkflowExecution>,
        workflow_type: Option<WorkflowType>,
        header: Option<Header>,
    }
}

message! {
    /// `temporal.api.history.v1.ChildWorkflowExecutionCompletedEventAttributes`.
    ChildWorkflowExecutionCompletedEventAttributes = pb::history::v1::ChildWorkflowExecutionCompletedEventAttributes {
        result: Option<Payloads>,
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        workflow_type: Option<WorkflowType>,
        initiated_event_id: i64,
        started_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.ChildWorkflowExecutionFailedEventAttributes`.
    ChildWorkflowExecutionFailedEventAttributes = pb::history::v1::ChildWorkflowExecutionFailedEventAttributes {
        failure: Option<Failure>,
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        workflow_type: Option<WorkflowType>,
        initiated_event_id: i64,
        started_event_id: i64,
        retry_state: RetryState,
    }
}

message! {
    /// `temporal.api.history.v1.ChildWorkflowExecutionCanceledEventAttributes`.
    ChildWorkflowExecutionCanceledEventAttributes = pb::history::v1::ChildWorkflowExecutionCanceledEventAttributes {
        details: Option<Payloads>,
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        workflow_type: Option<WorkflowType>,
        initiated_event_id: i64,
        started_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.ChildWorkflowExecutionTimedOutEventAttributes`.
    ChildWorkflowExecutionTimedOutEventAttributes = pb::history::v1::ChildWorkflowExecutionTimedOutEventAttributes {
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        workflow_type: Option<WorkflowType>,
        initiated_event_id: i64,
        started_event_id: i64,
        retry_state: RetryState,
    }
}

message! {
    /// `temporal.api.history.v1.ChildWorkflowExecutionTerminatedEventAttributes`.
    ChildWorkflowExecutionTerminatedEventAttributes = pb::history::v1::ChildWorkflowExecutionTerminatedEventAttributes {
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        workflow_type: Option<WorkflowType>,
        initiated_event_id: i64,
        started_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.SignalExternalWorkflowExecutionInitiatedEventAttributes`.
    SignalExternalWorkflowExecutionInitiatedEventAttributes = pb::history::v1::SignalExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: i64,
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        signal_name: String,
        input: Option<Payloads>,
        control: String,
        child_workflow_only: bool,
        header: Option<Header>,
    }
}

message! {
    /// `temporal.api.history.v1.SignalExternalWorkflowExecutionFailedEventAttributes`.
    SignalExternalWorkflowExecutionFailedEventAttributes = pb::history::v1::SignalExternalWorkflowExecutionFailedEventAttributes {
        cause: SignalExternalWorkflowExecutionFailedCause,
        workflow_task_completed_event_id: i64,
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        initiated_event_id: i64,
        control: String,
    }
}

message! {
    /// `temporal.api.history.v1.ExternalWorkflowExecutionSignaledEventAttributes`.
    ExternalWorkflowExecutionSignaledEventAttributes = pb::history::v1::ExternalWorkflowExecutionSignaledEventAttributes {
        initiated_event_id: i64,
        namespace: String,
        namespace_id: String,
        workflow_execution: Option<WorkflowExecution>,
        control: String,
    }
}

message! {
    /// `temporal.api.history.v1.UpsertWorkflowSearchAttributesEventAttributes`.
    UpsertWorkflowSearchAttributesEventAttributes = pb::history::v1::UpsertWorkflowSearchAttributesEventAttributes {
        workflow_task_completed_event_id: i64,
        search_attributes: Option<SearchAttributes>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionUpdateAcceptedEventAttributes`.
    WorkflowExecutionUpdateAcceptedEventAttributes = pb::history::v1::WorkflowExecutionUpdateAcceptedEventAttributes {
        protocol_instance_id: String,
        accepted_request_message_id: String,
        accepted_request_sequencing_event_id: i64,
        accepted_request: Option<Request>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionUpdateRejectedEventAttributes`.
    WorkflowExecutionUpdateRejectedEventAttributes = pb::history::v1::WorkflowExecutionUpdateRejectedEventAttributes {
        protocol_instance_id: String,
        rejected_request_message_id: String,
        rejected_request_sequencing_event_id: i64,
        rejected_request: Option<Request>,
        failure: Option<Failure>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionUpdateCompletedEventAttributes`.
    WorkflowExecutionUpdateCompletedEventAttributes = pb::history::v1::WorkflowExecutionUpdateCompletedEventAttributes {
        meta: Option<Meta>,
        accepted_event_id: i64,
        outcome: Option<Outcome>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowPropertiesModifiedExternallyEventAttributes`.
    WorkflowPropertiesModifiedExternallyEventAttributes = pb::history::v1::WorkflowPropertiesModifiedExternallyEventAttributes {
        new_task_queue: String,
        new_workflow_task_timeout: Option<Duration>,
        new_workflow_run_timeout: Option<Duration>,
        new_workflow_execution_timeout: Option<Duration>,
        upserted_memo: Option<Memo>,
    }
}

message! {
    /// `temporal.api.history.v1.ActivityPropertiesModifiedExternallyEventAttributes`.
    ActivityPropertiesModifiedExternallyEventAttributes = pb::history::v1::ActivityPropertiesModifiedExternallyEventAttributes {
        scheduled_event_id: i64,
        new_retry_policy: Option<RetryPolicy>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowPropertiesModifiedEventAttributes`.
    WorkflowPropertiesModifiedEventAttributes = pb::history::v1::WorkflowPropertiesModifiedEventAttributes {
        workflow_task_completed_event_id: i64,
        upserted_memo: Option<Memo>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionUpdateAdmittedEventAttributes`.
    WorkflowExecutionUpdateAdmittedEventAttributes = pb::history::v1::WorkflowExecutionUpdateAdmittedEventAttributes {
        request: Option<Request>,
        origin: UpdateAdmittedEventOrigin,
    }
}

message! {
    /// `temporal.api.history.v1.NexusOperationScheduledEventAttributes`.
    NexusOperationScheduledEventAttributes = pb::history::v1::NexusOperationScheduledEventAttributes {
        endpoint: String,
        service: String,
        operation: String,
        input: Option<Payload>,
        schedule_to_close_timeout: Option<Duration>,
        nexus_header: BTreeMap<String, String>,
        workflow_task_completed_event_id: i64,
        request_id: String,
        endpoint_id: String,
        schedule_to_start_timeout: Option<Duration>,
        start_to_close_timeout: Option<Duration>,
    }
}

message! {
    /// `temporal.api.history.v1.NexusOperationStartedEventAttributes`.
    NexusOperationStartedEventAttributes = pb::history::v1::NexusOperationStartedEventAttributes {
        scheduled_event_id: i64,
        operation_id: String,
        request_id: String,
        operation_token: String,
    }
}

message! {
    /// `temporal.api.history.v1.NexusOperationCompletedEventAttributes`.
    NexusOperationCompletedEventAttributes = pb::history::v1::NexusOperationCompletedEventAttributes {
        scheduled_event_id: i64,
        result: Option<Payload>,
        request_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.NexusOperationFailedEventAttributes`.
    NexusOperationFailedEventAttributes = pb::history::v1::NexusOperationFailedEventAttributes {
        scheduled_event_id: i64,
        failure: Option<Failure>,
        request_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.NexusOperationCanceledEventAttributes`.
    NexusOperationCanceledEventAttributes = pb::history::v1::NexusOperationCanceledEventAttributes {
        scheduled_event_id: i64,
        failure: Option<Failure>,
        request_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.NexusOperationTimedOutEventAttributes`.
    NexusOperationTimedOutEventAttributes = pb::history::v1::NexusOperationTimedOutEventAttributes {
        scheduled_event_id: i64,
        failure: Option<Failure>,
        request_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.NexusOperationCancelRequestedEventAttributes`.
    NexusOperationCancelRequestedEventAttributes = pb::history::v1::NexusOperationCancelRequestedEventAttributes {
        scheduled_event_id: i64,
        workflow_task_completed_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionOptionsUpdatedEventAttributes`.
    WorkflowExecutionOptionsUpdatedEventAttributes = pb::history::v1::WorkflowExecutionOptionsUpdatedEventAttributes {
        versioning_override: Option<VersioningOverride>,
        unset_versioning_override: bool,
        attached_request_id: String,
        attached_completion_callbacks: Vec<Callback>,
        identity: String,
        priority: Option<Priority>,
        time_skipping_config: Option<TimeSkippingConfig>,
        time_skipping_config_updated: bool,
        workflow_update_options: Vec<WorkflowExecutionOptionsUpdatedEventAttributesWorkflowUpdateOptionsUpdate>,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionOptionsUpdatedEventAttributes.WorkflowUpdateOptionsUpdate`.
    WorkflowExecutionOptionsUpdatedEventAttributesWorkflowUpdateOptionsUpdate = pb::history::v1::workflow_execution_options_updated_event_attributes::WorkflowUpdateOptionsUpdate {
        update_id: String,
        attached_request_id: String,
        attached_completion_callbacks: Vec<Callback>,
    }
}

message! {
    /// `temporal.api.history.v1.NexusOperationCancelRequestCompletedEventAttributes`.
    NexusOperationCancelRequestCompletedEventAttributes = pb::history::v1::NexusOperationCancelRequestCompletedEventAttributes {
        requested_event_id: i64,
        workflow_task_completed_event_id: i64,
        scheduled_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.NexusOperationCancelRequestFailedEventAttributes`.
    NexusOperationCancelRequestFailedEventAttributes = pb::history::v1::NexusOperationCancelRequestFailedEventAttributes {
        requested_event_id: i64,
        workflow_task_completed_event_id: i64,
        failure: Option<Failure>,
        scheduled_event_id: i64,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionPausedEventAttributes`.
    WorkflowExecutionPausedEventAttributes = pb::history::v1::WorkflowExecutionPausedEventAttributes {
        identity: String,
        reason: String,
        request_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionUnpausedEventAttributes`.
    WorkflowExecutionUnpausedEventAttributes = pb::history::v1::WorkflowExecutionUnpausedEventAttributes {
        identity: String,
        reason: String,
        request_id: String,
    }
}

message! {
    /// `temporal.api.history.v1.WorkflowExecutionTimeSkippingTransitionedEventAttributes`.
    WorkflowExecutionTimeSkippingTransitionedEventAttributes = pb::history::v1::WorkflowExecutionTimeSkippingTransitionedEventAttributes {
        target_time: Option<Timestamp>,
        disabled_after_fast_forward: bool,
        wall_clock_time: Option<Timestamp>,
    }
}
