//! Commands: what workflow code asks for when it answers a workflow task.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{
    ActivityType, Header, Memo, Payload, Payloads, Priority, RetryPolicy, SearchAttributes,
    WorkflowExecution, WorkflowType,
};
use crate::enums::{
    CommandType, ContinueAsNewInitiator, ContinueAsNewVersioningBehavior, ParentClosePolicy,
    WorkflowIdReusePolicy,
};
use crate::failure::Failure;
use crate::pb;
use crate::sdk::{EventGroupMarker, UserMetadata};
use crate::taskqueue::TaskQueue;
use crate::wire::{is_default, message, oneof};
use crate::workflow::VersioningOverride;
use serde::{Deserialize, Serialize};

/// `temporal.api.command.v1.Command`; one step that workflow code asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    /// As sent; a well-formed command has the attributes of its type.
    #[serde(skip_serializing_if = "is_default")]
    pub command_type: CommandType,
    #[serde(skip_serializing_if = "is_default")]
    pub user_metadata: Option<UserMetadata>,
    #[serde(skip_serializing_if = "is_default")]
    pub event_group_markers: Vec<EventGroupMarker>,
    #[serde(skip_serializing_if = "is_default")]
    pub attributes: Option<CommandAttributes>,
    /// The field of the attributes that was sent as a negative duration, as in `StartToFireTimeout`; it is absent there.
    /// Never sent on: it fails the workflow task in words that name the field.
    #[serde(skip_serializing_if = "is_default")]
    pub negative_duration: String,
}

oneof! {
    boxed
    /// The choice `attributes` of [`Command`].
    CommandAttributes = pb::command::v1::command::Attributes {
        ScheduleActivityTask = ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes),
        StartTimer = StartTimerCommandAttributes(StartTimerCommandAttributes),
        CompleteWorkflowExecution = CompleteWorkflowExecutionCommandAttributes(CompleteWorkflowExecutionCommandAttributes),
        FailWorkflowExecution = FailWorkflowExecutionCommandAttributes(FailWorkflowExecutionCommandAttributes),
        RequestCancelActivityTask = RequestCancelActivityTaskCommandAttributes(RequestCancelActivityTaskCommandAttributes),
        CancelTimer = CancelTimerCommandAttributes(CancelTimerCommandAttributes),
        CancelWorkflowExecution = CancelWorkflowExecutionCommandAttributes(CancelWorkflowExecutionCommandAttributes),
        RequestCancelExternalWorkflowExecution = RequestCancelExternalWorkflowExecutionCommandAttributes(RequestCancelExternalWorkflowExecutionCommandAttributes),
        RecordMarker = RecordMarkerCommandAttributes(RecordMarkerCommandAttributes),
        ContinueAsNewWorkflowExecution = ContinueAsNewWorkflowExecutionCommandAttributes(ContinueAsNewWorkflowExecutionCommandAttributes),
        StartChildWorkflowExecution = StartChildWorkflowExecutionCommandAttributes(StartChildWorkflowExecutionCommandAttributes),
        SignalExternalWorkflowExecution = SignalExternalWorkflowExecutionCommandAttributes(SignalExternalWorkflowExecutionCommandAttributes),
        UpsertWorkflowSearchAttributes = UpsertWorkflowSearchAttributesCommandAttributes(UpsertWorkflowSearchAttributesCommandAttributes),
        ProtocolMessage = ProtocolMessageCommandAttributes(ProtocolMessageCommandAttributes),
        ModifyWorkflowProperties = ModifyWorkflowPropertiesCommandAttributes(ModifyWorkflowPropertiesCommandAttributes),
        ScheduleNexusOperation = ScheduleNexusOperationCommandAttributes(ScheduleNexusOperationCommandAttributes),
        RequestCancelNexusOperation = RequestCancelNexusOperationCommandAttributes(RequestCancelNexusOperationCommandAttributes),
    }
}

message! {
    /// `temporal.api.command.v1.ScheduleActivityTaskCommandAttributes`.
    ScheduleActivityTaskCommandAttributes = pb::command::v1::ScheduleActivityTaskCommandAttributes {
        activity_id: String,
        activity_type: Option<ActivityType>,
        task_queue: Option<TaskQueue>,
        header: Option<Header>,
        input: Option<Payloads>,
        schedule_to_close_timeout: Option<Duration>,
        schedule_to_start_timeout: Option<Duration>,
        start_to_close_timeout: Option<Duration>,
        heartbeat_timeout: Option<Duration>,
        retry_policy: Option<RetryPolicy>,
        request_eager_execution: bool,
        use_workflow_build_id: bool,
        priority: Option<Priority>,
    }
}

message! {
    /// `temporal.api.command.v1.StartTimerCommandAttributes`.
    StartTimerCommandAttributes = pb::command::v1::StartTimerCommandAttributes {
        timer_id: String,
        start_to_fire_timeout: Option<Duration>,
    }
}

message! {
    /// `temporal.api.command.v1.CompleteWorkflowExecutionCommandAttributes`.
    CompleteWorkflowExecutionCommandAttributes = pb::command::v1::CompleteWorkflowExecutionCommandAttributes {
        result: Option<Payloads>,
    }
}

message! {
    /// `temporal.api.command.v1.FailWorkflowExecutionCommandAttributes`.
    FailWorkflowExecutionCommandAttributes = pb::command::v1::FailWorkflowExecutionCommandAttributes {
        failure: Option<Failure>,
    }
}

