//! Requests and responses of Temporal's WorkflowService.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::activity::ActivityOptions;
use crate::command::Command;
use crate::common::{
    ActivityType, Callback, DataBlob, Header, Link, Memo, MeteringMetadata, Payloads, Priority,
    RetryPolicy, SearchAttributes, TimeSkippingConfig, WorkerVersionCapabilities,
    WorkerVersionStamp, WorkflowExecution, WorkflowType,
};
use crate::deployment::{Deployment, WorkerDeploymentOptions};
use crate::enums::{
    ActivityTaskFailedCause, ArchivalState, DescribeTaskQueueMode, HistoryEventFilterType,
    QueryRejectCondition, QueryResultType, RateLimitSource, ResetReapplyExcludeType,
    ResetReapplyType, TaskQueueType, UpdateWorkflowExecutionLifecycleStage, VersioningBehavior,
    WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
    WorkflowTaskFailedCause,
};
use crate::event::History;
use crate::failure::Failure;
use crate::namespace::{NamespaceConfig, NamespaceFilter, NamespaceInfo, UpdateNamespaceInfo};
use crate::pb;
use crate::protocol::Message;
use crate::query::{QueryRejected, WorkflowQuery, WorkflowQueryResult};
use crate::replication::{ClusterReplicationConfig, FailoverStatus, NamespaceReplicationConfig};
use crate::sdk::{UserMetadata, WorkflowTaskCompletedMetadata};
use crate::taskqueue::{
    PollerGroupInfo, PollerGroupsInfo, PollerInfo, PollerScalingDecision,
    StickyExecutionAttributes, TaskQueue, TaskQueueConfig, TaskQueueMetadata, TaskQueueStats,
    TaskQueueStatus, TaskQueueVersionInfo, TaskQueueVersionSelection, TaskQueueVersioningInfo,
};
use crate::time::Timestamp;
use crate::update::{Outcome, Request, UpdateRef, WaitPolicy};
use crate::wire::FieldMask;
use crate::wire::{message, oneof};
use crate::worker::WorkerHeartbeat;
use crate::workflow::{
    CallbackInfo, OnConflictOptions, PendingActivityInfo, PendingChildExecutionInfo,
    PendingNexusOperationInfo, PendingWorkflowTaskInfo, PostResetOperation, VersioningOverride,
    WorkflowExecutionConfig, WorkflowExecutionExtendedInfo, WorkflowExecutionInfo,
};

