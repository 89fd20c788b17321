//! Executions as the API shows them.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::activity::ActivityOptions;
use crate::common::{
    ActivityType, Callback, Header, Link, Memo, Payloads, Priority, SearchAttributes,
    TimeSkippingConfig, TimeSkippingInfo, WorkerVersionStamp, WorkflowExecution, WorkflowType,
};
use crate::deployment::{Deployment, WorkerDeploymentVersion};
use crate::enums::{
    CallbackState, ContinueAsNewVersioningBehavior, EventType, NexusOperationCancellationState,
    ParentClosePolicy, PendingActivityState, PendingNexusOperationState, PendingWorkflowTaskState,
    VersioningBehavior, VersioningOverridePinnedOverrideBehavior, WorkflowExecutionStatus,
};
use crate::failure::Failure;
use crate::pb;
use crate::sdk::UserMetadata;
use crate::taskqueue::TaskQueue;
use crate::time::Timestamp;
use crate::wire::{Empty, FieldMask};
use crate::wire::{message, oneof};

message! {
    /// `temporal.api.workflow.v1.VersioningOverride`.
    VersioningOverride = pb::workflow::v1::VersioningOverride {
        r#override: Option<VersioningOverrideOverride>,
        behavior: VersioningBehavior,
        deployment: Option<Deployment>,
        pinned_version: String,
    }
}

oneof! {
    /// The choice `override` of [`VersioningOverride`].
    VersioningOverrideOverride = pb::workflow::v1::versioning_override::Override {
        Pinned = Pinned(VersioningOverridePinnedOverride),
        AutoUpgrade = AutoUpgrade(bool),
        OneTime = OneTime(VersioningOverrideOneTimeOverride),
    }
}

message! {
    /// `temporal.api.workflow.v1.VersioningOverride.PinnedOverride`.
    VersioningOverridePinnedOverride = pb::workflow::v1::versioning_override::PinnedOverride {
        behavior: VersioningOverridePinnedOverrideBehavior,
        version: Option<WorkerDeploymentVersion>,
    }
}

message! {
    /// `temporal.api.workflow.v1.VersioningOverride.OneTimeOverride`.
    VersioningOverrideOneTimeOverride = pb::workflow::v1::versioning_override::OneTimeOverride {
        target_deployment_version: Option<WorkerDeploymentVersion>,
    }
}

message! {
    /// `temporal.api.workflow.v1.OnConflictOptions`.
    OnConflictOptions = pb::workflow::v1::OnConflictOptions {
        attach_request_id: bool,
        attach_completion_callbacks: bool,
        attach_links: bool,
    }
}

message! {
    /// `temporal.api.workflow.v1.ResetPoints`.
    ResetPoints = pb::workflow::v1::ResetPoints {
        points: Vec<ResetPointInfo>,
    }
}

message! {
    /// `temporal.api.workflow.v1.ResetPointInfo`.
    ResetPointInfo = pb::workflow::v1::ResetPointInfo {
        build_id: String,
        binary_checksum: String,
        run_id: String,
        first_workflow_task_completed_id: i64,
        create_time: Option<Timestamp>,
        expire_time: Option<Timestamp>,
        resettable: bool,
    }
}

message! {
    /// `temporal.api.workflow.v1.PostResetOperation`.
    PostResetOperation = pb::workflow::v1::PostResetOperation {
        variant: Option<PostResetOperationVariant>,
    }
}

oneof! {
    /// The choice `variant` of [`PostResetOperation`].
    PostResetOperationVariant = pb::workflow::v1::post_reset_operation::Variant {
        SignalWorkflow = SignalWorkflow(PostResetOperationSignalWorkflow),
        UpdateWorkflowOptions = UpdateWorkflowOptions(PostResetOperationUpdateWorkflowOptions),
    }
}