message! {
    /// `temporal.api.command.v1.RequestCancelActivityTaskCommandAttributes`.
    RequestCancelActivityTaskCommandAttributes = pb::command::v1::RequestCancelActivityTaskCommandAttributes {
        scheduled_event_id: i64,
    }
}

message! {
    /// `temporal.api.command.v1.CancelTimerCommandAttributes`.
    CancelTimerCommandAttributes = pb::command::v1::CancelTimerCommandAttributes {
        timer_id: String,
    }
}

message! {
    /// `temporal.api.command.v1.CancelWorkflowExecutionCommandAttributes`.
    CancelWorkflowExecutionCommandAttributes = pb::command::v1::CancelWorkflowExecutionCommandAttributes {
        details: Option<Payloads>,
    }
}

message! {
    /// `temporal.api.command.v1.RequestCancelExternalWorkflowExecutionCommandAttributes`.
    RequestCancelExternalWorkflowExecutionCommandAttributes = pb::command::v1::RequestCancelExternalWorkflowExecutionCommandAttributes {
        namespace: String,
        workflow_id: String,
        run_id: String,
        control: String,
        child_workflow_only: bool,
        reason: String,
    }
}

message! {
    /// `temporal.api.command.v1.RecordMarkerCommandAttributes`.
    RecordMarkerCommandAttributes = pb::command::v1::RecordMarkerCommandAttributes {
        marker_name: String,
        details: BTreeMap<String, Payloads>,
        header: Option<Header>,
        failure: Option<Failure>,
    }
}

message! {
    /// `temporal.api.command.v1.ContinueAsNewWorkflowExecutionCommandAttributes`.
    ContinueAsNewWorkflowExecutionCommandAttributes = pb::command::v1::ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Option<WorkflowType>,
        task_queue: Option<TaskQueue>,
        input: Option<Payloads>,
        workflow_run_timeout: Option<Duration>,
        workflow_task_timeout: Option<Duration>,
        backoff_start_interval: Option<Duration>,
        retry_policy: Option<RetryPolicy>,
        initiator: ContinueAsNewInitiator,
        failure: Option<Failure>,
        last_completion_result: Option<Payloads>,
        cron_schedule: String,
        header: Option<Header>,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        inherit_build_id: bool,
        initial_versioning_behavior: ContinueAsNewVersioningBehavior,
    }
}

message! {
    /// `temporal.api.command.v1.StartChildWorkflowExecutionCommandAttributes`.
    StartChildWorkflowExecutionCommandAttributes = pb::command::v1::StartChildWorkflowExecutionCommandAttributes {
        namespace: String,
        workflow_id: String,
        workflow_type: Option<WorkflowType>,
        task_queue: Option<TaskQueue>,
        input: Option<Payloads>,
        workflow_execution_timeout: Option<Duration>,
        workflow_run_timeout: Option<Duration>,
        workflow_task_timeout: Option<Duration>,
        parent_close_policy: ParentClosePolicy,
        control: String,
        workflow_id_reuse_policy: WorkflowIdReusePolicy,
        retry_policy: Option<RetryPolicy>,
        cron_schedule: String,
        header: Option<Header>,
        memo: Option<Memo>,
        search_attributes: Option<SearchAttributes>,
        inherit_build_id: bool,
        priority: Option<Priority>,
        versioning_override: Option<VersioningOverride>,
    }
}

message! {
    /// `temporal.api.command.v1.SignalExternalWorkflowExecutionCommandAttributes`.
    SignalExternalWorkflowExecutionCommandAttributes = pb::command::v1::SignalExternalWorkflowExecutionCommandAttributes {
        namespace: String,
        execution: Option<WorkflowExecution>,
        signal_name: String,
        input: Option<Payloads>,
        control: String,
        child_workflow_only: bool,
        header: Option<Header>,
    }
}

message! {
    /// `temporal.api.command.v1.UpsertWorkflowSearchAttributesCommandAttributes`.
    UpsertWorkflowSearchAttributesCommandAttributes = pb::command::v1::UpsertWorkflowSearchAttributesCommandAttributes {
        search_attributes: Option<SearchAttributes>,
    }
}

message! {
    /// `temporal.api.command.v1.ProtocolMessageCommandAttributes`.
    ProtocolMessageCommandAttributes = pb::command::v1::ProtocolMessageCommandAttributes {
        message_id: String,
    }
}

message! {
    /// `temporal.api.command.v1.ModifyWorkflowPropertiesCommandAttributes`.
    ModifyWorkflowPropertiesCommandAttributes = pb::command::v1::ModifyWorkflowPropertiesCommandAttributes {
        upserted_memo: Option<Memo>,
    }
}

message! {
    /// `temporal.api.command.v1.ScheduleNexusOperationCommandAttributes`.
    ScheduleNexusOperationCommandAttributes = pb::command::v1::ScheduleNexusOperationCommandAttributes {
        endpoint: String,
        service: String,
        operation: String,
        input: Option<Payload>,
        schedule_to_close_timeout: Option<Duration>,
        nexus_header: BTreeMap<String, String>,
        schedule_to_start_timeout: Option<Duration>,
        start_to_close_timeout: Option<Duration>,
    }
}

message! {
    /// `temporal.api.command.v1.RequestCancelNexusOperationCommandAttributes`.
    RequestCancelNexusOperationCommandAttributes = pb::command::v1::RequestCancelNexusOperationCommandAttributes {
        scheduled_event_id: i64,
    }
}