message! {
    /// `temporal.api.workflowservice.v1.StartWorkflowExecutionRequest`.
    StartWorkflowExecutionRequest = pb::workflowservice::v1::StartWorkflowExecutionRequest {
        namespace: String,
        workflow_id: String,
        workflow_type: Option<WorkflowType>,
        task_queue: Option<TaskQueue>,
        input: Option<Payloads>,
        workflow_execution_timeout: Option<Duration>,
        workflow_run_timeout: Option<Duration>,
        workflow_task_timeout: Option<Duration>,
        identity: String,
        request_id: String,
        workflow_id_reuse_policy: WorkflowIdReusePolicy,
        workflow_id_conflict_policy: WorkflowIdConflictPolicy,
        retry_policy: Option<RetryPolicy>,
        cron_schedule: String,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        header: Option<Header>,
        request_eager_execution: bool,
        continued_failure: Option<Failure>,
        last_completion_result: Option<Payloads>,
        workflow_start_delay: Option<Duration>,
        completion_callbacks: Vec<Callback>,
        user_metadata: Option<UserMetadata>,
        links: Vec<Link>,
        versioning_override: Option<VersioningOverride>,
        on_conflict_options: Option<OnConflictOptions>,
        priority: Option<Priority>,
        eager_worker_deployment_options: Option<WorkerDeploymentOptions>,
        time_skipping_config: Option<TimeSkippingConfig>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.StartWorkflowExecutionResponse`.
    StartWorkflowExecutionResponse = pb::workflowservice::v1::StartWorkflowExecutionResponse {
        run_id: String,
        first_execution_run_id: String,
        started: bool,
        status: WorkflowExecutionStatus,
        eager_workflow_task: Option<PollWorkflowTaskQueueResponse>,
        link: Option<Link>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.PollWorkflowTaskQueueResponse`.
    PollWorkflowTaskQueueResponse = pb::workflowservice::v1::PollWorkflowTaskQueueResponse {
        task_token: Bytes,
        workflow_execution: Option<WorkflowExecution>,
        workflow_type: Option<WorkflowType>,
        previous_started_event_id: i64,
        started_event_id: i64,
        attempt: i32,
        backlog_count_hint: i64,
        history: Option<History>,
        next_page_token: Bytes,
        query: Option<WorkflowQuery>,
        workflow_execution_task_queue: Option<TaskQueue>,
        scheduled_time: Option<Timestamp>,
        started_time: Option<Timestamp>,
        queries: BTreeMap<String, WorkflowQuery>,
        messages: Vec<Message>,
        poller_scaling_decision: Option<PollerScalingDecision>,
        poller_group_id: String,
        poller_group_infos: Vec<PollerGroupInfo>,
        poller_groups_info: Option<PollerGroupsInfo>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionRequest`.
    SignalWithStartWorkflowExecutionRequest = pb::workflowservice::v1::SignalWithStartWorkflowExecutionRequest {
        namespace: String,
        workflow_id: String,
        workflow_type: Option<WorkflowType>,
        task_queue: Option<TaskQueue>,
        input: Option<Payloads>,
        workflow_execution_timeout: Option<Duration>,
        workflow_run_timeout: Option<Duration>,
        workflow_task_timeout: Option<Duration>,
        identity: String,
        request_id: String,
        workflow_id_reuse_policy: WorkflowIdReusePolicy,
        workflow_id_conflict_policy: WorkflowIdConflictPolicy,
        signal_name: String,
        signal_input: Option<Payloads>,
        control: String,
        retry_policy: Option<RetryPolicy>,
        cron_schedule: String,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        header: Option<Header>,
        workflow_start_delay: Option<Duration>,
        user_metadata: Option<UserMetadata>,
        links: Vec<Link>,
        versioning_override: Option<VersioningOverride>,
        priority: Option<Priority>,
        time_skipping_config: Option<TimeSkippingConfig>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionResponse`.
    SignalWithStartWorkflowExecutionResponse = pb::workflowservice::v1::SignalWithStartWorkflowExecutionResponse {
        run_id: String,
        first_execution_run_id: String,
        started: bool,
        signal_link: Option<Link>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.SignalWorkflowExecutionRequest`.
    SignalWorkflowExecutionRequest = pb::workflowservice::v1::SignalWorkflowExecutionRequest {
        namespace: String,
        workflow_execution: Option<WorkflowExecution>,
        signal_name: String,
        input: Option<Payloads>,
        identity: String,
        request_id: String,
        control: String,
        header: Option<Header>,
        links: Vec<Link>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.SignalWorkflowExecutionResponse`.
    SignalWorkflowExecutionResponse = pb::workflowservice::v1::SignalWorkflowExecutionResponse {
        link: Option<Link>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RequestCancelWorkflowExecutionRequest`.
    RequestCancelWorkflowExecutionRequest = pb::workflowservice::v1::RequestCancelWorkflowExecutionRequest {
        namespace: String,
        workflow_execution: Option<WorkflowExecution>,
        identity: String,
        request_id: String,
        first_execution_run_id: String,
        reason: String,
        links: Vec<Link>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RequestCancelWorkflowExecutionResponse`.
    RequestCancelWorkflowExecutionResponse = pb::workflowservice::v1::RequestCancelWorkflowExecutionResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.TerminateWorkflowExecutionRequest`.
    TerminateWorkflowExecutionRequest = pb::workflowservice::v1::TerminateWorkflowExecutionRequest {
        namespace: String,
        workflow_execution: Option<WorkflowExecution>,
        reason: String,
        details: Option<Payloads>,
        identity: String,
        first_execution_run_id: String,
        links: Vec<Link>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.TerminateWorkflowExecutionResponse`.
    TerminateWorkflowExecutionResponse = pb::workflowservice::v1::TerminateWorkflowExecutionResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DeleteWorkflowExecutionRequest`.
    DeleteWorkflowExecutionRequest = pb::workflowservice::v1::DeleteWorkflowExecutionRequest {
        namespace: String,
        workflow_execution: Option<WorkflowExecution>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DeleteWorkflowExecutionResponse`.
    DeleteWorkflowExecutionResponse = pb::workflowservice::v1::DeleteWorkflowExecutionResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ResetWorkflowExecutionRequest`.
    ResetWorkflowExecutionRequest = pb::workflowservice::v1::ResetWorkflowExecutionRequest {
        namespace: String,
        workflow_execution: Option<WorkflowExecution>,
        reason: String,
        workflow_task_finish_event_id: i64,
        request_id: String,
        reset_reapply_type: ResetReapplyType,
        reset_reapply_exclude_types: Vec<ResetReapplyExcludeType>,
        post_reset_operations: Vec<PostResetOperation>,
        identity: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ResetWorkflowExecutionResponse`.
    ResetWorkflowExecutionResponse = pb::workflowservice::v1::ResetWorkflowExecutionResponse {
        run_id: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.QueryWorkflowRequest`.
    QueryWorkflowRequest = pb::workflowservice::v1::QueryWorkflowRequest {
        namespace: String,
        execution: Option<WorkflowExecution>,
        query: Option<WorkflowQuery>,
        query_reject_condition: QueryRejectCondition,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.QueryWorkflowResponse`.
    QueryWorkflowResponse = pb::workflowservice::v1::QueryWorkflowResponse {
        query_result: Option<Payloads>,
        query_rejected: Option<QueryRejected>,
        link: Option<Link>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.UpdateWorkflowExecutionRequest`.
    UpdateWorkflowExecutionRequest = pb::workflowservice::v1::UpdateWorkflowExecutionRequest {
        namespace: String,
        workflow_execution: Option<WorkflowExecution>,
        first_execution_run_id: String,
        wait_policy: Option<WaitPolicy>,
        request: Option<Request>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.UpdateWorkflowExecutionResponse`.
    UpdateWorkflowExecutionResponse = pb::workflowservice::v1::UpdateWorkflowExecutionResponse {
        update_ref: Option<UpdateRef>,
        outcome: Option<Outcome>,
        stage: UpdateWorkflowExecutionLifecycleStage,
        link: Option<Link>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.PollWorkflowExecutionUpdateRequest`.
    PollWorkflowExecutionUpdateRequest = pb::workflowservice::v1::PollWorkflowExecutionUpdateRequest {
        namespace: String,
        update_ref: Option<UpdateRef>,
        identity: String,
        wait_policy: Option<WaitPolicy>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.PollWorkflowExecutionUpdateResponse`.
    PollWorkflowExecutionUpdateResponse = pb::workflowservice::v1::PollWorkflowExecutionUpdateResponse {
        outcome: Option<Outcome>,
        stage: UpdateWorkflowExecutionLifecycleStage,
        update_ref: Option<UpdateRef>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ExecuteMultiOperationRequest`.
    ExecuteMultiOperationRequest = pb::workflowservice::v1::ExecuteMultiOperationRequest {
        namespace: String,
        operations: Vec<ExecuteMultiOperationRequestOperation>,
        resource_id: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ExecuteMultiOperationRequest.Operation`.
    ExecuteMultiOperationRequestOperation = pb::workflowservice::v1::execute_multi_operation_request::Operation {
        operation: Option<ExecuteMultiOperationRequestOperationOperation>,
    }
}

oneof! {
    /// The choice `operation` of [`ExecuteMultiOperationRequestOperation`].
    ExecuteMultiOperationRequestOperationOperation = pb::workflowservice::v1::execute_multi_operation_request::operation::Operation {
        StartWorkflow = StartWorkflow(StartWorkflowExecutionRequest),
        UpdateWorkflow = UpdateWorkflow(UpdateWorkflowExecutionRequest),
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ExecuteMultiOperationResponse`.
    ExecuteMultiOperationResponse = pb::workflowservice::v1::ExecuteMultiOperationResponse {
        responses: Vec<ExecuteMultiOperationResponseResponse>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ExecuteMultiOperationResponse.Response`.
    ExecuteMultiOperationResponseResponse = pb::workflowservice::v1::execute_multi_operation_response::Response {
        response: Option<ExecuteMultiOperationResponseResponseResponse>,
    }
}

oneof! {
    /// The choice `response` of [`ExecuteMultiOperationResponseResponse`].
    ExecuteMultiOperationResponseResponseResponse = pb::workflowservice::v1::execute_multi_operation_response::response::Response {
        StartWorkflow = StartWorkflow(StartWorkflowExecutionResponse),
        UpdateWorkflow = UpdateWorkflow(UpdateWorkflowExecutionResponse),
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DescribeWorkflowExecutionRequest`.
    DescribeWorkflowExecutionRequest = pb::workflowservice::v1::DescribeWorkflowExecutionRequest {
        namespace: String,
        execution: Option<WorkflowExecution>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DescribeWorkflowExecutionResponse`.
    DescribeWorkflowExecutionResponse = pb::workflowservice::v1::DescribeWorkflowExecutionResponse {
        execution_config: Option<WorkflowExecutionConfig>,
        workflow_execution_info: Option<WorkflowExecutionInfo>,
        pending_activities: Vec<PendingActivityInfo>,
        pending_children: Vec<PendingChildExecutionInfo>,
        pending_workflow_task: Option<PendingWorkflowTaskInfo>,
        callbacks: Vec<CallbackInfo>,
        pending_nexus_operations: Vec<PendingNexusOperationInfo>,
        workflow_extended_info: Option<WorkflowExecutionExtendedInfo>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.GetWorkflowExecutionHistoryRequest`.
    GetWorkflowExecutionHistoryRequest = pb::workflowservice::v1::GetWorkflowExecutionHistoryRequest {
        namespace: String,
        execution: Option<WorkflowExecution>,
        maximum_page_size: i32,
        next_page_token: Bytes,
        wait_new_event: bool,
        history_event_filter_type: HistoryEventFilterType,
        skip_archival: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.GetWorkflowExecutionHistoryResponse`.
    GetWorkflowExecutionHistoryResponse = pb::workflowservice::v1::GetWorkflowExecutionHistoryResponse {
        history: Option<History>,
        raw_history: Vec<DataBlob>,
        next_page_token: Bytes,
        archived: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.GetWorkflowExecutionHistoryReverseRequest`.
    GetWorkflowExecutionHistoryReverseRequest = pb::workflowservice::v1::GetWorkflowExecutionHistoryReverseRequest {
        namespace: String,
        execution: Option<WorkflowExecution>,
        maximum_page_size: i32,
        next_page_token: Bytes,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.GetWorkflowExecutionHistoryReverseResponse`.
    GetWorkflowExecutionHistoryReverseResponse = pb::workflowservice::v1::GetWorkflowExecutionHistoryReverseResponse {
        history: Option<History>,
        next_page_token: Bytes,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.PollWorkflowTaskQueueRequest`.
    PollWorkflowTaskQueueRequest = pb::workflowservice::v1::PollWorkflowTaskQueueRequest {
        namespace: String,
        task_queue: Option<TaskQueue>,
        poller_group_id: String,
        identity: String,
        worker_instance_key: String,
        worker_control_task_queue: String,
        binary_checksum: String,
        worker_version_capabilities: Option<WorkerVersionCapabilities>,
        deployment_options: Option<WorkerDeploymentOptions>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondWorkflowTaskCompletedRequest`.
    RespondWorkflowTaskCompletedRequest = pb::workflowservice::v1::RespondWorkflowTaskCompletedRequest {
        task_token: Bytes,
        commands: Vec<Command>,
        identity: String,
        sticky_attributes: Option<StickyExecutionAttributes>,
        return_new_workflow_task: bool,
        force_create_new_workflow_task: bool,
        binary_checksum: String,
        query_results: BTreeMap<String, WorkflowQueryResult>,
        namespace: String,
        resource_id: String,
        worker_version_stamp: Option<WorkerVersionStamp>,
        messages: Vec<Message>,
        sdk_metadata: Option<WorkflowTaskCompletedMetadata>,
        metering_metadata: Option<MeteringMetadata>,
        capabilities: Option<RespondWorkflowTaskCompletedRequestCapabilities>,
        deployment: Option<Deployment>,
        versioning_behavior: VersioningBehavior,
        deployment_options: Option<WorkerDeploymentOptions>,
        worker_instance_key: String,
        worker_control_task_queue: String,
        page_number: i32,
        intermediate_page: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondWorkflowTaskCompletedRequest.Capabilities`.
    RespondWorkflowTaskCompletedRequestCapabilities = pb::workflowservice::v1::respond_workflow_task_completed_request::Capabilities {
        discard_speculative_workflow_task_with_events: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondWorkflowTaskCompletedResponse`.
    RespondWorkflowTaskCompletedResponse = pb::workflowservice::v1::RespondWorkflowTaskCompletedResponse {
        workflow_task: Option<PollWorkflowTaskQueueResponse>,
        activity_tasks: Vec<PollActivityTaskQueueResponse>,
        reset_history_event_id: i64,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.PollActivityTaskQueueResponse`.
    PollActivityTaskQueueResponse = pb::workflowservice::v1::PollActivityTaskQueueResponse {
        task_token: Bytes,
        workflow_namespace: String,
        workflow_type: Option<WorkflowType>,
        workflow_execution: Option<WorkflowExecution>,
        activity_type: Option<ActivityType>,
        activity_id: String,
        header: Option<Header>,
        input: Option<Payloads>,
        heartbeat_details: Option<Payloads>,
        scheduled_time: Option<Timestamp>,
        current_attempt_scheduled_time: Option<Timestamp>,
        started_time: Option<Timestamp>,
        attempt: i32,
        schedule_to_close_timeout: Option<Duration>,
        start_to_close_timeout: Option<Duration>,
        heartbeat_timeout: Option<Duration>,
        retry_policy: Option<RetryPolicy>,
        poller_scaling_decision: Option<PollerScalingDecision>,
        priority: Option<Priority>,
        activity_run_id: String,
        poller_group_infos: Vec<PollerGroupInfo>,
        poller_groups_info: Option<PollerGroupsInfo>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondWorkflowTaskFailedRequest`.
    RespondWorkflowTaskFailedRequest = pb::workflowservice::v1::RespondWorkflowTaskFailedRequest {
        task_token: Bytes,
        cause: WorkflowTaskFailedCause,
        failure: Option<Failure>,
        identity: String,
        binary_checksum: String,
        namespace: String,
        resource_id: String,
        messages: Vec<Message>,
        worker_version: Option<WorkerVersionStamp>,
        deployment: Option<Deployment>,
        deployment_options: Option<WorkerDeploymentOptions>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondWorkflowTaskFailedResponse`.
    RespondWorkflowTaskFailedResponse = pb::workflowservice::v1::RespondWorkflowTaskFailedResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.PollActivityTaskQueueRequest`.
    PollActivityTaskQueueRequest = pb::workflowservice::v1::PollActivityTaskQueueRequest {
        namespace: String,
        task_queue: Option<TaskQueue>,
        poller_group_id: String,
        identity: String,
        worker_instance_key: String,
        worker_control_task_queue: String,
        task_queue_metadata: Option<TaskQueueMetadata>,
        worker_version_capabilities: Option<WorkerVersionCapabilities>,
        deployment_options: Option<WorkerDeploymentOptions>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskCompletedRequest`.
    RespondActivityTaskCompletedRequest = pb::workflowservice::v1::RespondActivityTaskCompletedRequest {
        task_token: Bytes,
        result: Option<Payloads>,
        identity: String,
        namespace: String,
        resource_id: String,
        worker_version: Option<WorkerVersionStamp>,
        deployment: Option<Deployment>,
        deployment_options: Option<WorkerDeploymentOptions>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskCompletedResponse`.
    RespondActivityTaskCompletedResponse = pb::workflowservice::v1::RespondActivityTaskCompletedResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskFailedRequest`.
    RespondActivityTaskFailedRequest = pb::workflowservice::v1::RespondActivityTaskFailedRequest {
        task_token: Bytes,
        failure: Option<Failure>,
        identity: String,
        namespace: String,
        resource_id: String,
        last_heartbeat_details: Option<Payloads>,
        worker_version: Option<WorkerVersionStamp>,
        deployment: Option<Deployment>,
        deployment_options: Option<WorkerDeploymentOptions>,
        cause: ActivityTaskFailedCause,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskFailedResponse`.
    RespondActivityTaskFailedResponse = pb::workflowservice::v1::RespondActivityTaskFailedResponse {
        failures: Vec<Failure>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskCanceledRequest`.
    RespondActivityTaskCanceledRequest = pb::workflowservice::v1::RespondActivityTaskCanceledRequest {
        task_token: Bytes,
        details: Option<Payloads>,
        identity: String,
        namespace: String,
        resource_id: String,
        worker_version: Option<WorkerVersionStamp>,
        deployment: Option<Deployment>,
        deployment_options: Option<WorkerDeploymentOptions>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskCanceledResponse`.
    RespondActivityTaskCanceledResponse = pb::workflowservice::v1::RespondActivityTaskCanceledResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskCompletedByIdRequest`.
    RespondActivityTaskCompletedByIdRequest = pb::workflowservice::v1::RespondActivityTaskCompletedByIdRequest {
        namespace: String,
        workflow_id: String,
        run_id: String,
        activity_id: String,
        result: Option<Payloads>,
        identity: String,
        resource_id: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskCompletedByIdResponse`.
    RespondActivityTaskCompletedByIdResponse = pb::workflowservice::v1::RespondActivityTaskCompletedByIdResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskFailedByIdRequest`.
    RespondActivityTaskFailedByIdRequest = pb::workflowservice::v1::RespondActivityTaskFailedByIdRequest {
        namespace: String,
        workflow_id: String,
        run_id: String,
        activity_id: String,
        failure: Option<Failure>,
        identity: String,
        last_heartbeat_details: Option<Payloads>,
        resource_id: String,
        cause: ActivityTaskFailedCause,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskFailedByIdResponse`.
    RespondActivityTaskFailedByIdResponse = pb::workflowservice::v1::RespondActivityTaskFailedByIdResponse {
        failures: Vec<Failure>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskCanceledByIdRequest`.
    RespondActivityTaskCanceledByIdRequest = pb::workflowservice::v1::RespondActivityTaskCanceledByIdRequest {
        namespace: String,
        workflow_id: String,
        run_id: String,
        activity_id: String,
        details: Option<Payloads>,
        identity: String,
        deployment_options: Option<WorkerDeploymentOptions>,
        resource_id: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondActivityTaskCanceledByIdResponse`.
    RespondActivityTaskCanceledByIdResponse = pb::workflowservice::v1::RespondActivityTaskCanceledByIdResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RecordActivityTaskHeartbeatRequest`.
    RecordActivityTaskHeartbeatRequest = pb::workflowservice::v1::RecordActivityTaskHeartbeatRequest {
        task_token: Bytes,
        details: Option<Payloads>,
        identity: String,
        namespace: String,
        resource_id: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RecordActivityTaskHeartbeatResponse`.
    RecordActivityTaskHeartbeatResponse = pb::workflowservice::v1::RecordActivityTaskHeartbeatResponse {
        cancel_requested: bool,
        activity_paused: bool,
        activity_reset: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RecordActivityTaskHeartbeatByIdRequest`.
    RecordActivityTaskHeartbeatByIdRequest = pb::workflowservice::v1::RecordActivityTaskHeartbeatByIdRequest {
        namespace: String,
        workflow_id: String,
        run_id: String,
        activity_id: String,
        details: Option<Payloads>,
        identity: String,
        resource_id: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RecordActivityTaskHeartbeatByIdResponse`.
    RecordActivityTaskHeartbeatByIdResponse = pb::workflowservice::v1::RecordActivityTaskHeartbeatByIdResponse {
        cancel_requested: bool,
        activity_paused: bool,
        activity_reset: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondQueryTaskCompletedRequest`.
    RespondQueryTaskCompletedRequest = pb::workflowservice::v1::RespondQueryTaskCompletedRequest {
        task_token: Bytes,
        completed_type: QueryResultType,
        query_result: Option<Payloads>,
        error_message: String,
        namespace: String,
        failure: Option<Failure>,
        cause: WorkflowTaskFailedCause,
        poller_group_id: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RespondQueryTaskCompletedResponse`.
    RespondQueryTaskCompletedResponse = pb::workflowservice::v1::RespondQueryTaskCompletedResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ResetStickyTaskQueueRequest`.
    ResetStickyTaskQueueRequest = pb::workflowservice::v1::ResetStickyTaskQueueRequest {
        namespace: String,
        execution: Option<WorkflowExecution>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ResetStickyTaskQueueResponse`.
    ResetStickyTaskQueueResponse = pb::workflowservice::v1::ResetStickyTaskQueueResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DescribeTaskQueueRequest`.
    DescribeTaskQueueRequest = pb::workflowservice::v1::DescribeTaskQueueRequest {
        namespace: String,
        task_queue: Option<TaskQueue>,
        task_queue_type: TaskQueueType,
        report_stats: bool,
        report_config: bool,
        include_task_queue_status: bool,
        api_mode: DescribeTaskQueueMode,
        versions: Option<TaskQueueVersionSelection>,
        task_queue_types: Vec<TaskQueueType>,
        report_pollers: bool,
        report_task_reachability: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DescribeTaskQueueResponse`.
    DescribeTaskQueueResponse = pb::workflowservice::v1::DescribeTaskQueueResponse {
        pollers: Vec<PollerInfo>,
        stats: Option<TaskQueueStats>,
        stats_by_priority_key: BTreeMap<i32, TaskQueueStats>,
        versioning_info: Option<TaskQueueVersioningInfo>,
        config: Option<TaskQueueConfig>,
        effective_rate_limit: Option<DescribeTaskQueueResponseEffectiveRateLimit>,
        task_queue_status: Option<TaskQueueStatus>,
        versions_info: BTreeMap<String, TaskQueueVersionInfo>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DescribeTaskQueueResponse.EffectiveRateLimit`.
    DescribeTaskQueueResponseEffectiveRateLimit = pb::workflowservice::v1::describe_task_queue_response::EffectiveRateLimit {
        requests_per_second: f32,
        rate_limit_source: RateLimitSource,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ShutdownWorkerRequest`.
    ShutdownWorkerRequest = pb::workflowservice::v1::ShutdownWorkerRequest {
        namespace: String,
        sticky_task_queue: String,
        identity: String,
        reason: String,
        worker_heartbeat: Option<WorkerHeartbeat>,
        worker_instance_key: String,
        task_queue: String,
        task_queue_types: Vec<TaskQueueType>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ShutdownWorkerResponse`.
    ShutdownWorkerResponse = pb::workflowservice::v1::ShutdownWorkerResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.PauseActivityRequest`.
    PauseActivityRequest = pb::workflowservice::v1::PauseActivityRequest {
        namespace: String,
        execution: Option<WorkflowExecution>,
        identity: String,
        activity: Option<PauseActivityRequestActivity>,
        reason: String,
        request_id: String,
    }
}

oneof! {
    /// The choice `activity` of [`PauseActivityRequest`].
    PauseActivityRequestActivity = pb::workflowservice::v1::pause_activity_request::Activity {
        Id = Id(String),
        Type = Type(String),
    }
}

message! {
    /// `temporal.api.workflowservice.v1.PauseActivityResponse`.
    PauseActivityResponse = pb::workflowservice::v1::PauseActivityResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.UnpauseActivityRequest`.
    UnpauseActivityRequest = pb::workflowservice::v1::UnpauseActivityRequest {
        namespace: String,
        execution: Option<WorkflowExecution>,
        identity: String,
        activity: Option<UnpauseActivityRequestActivity>,
        reset_attempts: bool,
        reset_heartbeat: bool,
        jitter: Option<Duration>,
    }
}

oneof! {
    /// The choice `activity` of [`UnpauseActivityRequest`].
    UnpauseActivityRequestActivity = pb::workflowservice::v1::unpause_activity_request::Activity {
        Id = Id(String),
        Type = Type(String),
        UnpauseAll = UnpauseAll(bool),
    }
}

message! {
    /// `temporal.api.workflowservice.v1.UnpauseActivityResponse`.
    UnpauseActivityResponse = pb::workflowservice::v1::UnpauseActivityResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ResetActivityRequest`.
    ResetActivityRequest = pb::workflowservice::v1::ResetActivityRequest {
        namespace: String,
        execution: Option<WorkflowExecution>,
        identity: String,
        activity: Option<ResetActivityRequestActivity>,
        reset_heartbeat: bool,
        keep_paused: bool,
        jitter: Option<Duration>,
        restore_original_options: bool,
    }
}

oneof! {
    /// The choice `activity` of [`ResetActivityRequest`].
    ResetActivityRequestActivity = pb::workflowservice::v1::reset_activity_request::Activity {
        Id = Id(String),
        Type = Type(String),
        MatchAll = MatchAll(bool),
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ResetActivityResponse`.
    ResetActivityResponse = pb::workflowservice::v1::ResetActivityResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.UpdateActivityOptionsRequest`.
    UpdateActivityOptionsRequest = pb::workflowservice::v1::UpdateActivityOptionsRequest {
        namespace: String,
        execution: Option<WorkflowExecution>,
        identity: String,
        activity_options: Option<ActivityOptions>,
        update_mask: Option<FieldMask>,
        activity: Option<UpdateActivityOptionsRequestActivity>,
        restore_original: bool,
    }
}

oneof! {
    /// The choice `activity` of [`UpdateActivityOptionsRequest`].
    UpdateActivityOptionsRequestActivity = pb::workflowservice::v1::update_activity_options_request::Activity {
        Id = Id(String),
        Type = Type(String),
        MatchAll = MatchAll(bool),
    }
}

message! {
    /// `temporal.api.workflowservice.v1.UpdateActivityOptionsResponse`.
    UpdateActivityOptionsResponse = pb::workflowservice::v1::UpdateActivityOptionsResponse {
        activity_options: Option<ActivityOptions>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RegisterNamespaceRequest`.
    RegisterNamespaceRequest = pb::workflowservice::v1::RegisterNamespaceRequest {
        namespace: String,
        description: String,
        owner_email: String,
        workflow_execution_retention_period: Option<Duration>,
        clusters: Vec<ClusterReplicationConfig>,
        active_cluster_name: String,
        data: BTreeMap<String, String>,
        security_token: String,
        is_global_namespace: bool,
        history_archival_state: ArchivalState,
        history_archival_uri: String,
        visibility_archival_state: ArchivalState,
        visibility_archival_uri: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.RegisterNamespaceResponse`.
    RegisterNamespaceResponse = pb::workflowservice::v1::RegisterNamespaceResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DescribeNamespaceRequest`.
    DescribeNamespaceRequest = pb::workflowservice::v1::DescribeNamespaceRequest {
        namespace: String,
        id: String,
        weak_consistency: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DescribeNamespaceResponse`.
    DescribeNamespaceResponse = pb::workflowservice::v1::DescribeNamespaceResponse {
        namespace_info: Option<NamespaceInfo>,
        config: Option<NamespaceConfig>,
        replication_config: Option<NamespaceReplicationConfig>,
        failover_version: i64,
        is_global_namespace: bool,
        failover_history: Vec<FailoverStatus>,
        poller_group_infos: Vec<PollerGroupInfo>,
        poller_groups_info: Option<PollerGroupsInfo>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.UpdateNamespaceRequest`.
    UpdateNamespaceRequest = pb::workflowservice::v1::UpdateNamespaceRequest {
        namespace: String,
        update_info: Option<UpdateNamespaceInfo>,
        config: Option<NamespaceConfig>,
        replication_config: Option<NamespaceReplicationConfig>,
        security_token: String,
        delete_bad_binary: String,
        promote_namespace: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.UpdateNamespaceResponse`.
    UpdateNamespaceResponse = pb::workflowservice::v1::UpdateNamespaceResponse {
        namespace_info: Option<NamespaceInfo>,
        config: Option<NamespaceConfig>,
        replication_config: Option<NamespaceReplicationConfig>,
        failover_version: i64,
        is_global_namespace: bool,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DeprecateNamespaceRequest`.
    DeprecateNamespaceRequest = pb::workflowservice::v1::DeprecateNamespaceRequest {
        namespace: String,
        security_token: String,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.DeprecateNamespaceResponse`.
    DeprecateNamespaceResponse = pb::workflowservice::v1::DeprecateNamespaceResponse {
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ListNamespacesRequest`.
    ListNamespacesRequest = pb::workflowservice::v1::ListNamespacesRequest {
        page_size: i32,
        next_page_token: Bytes,
        namespace_filter: Option<NamespaceFilter>,
    }
}

message! {
    /// `temporal.api.workflowservice.v1.ListNamespacesResponse`.
    ListNamespacesResponse = pb::workflowservice::v1::ListNamespacesResponse {
        namespaces: Vec<DescribeNamespaceResponse>,
        next_page_token: Bytes,
    }
}