message! {
    /// `temporal.api.workflow.v1.PostResetOperation.SignalWorkflow`.
    PostResetOperationSignalWorkflow = pb::workflow::v1::post_reset_operation::SignalWorkflow {
        signal_name: String,
        input: Option<Payloads>,
        header: Option<Header>,
        links: Vec<Link>,
    }
}

message! {
    /// `temporal.api.workflow.v1.PostResetOperation.UpdateWorkflowOptions`.
    PostResetOperationUpdateWorkflowOptions = pb::workflow::v1::post_reset_operation::UpdateWorkflowOptions {
        workflow_execution_options: Option<WorkflowExecutionOptions>,
        update_mask: Option<FieldMask>,
    }
}

message! {
    /// `temporal.api.workflow.v1.WorkflowExecutionOptions`.
    WorkflowExecutionOptions = pb::workflow::v1::WorkflowExecutionOptions {
        versioning_override: Option<VersioningOverride>,
        priority: Option<Priority>,
        time_skipping_config: Option<TimeSkippingConfig>,
    }
}

message! {
    /// `temporal.api.workflow.v1.WorkflowExecutionConfig`.
    WorkflowExecutionConfig = pb::workflow::v1::WorkflowExecutionConfig {
        task_queue: Option<TaskQueue>,
        workflow_execution_timeout: Option<Duration>,
        workflow_run_timeout: Option<Duration>,
        default_workflow_task_timeout: Option<Duration>,
        user_metadata: Option<UserMetadata>,
    }
}

message! {
    /// `temporal.api.workflow.v1.WorkflowExecutionInfo`.
    WorkflowExecutionInfo = pb::workflow::v1::WorkflowExecutionInfo {
        execution: Option<WorkflowExecution>,
        r#type: Option<WorkflowType>,
        start_time: Option<Timestamp>,
        close_time: Option<Timestamp>,
        status: WorkflowExecutionStatus,
        history_length: i64,
        parent_namespace_id: String,
        parent_execution: Option<WorkflowExecution>,
        execution_time: Option<Timestamp>,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        auto_reset_points: Option<ResetPoints>,
        task_queue: String,
        state_transition_count: i64,
        history_size_bytes: i64,
        most_recent_worker_version_stamp: Option<WorkerVersionStamp>,
        execution_duration: Option<Duration>,
        root_execution: Option<WorkflowExecution>,
        assigned_build_id: String,
        inherited_build_id: String,
        first_run_id: String,
        versioning_info: Option<WorkflowExecutionVersioningInfo>,
        worker_deployment_name: String,
        priority: Option<Priority>,
        external_payload_size_bytes: i64,
        external_payload_count: i64,
    }
}

message! {
    /// `temporal.api.workflow.v1.WorkflowExecutionVersioningInfo`.
    WorkflowExecutionVersioningInfo = pb::workflow::v1::WorkflowExecutionVersioningInfo {
        behavior: VersioningBehavior,
        deployment: Option<Deployment>,
        version: String,
        deployment_version: Option<WorkerDeploymentVersion>,
        versioning_override: Option<VersioningOverride>,
        deployment_transition: Option<DeploymentTransition>,
        version_transition: Option<DeploymentVersionTransition>,
        revision_number: i64,
        continue_as_new_initial_versioning_behavior: ContinueAsNewVersioningBehavior,
    }
}

message! {
    /// `temporal.api.workflow.v1.DeploymentTransition`.
    DeploymentTransition = pb::workflow::v1::DeploymentTransition {
        deployment: Option<Deployment>,
    }
}

message! {
    /// `temporal.api.workflow.v1.DeploymentVersionTransition`.
    DeploymentVersionTransition = pb::workflow::v1::DeploymentVersionTransition {
        version: String,
        deployment_version: Option<WorkerDeploymentVersion>,
    }
}

