//! What all messages share: payloads, ids of executions, retry policies, links.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::enums::{EncodingType, EventType, ExecutionType};
use crate::pb;
use crate::time::Timestamp;
use crate::wire::{message, oneof};

message! {
    /// `temporal.api.common.v1.WorkflowType`.
    WorkflowType = pb::common::v1::WorkflowType {
        name: String,
    }
}

message! {
    /// `temporal.api.common.v1.Payloads`.
    Payloads = pb::common::v1::Payloads {
        payloads: Vec<Payload>,
    }
}

message! {
    /// `temporal.api.common.v1.Payload`.
    Payload = pb::common::v1::Payload {
        metadata: BTreeMap<String, Bytes>,
        data: Bytes,
        external_payloads: Vec<PayloadExternalPayloadDetails>,
    }
}

message! {
    /// `temporal.api.common.v1.Payload.ExternalPayloadDetails`.
    PayloadExternalPayloadDetails = pb::common::v1::payload::ExternalPayloadDetails {
        size_bytes: i64,
    }
}

message! {
    /// `temporal.api.common.v1.RetryPolicy`.
    RetryPolicy = pb::common::v1::RetryPolicy {
        initial_interval: Option<Duration>,
        backoff_coefficient: f64,
        maximum_interval: Option<Duration>,
        maximum_attempts: i32,
        non_retryable_error_types: Vec<String>,
    }
}

message! {
    /// `temporal.api.common.v1.Memo`.
    Memo = pb::common::v1::Memo {
        fields: BTreeMap<String, Payload>,
    }
}

message! {
    /// `temporal.api.common.v1.SearchAttributes`.
    SearchAttributes = pb::common::v1::SearchAttributes {
        indexed_fields: BTreeMap<String, Payload>,
    }
}

message! {
    /// `temporal.api.common.v1.Header`.
    Header = pb::common::v1::Header {
        fields: BTreeMap<String, Payload>,
    }
}

message! {
    /// `temporal.api.common.v1.ActivityType`.
    ActivityType = pb::common::v1::ActivityType {
        name: String,
    }
}

message! {
    /// `temporal.api.common.v1.WorkflowExecution`.
    WorkflowExecution = pb::common::v1::WorkflowExecution {
        workflow_id: String,
        run_id: String,
    }
}

message! {
    /// `temporal.api.common.v1.Callback`.
    Callback = pb::common::v1::Callback {
        variant: Option<CallbackVariant>,
        links: Vec<Link>,
    }
}

oneof! {
    /// The choice `variant` of [`Callback`].
    CallbackVariant = pb::common::v1::callback::Variant {
        Nexus = Nexus(CallbackNexus),
        Internal = Internal(CallbackInternal),
        NexusHandler = NexusHandler(CallbackNexusHandler),
    }
}

message! {
    /// `temporal.api.common.v1.Callback.Nexus`.
    CallbackNexus = pb::common::v1::callback::Nexus {
        url: String,
        header: BTreeMap<String, String>,
    }
}

message! {
    /// `temporal.api.common.v1.Callback.Internal`.
    CallbackInternal = pb::common::v1::callback::Internal {
        data: Bytes,
    }
}

message! {
    /// `temporal.api.common.v1.Callback.NexusHandler`.
    CallbackNexusHandler = pb::common::v1::callback::NexusHandler {
        task_queue_name: String,
        service: String,
        operation: String,
        source_context: Option<Payload>,
    }
}

message! {
    /// `temporal.api.common.v1.Link`.
    Link = pb::common::v1::Link {
        variant: Option<LinkVariant>,
    }
}

oneof! {
    /// The choice `variant` of [`Link`].
    LinkVariant = pb::common::v1::link::Variant {
        WorkflowEvent = WorkflowEvent(LinkWorkflowEvent),
        BatchJob = BatchJob(LinkBatchJob),
        Activity = Activity(LinkActivity),
        NexusOperation = NexusOperation(LinkNexusOperation),
        Workflow = Workflow(LinkWorkflow),
        Callback = Callback(LinkCallback),
    }
}

message! {
    /// `temporal.api.common.v1.Link.WorkflowEvent`.
    LinkWorkflowEvent = pb::common::v1::link::WorkflowEvent {
        namespace: String,
        workflow_id: String,
        run_id: String,
        reference: Option<LinkWorkflowEventReference>,
    }
}

oneof! {
    /// The choice `reference` of [`LinkWorkflowEvent`].
    LinkWorkflowEventReference = pb::common::v1::link::workflow_event::Reference {
        EventRef = EventRef(LinkWorkflowEventEventReference),
        RequestIdRef = RequestIdRef(LinkWorkflowEventRequestIdReference),
    }
}

