//! Failures and their causes.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::time::Duration;

use crate::common::{ActivityType, Payload, Payloads, WorkflowExecution, WorkflowType};
use crate::enums::{
    ApplicationErrorCategory, NexusHandlerErrorRetryBehavior, RetryState, TimeoutType,
};
use crate::pb;
use crate::wire::{message, oneof};

message! {
    /// `temporal.api.failure.v1.Failure`.
    Failure = pb::failure::v1::Failure {
        message: String,
        source: String,
        stack_trace: String,
        encoded_attributes: Option<Payload>,
        cause: Option<Box<Failure>>,
        failure_info: Option<FailureFailureInfo>,
    }
}

oneof! {
    /// The choice `failure_info` of [`Failure`].
    FailureFailureInfo = pb::failure::v1::failure::FailureInfo {
        ApplicationFailureInfo = ApplicationFailureInfo(ApplicationFailureInfo),
        TimeoutFailureInfo = TimeoutFailureInfo(TimeoutFailureInfo),
        CanceledFailureInfo = CanceledFailureInfo(CanceledFailureInfo),
        TerminatedFailureInfo = TerminatedFailureInfo(TerminatedFailureInfo),
        ServerFailureInfo = ServerFailureInfo(ServerFailureInfo),
        ResetWorkflowFailureInfo = ResetWorkflowFailureInfo(ResetWorkflowFailureInfo),
        ActivityFailureInfo = ActivityFailureInfo(ActivityFailureInfo),
        ChildWorkflowExecutionFailureInfo = ChildWorkflowExecutionFailureInfo(ChildWorkflowExecutionFailureInfo),
        NexusOperationExecutionFailureInfo = NexusOperationExecutionFailureInfo(NexusOperationFailureInfo),
        NexusHandlerFailureInfo = NexusHandlerFailureInfo(NexusHandlerFailureInfo),
    }
}

message! {
    /// `temporal.api.failure.v1.ApplicationFailureInfo`.
    ApplicationFailureInfo = pb::failure::v1::ApplicationFailureInfo {
        r#type: String,
        non_retryable: bool,
        details: Option<Payloads>,
        next_retry_delay: Option<Duration>,
        category: ApplicationErrorCategory,
    }
}

message! {
    /// `temporal.api.failure.v1.TimeoutFailureInfo`.
    TimeoutFailureInfo = pb::failure::v1::TimeoutFailureInfo {
        timeout_type: TimeoutType,
        last_heartbeat_details: Option<Payloads>,
    }
}

message! {
    /// `temporal.api.failure.v1.CanceledFailureInfo`.
    CanceledFailureInfo = pb::failure::v1::CanceledFailureInfo {
        details: Option<Payloads>,
        identity: String,
    }
}

message! {
    /// `temporal.api.failure.v1.TerminatedFailureInfo`.
    TerminatedFailureInfo = pb::failure::v1::TerminatedFailureInfo {
        identity: String,
    }
}

message! {
    /// `temporal.api.failure.v1.ServerFailureInfo`.
    ServerFailureInfo = pb::failure::v1::ServerFailureInfo {
        non_retryable: bool,
    }
}

message! {
    /// `temporal.api.failure.v1.ResetWorkflowFailureInfo`.
    ResetWorkflowFailureInfo = pb::failure::v1::ResetWorkflowFailureInfo {
        last_heartbeat_details: Option<Payloads>,
    }
}

message! {
    /// `temporal.api.failure.v1.ActivityFailureInfo`.
    ActivityFailureInfo = pb::failure::v1::ActivityFailureInfo {
        scheduled_event_id: i64,
        started_event_id: i64,
        identity: String,
        activity_type: Option<ActivityType>,
        activity_id: String,
        retry_state: RetryState,
    }
}

message! {
    /// `temporal.api.failure.v1.ChildWorkflowExecutionFailureInfo`.
    ChildWorkflowExecutionFailureInfo = pb::failure::v1::ChildWorkflowExecutionFailureInfo {
        namespace: String,
        workflow_execution: Option<WorkflowExecution>,
        workflow_type: Option<WorkflowType>,
        initiated_event_id: i64,
        started_event_id: i64,
        retry_state: RetryState,
    }
}

message! {
    /// `temporal.api.failure.v1.NexusOperationFailureInfo`.
    NexusOperationFailureInfo = pb::failure::v1::NexusOperationFailureInfo {
        scheduled_event_id: i64,
        endpoint: String,
        service: String,
        operation: String,
        operation_id: String,
        operation_token: String,
    }
}

message! {
    /// `temporal.api.failure.v1.NexusHandlerFailureInfo`.
    NexusHandlerFailureInfo = pb::failure::v1::NexusHandlerFailureInfo {
        r#type: String,
        retry_behavior: NexusHandlerErrorRetryBehavior,
    }
}