message! {
    /// `temporal.api.workflow.v1.PendingActivityInfo`.
    PendingActivityInfo = pb::workflow::v1::PendingActivityInfo {
        activity_id: String,
        activity_type: Option<ActivityType>,
        state: PendingActivityState,
        heartbeat_details: Option<Payloads>,
        last_heartbeat_time: Option<Timestamp>,
        last_started_time: Option<Timestamp>,
        attempt: i32,
        maximum_attempts: i32,
        scheduled_time: Option<Timestamp>,
        expiration_time: Option<Timestamp>,
        last_failure: Option<Failure>,
        last_worker_identity: String,
        assigned_build_id: Option<PendingActivityInfoAssignedBuildId>,
        last_worker_version_stamp: Option<WorkerVersionStamp>,
        current_retry_interval: Option<Duration>,
        last_attempt_complete_time: Option<Timestamp>,
        next_attempt_schedule_time: Option<Timestamp>,
        paused: bool,
        last_deployment: Option<Deployment>,
        last_worker_deployment_version: String,
        last_deployment_version: Option<WorkerDeploymentVersion>,
        priority: Option<Priority>,
        pause_info: Option<PendingActivityInfoPauseInfo>,
        activity_options: Option<ActivityOptions>,
    }
}

oneof! {
    /// The choice `assigned_build_id` of [`PendingActivityInfo`].
    PendingActivityInfoAssignedBuildId = pb::workflow::v1::pending_activity_info::AssignedBuildId {
        UseWorkflowBuildId = UseWorkflowBuildId(Empty),
        LastIndependentlyAssignedBuildId = LastIndependentlyAssignedBuildId(String),
    }
}

message! {
    /// `temporal.api.workflow.v1.PendingActivityInfo.PauseInfo`.
    PendingActivityInfoPauseInfo = pb::workflow::v1::pending_activity_info::PauseInfo {
        pause_time: Option<Timestamp>,
        paused_by: Option<PendingActivityInfoPauseInfoPausedBy>,
    }
}

oneof! {
    /// The choice `paused_by` of [`PendingActivityInfoPauseInfo`].
    PendingActivityInfoPauseInfoPausedBy = pb::workflow::v1::pending_activity_info::pause_info::PausedBy {
        Manual = Manual(PendingActivityInfoPauseInfoManual),
        Rule = Rule(PendingActivityInfoPauseInfoRule),
    }
}

message! {
    /// `temporal.api.workflow.v1.PendingActivityInfo.PauseInfo.Manual`.
    PendingActivityInfoPauseInfoManual = pb::workflow::v1::pending_activity_info::pause_info::Manual {
        identity: String,
        reason: String,
    }
}

message! {
    /// `temporal.api.workflow.v1.PendingActivityInfo.PauseInfo.Rule`.
    PendingActivityInfoPauseInfoRule = pb::workflow::v1::pending_activity_info::pause_info::Rule {
        rule_id: String,
        identity: String,
        reason: String,
    }
}

message! {
    /// `temporal.api.workflow.v1.PendingChildExecutionInfo`.
    PendingChildExecutionInfo = pb::workflow::v1::PendingChildExecutionInfo {
        workflow_id: String,
        run_id: String,
        workflow_type_name: String,
        initiated_id: i64,
        parent_close_policy: ParentClosePolicy,
    }
}

message! {
    /// `temporal.api.workflow.v1.PendingWorkflowTaskInfo`.
    PendingWorkflowTaskInfo = pb::workflow::v1::PendingWorkflowTaskInfo {
        state: PendingWorkflowTaskState,
        scheduled_time: Option<Timestamp>,
        original_scheduled_time: Option<Timestamp>,
        started_time: Option<Timestamp>,
        attempt: i32,
    }
}

message! {
    /// `temporal.api.workflow.v1.CallbackInfo`.
    CallbackInfo = pb::workflow::v1::CallbackInfo {
        callback: Option<Callback>,
        trigger: Option<CallbackInfoTrigger>,
        registration_time: Option<Timestamp>,
        state: CallbackState,
        attempt: i32,
        last_attempt_complete_time: Option<Timestamp>,
        last_attempt_failure: Option<Failure>,
        next_attempt_schedule_time: Option<Timestamp>,
        blocked_reason: String,
        request_id: String,
    }
}

