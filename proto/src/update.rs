//! Updates of workflows.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use crate::common::{Callback, Header, Link, Payloads, WorkflowExecution};
use crate::enums::UpdateWorkflowExecutionLifecycleStage;
use crate::failure::Failure;
use crate::pb;
use crate::wire::{message, oneof};

message! {
    /// `temporal.api.update.v1.Request`.
    Request = pb::update::v1::Request {
        meta: Option<Meta>,
        input: Option<Input>,
        request_id: String,
        completion_callbacks: Vec<Callback>,
        links: Vec<Link>,
    }
}

message! {
    /// `temporal.api.update.v1.Meta`.
    Meta = pb::update::v1::Meta {
        update_id: String,
        identity: String,
    }
}

message! {
    /// `temporal.api.update.v1.Input`.
    Input = pb::update::v1::Input {
        header: Option<Header>,
        name: String,
        args: Option<Payloads>,
    }
}

message! {
    /// `temporal.api.update.v1.Outcome`.
    Outcome = pb::update::v1::Outcome {
        value: Option<OutcomeValue>,
    }
}

oneof! {
    /// The choice `value` of [`Outcome`].
    OutcomeValue = pb::update::v1::outcome::Value {
        Success = Success(Payloads),
        Failure = Failure(Failure),
    }
}

message! {
    /// `temporal.api.update.v1.WaitPolicy`.
    WaitPolicy = pb::update::v1::WaitPolicy {
        lifecycle_stage: UpdateWorkflowExecutionLifecycleStage,
    }
}

message! {
    /// `temporal.api.update.v1.UpdateRef`.
    UpdateRef = pb::update::v1::UpdateRef {
        workflow_execution: Option<WorkflowExecution>,
        update_id: String,
    }
}

message! {
    /// `temporal.api.update.v1.Acceptance`.
    Acceptance = pb::update::v1::Acceptance {
        accepted_request_message_id: String,
        accepted_request_sequencing_event_id: i64,
        accepted_request: Option<Request>,
    }
}

message! {
    /// `temporal.api.update.v1.Rejection`.
    Rejection = pb::update::v1::Rejection {
        rejected_request_message_id: String,
        rejected_request_sequencing_event_id: i64,
        rejected_request: Option<Request>,
        failure: Option<Failure>,
    }
}

message! {
    /// `temporal.api.update.v1.Response`.
    Response = pb::update::v1::Response {
        meta: Option<Meta>,
        outcome: Option<Outcome>,
    }
}