message! {
    /// `temporal.api.common.v1.Link.WorkflowEvent.EventReference`.
    LinkWorkflowEventEventReference = pb::common::v1::link::workflow_event::EventReference {
        event_id: i64,
        event_type: EventType,
    }
}

message! {
    /// `temporal.api.common.v1.Link.WorkflowEvent.RequestIdReference`.
    LinkWorkflowEventRequestIdReference = pb::common::v1::link::workflow_event::RequestIdReference {
        request_id: String,
        event_type: EventType,
    }
}

message! {
    /// `temporal.api.common.v1.Link.BatchJob`.
    LinkBatchJob = pb::common::v1::link::BatchJob {
        job_id: String,
    }
}

message! {
    /// `temporal.api.common.v1.Link.Activity`.
    LinkActivity = pb::common::v1::link::Activity {
        namespace: String,
        activity_id: String,
        run_id: String,
    }
}

message! {
    /// `temporal.api.common.v1.Link.NexusOperation`.
    LinkNexusOperation = pb::common::v1::link::NexusOperation {
        namespace: String,
        operation_id: String,
        run_id: String,
    }
}

message! {
    /// `temporal.api.common.v1.Link.Workflow`.
    LinkWorkflow = pb::common::v1::link::Workflow {
        namespace: String,
        workflow_id: String,
        run_id: String,
        reason: String,
    }
}

message! {
    /// `temporal.api.common.v1.Link.Callback`.
    LinkCallback = pb::common::v1::link::Callback {
        namespace: String,
        execution: Option<Execution>,
        component_path: Vec<String>,
        request_id: String,
    }
}

message! {
    /// `temporal.api.common.v1.Execution`.
    Execution = pb::common::v1::Execution {
        r#type: ExecutionType,
        business_id: String,
        run_id: String,
    }
}

message! {
    /// `temporal.api.common.v1.Priority`.
    Priority = pb::common::v1::Priority {
        priority_key: i32,
        fairness_key: String,
        fairness_weight: f32,
    }
}

message! {
    /// `temporal.api.common.v1.TimeSkippingConfig`.
    TimeSkippingConfig = pb::common::v1::TimeSkippingConfig {
        enabled: bool,
        fast_forward_config: Option<FastForwardConfig>,
        disable_propagation: bool,
        max_session_skip_count: i32,
    }
}

message! {
    /// `temporal.api.common.v1.FastForwardConfig`.
    FastForwardConfig = pb::common::v1::FastForwardConfig {
        id: String,
        duration: Option<Duration>,
    }
}

message! {
    /// `temporal.api.common.v1.Principal`.
    Principal = pb::common::v1::Principal {
        r#type: String,
        name: String,
    }
}

message! {
    /// `temporal.api.common.v1.WorkerVersionStamp`.
    WorkerVersionStamp = pb::common::v1::WorkerVersionStamp {
        build_id: String,
        use_versioning: bool,
    }
}

message! {
    /// `temporal.api.common.v1.TimeSkippingStatePropagation`.
    TimeSkippingStatePropagation = pb::common::v1::TimeSkippingStatePropagation {
        initial_skipped_duration: Option<Duration>,
        fast_forward_target_time: Option<Timestamp>,
        initial_skip_count: i32,
    }
}

message! {
    /// `temporal.api.common.v1.MeteringMetadata`.
    MeteringMetadata = pb::common::v1::MeteringMetadata {
        nonfirst_local_activity_execution_attempts: u32,
    }
}

message! {
    /// `temporal.api.common.v1.TimeSkippingInfo`.
    TimeSkippingInfo = pb::common::v1::TimeSkippingInfo {
        current_time: Option<Timestamp>,
        effective_config: Option<TimeSkippingConfig>,
        fast_forward_info: Option<TimeSkippingFastForwardInfo>,
        current_session_skip_count: i32,
    }
}

message! {
    /// `temporal.api.common.v1.TimeSkippingFastForwardInfo`.
    TimeSkippingFastForwardInfo = pb::common::v1::TimeSkippingFastForwardInfo {
        fast_forward_duration: Option<Duration>,
        fast_forward_id: String,
        target_time: Option<Timestamp>,
        has_completed: bool,
    }
}

message! {
    /// `temporal.api.common.v1.DataBlob`.
    DataBlob = pb::common::v1::DataBlob {
        encoding_type: EncodingType,
        data: Bytes,
    }
}

message! {
    /// `temporal.api.common.v1.WorkerVersionCapabilities`.
    WorkerVersionCapabilities = pb::common::v1::WorkerVersionCapabilities {
        build_id: String,
        use_versioning: bool,
        deployment_series_name: String,
    }
}