message! {
    /// `temporal.api.workflow.v1.CallbackInfo.Trigger`.
    CallbackInfoTrigger = pb::workflow::v1::callback_info::Trigger {
        variant: Option<CallbackInfoTriggerVariant>,
    }
}

oneof! {
    /// The choice `variant` of [`CallbackInfoTrigger`].
    CallbackInfoTriggerVariant = pb::workflow::v1::callback_info::trigger::Variant {
        WorkflowClosed = WorkflowClosed(CallbackInfoWorkflowClosed),
        UpdateWorkflowExecutionCompleted = UpdateWorkflowExecutionCompleted(CallbackInfoUpdateWorkflowExecutionCompleted),
    }
}

message! {
    /// `temporal.api.workflow.v1.CallbackInfo.WorkflowClosed`.
    CallbackInfoWorkflowClosed = pb::workflow::v1::callback_info::WorkflowClosed {
    }
}

message! {
    /// `temporal.api.workflow.v1.CallbackInfo.UpdateWorkflowExecutionCompleted`.
    CallbackInfoUpdateWorkflowExecutionCompleted = pb::workflow::v1::callback_info::UpdateWorkflowExecutionCompleted {
        update_id: String,
    }
}

message! {
    /// `temporal.api.workflow.v1.PendingNexusOperationInfo`.
    PendingNexusOperationInfo = pb::workflow::v1::PendingNexusOperationInfo {
        endpoint: String,
        service: String,
        operation: String,
        operation_id: String,
        schedule_to_close_timeout: Option<Duration>,
        scheduled_time: Option<Timestamp>,
        state: PendingNexusOperationState,
        attempt: i32,
        last_attempt_complete_time: Option<Timestamp>,
        last_attempt_failure: Option<Failure>,
        next_attempt_schedule_time: Option<Timestamp>,
        cancellation_info: Option<NexusOperationCancellationInfo>,
        scheduled_event_id: i64,
        blocked_reason: String,
        operation_token: String,
        schedule_to_start_timeout: Option<Duration>,
        start_to_close_timeout: Option<Duration>,
    }
}

message! {
    /// `temporal.api.workflow.v1.NexusOperationCancellationInfo`.
    NexusOperationCancellationInfo = pb::workflow::v1::NexusOperationCancellationInfo {
        requested_time: Option<Timestamp>,
        state: NexusOperationCancellationState,
        attempt: i32,
        last_attempt_complete_time: Option<Timestamp>,
        last_attempt_failure: Option<Failure>,
        next_attempt_schedule_time: Option<Timestamp>,
        blocked_reason: String,
    }
}

message! {
    /// `temporal.api.workflow.v1.WorkflowExecutionExtendedInfo`.
    WorkflowExecutionExtendedInfo = pb::workflow::v1::WorkflowExecutionExtendedInfo {
        execution_expiration_time: Option<Timestamp>,
        run_expiration_time: Option<Timestamp>,
        cancel_requested: bool,
        last_reset_time: Option<Timestamp>,
        original_start_time: Option<Timestamp>,
        reset_run_id: String,
        request_id_infos: BTreeMap<String, RequestIdInfo>,
        pause_info: Option<WorkflowExecutionPauseInfo>,
        time_skipping_info: Option<TimeSkippingInfo>,
    }
}

message! {
    /// `temporal.api.workflow.v1.RequestIdInfo`.
    RequestIdInfo = pb::workflow::v1::RequestIdInfo {
        event_type: EventType,
        event_id: i64,
        buffered: bool,
    }
}

message! {
    /// `temporal.api.workflow.v1.WorkflowExecutionPauseInfo`.
    WorkflowExecutionPauseInfo = pb::workflow::v1::WorkflowExecutionPauseInfo {
        identity: String,
        paused_time: Option<Timestamp>,
        reason: String,
    }
}
