//! Typed details of refusals.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use crate::common::WorkflowExecution;
use crate::enums::{NamespaceState, ResourceExhaustedCause, ResourceExhaustedScope};
use crate::failure::Failure;
use crate::pb;
use crate::wire::Any;
use crate::wire::message;

message! {
    /// `temporal.api.errordetails.v1.NotFoundFailure`.
    NotFoundFailure = pb::errordetails::v1::NotFoundFailure {
        current_cluster: String,
        active_cluster: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure`.
    WorkflowExecutionAlreadyStartedFailure = pb::errordetails::v1::WorkflowExecutionAlreadyStartedFailure {
        start_request_id: String,
        run_id: String,
        first_execution_run_id: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.NamespaceNotActiveFailure`.
    NamespaceNotActiveFailure = pb::errordetails::v1::NamespaceNotActiveFailure {
        namespace: String,
        current_cluster: String,
        active_cluster: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.NamespaceUnavailableFailure`.
    NamespaceUnavailableFailure = pb::errordetails::v1::NamespaceUnavailableFailure {
        namespace: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.NamespaceInvalidStateFailure`.
    NamespaceInvalidStateFailure = pb::errordetails::v1::NamespaceInvalidStateFailure {
        namespace: String,
        state: NamespaceState,
        allowed_states: Vec<NamespaceState>,
    }
}

message! {
    /// `temporal.api.errordetails.v1.NamespaceNotFoundFailure`.
    NamespaceNotFoundFailure = pb::errordetails::v1::NamespaceNotFoundFailure {
        namespace: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.NamespaceAlreadyExistsFailure`.
    NamespaceAlreadyExistsFailure = pb::errordetails::v1::NamespaceAlreadyExistsFailure {
    }
}

message! {
    /// `temporal.api.errordetails.v1.ClientVersionNotSupportedFailure`.
    ClientVersionNotSupportedFailure = pb::errordetails::v1::ClientVersionNotSupportedFailure {
        client_version: String,
        client_name: String,
        supported_versions: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.ServerVersionNotSupportedFailure`.
    ServerVersionNotSupportedFailure = pb::errordetails::v1::ServerVersionNotSupportedFailure {
        server_version: String,
        client_supported_server_versions: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.CancellationAlreadyRequestedFailure`.
    CancellationAlreadyRequestedFailure = pb::errordetails::v1::CancellationAlreadyRequestedFailure {
    }
}

message! {
    /// `temporal.api.errordetails.v1.QueryFailedFailure`.
    QueryFailedFailure = pb::errordetails::v1::QueryFailedFailure {
        failure: Option<Failure>,
    }
}

message! {
    /// `temporal.api.errordetails.v1.PermissionDeniedFailure`.
    PermissionDeniedFailure = pb::errordetails::v1::PermissionDeniedFailure {
        reason: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.ResourceExhaustedFailure`.
    ResourceExhaustedFailure = pb::errordetails::v1::ResourceExhaustedFailure {
        cause: ResourceExhaustedCause,
        scope: ResourceExhaustedScope,
    }
}

message! {
    /// `temporal.api.errordetails.v1.SystemWorkflowFailure`.
    SystemWorkflowFailure = pb::errordetails::v1::SystemWorkflowFailure {
        workflow_execution: Option<WorkflowExecution>,
        workflow_error: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.WorkflowNotReadyFailure`.
    WorkflowNotReadyFailure = pb::errordetails::v1::WorkflowNotReadyFailure {
    }
}

message! {
    /// `temporal.api.errordetails.v1.NewerBuildExistsFailure`.
    NewerBuildExistsFailure = pb::errordetails::v1::NewerBuildExistsFailure {
        default_build_id: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.MultiOperationExecutionFailure`.
    MultiOperationExecutionFailure = pb::errordetails::v1::MultiOperationExecutionFailure {
        statuses: Vec<MultiOperationExecutionFailureOperationStatus>,
    }
}

message! {
    /// `temporal.api.errordetails.v1.MultiOperationExecutionFailure.OperationStatus`.
    MultiOperationExecutionFailureOperationStatus = pb::errordetails::v1::multi_operation_execution_failure::OperationStatus {
        code: i32,
        message: String,
        details: Vec<Any>,
    }
}

message! {
    /// `temporal.api.errordetails.v1.ActivityExecutionAlreadyStartedFailure`.
    ActivityExecutionAlreadyStartedFailure = pb::errordetails::v1::ActivityExecutionAlreadyStartedFailure {
        start_request_id: String,
        run_id: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.NexusOperationExecutionAlreadyStartedFailure`.
    NexusOperationExecutionAlreadyStartedFailure = pb::errordetails::v1::NexusOperationExecutionAlreadyStartedFailure {
        start_request_id: String,
        run_id: String,
    }
}

message! {
    /// `temporal.api.errordetails.v1.WorkflowTaskCompletionBufferLostFailure`.
    WorkflowTaskCompletionBufferLostFailure = pb::errordetails::v1::WorkflowTaskCompletionBufferLostFailure {
    }
}
