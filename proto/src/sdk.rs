//! What SDKs store and read back.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use crate::common::Payload;
use crate::pb;
use crate::wire::{message, oneof};

message! {
    /// `temporal.api.sdk.v1.UserMetadata`.
    UserMetadata = pb::sdk::v1::UserMetadata {
        summary: Option<Payload>,
        details: Option<Payload>,
    }
}

message! {
    /// `temporal.api.sdk.v1.EventGroupMarker`.
    EventGroupMarker = pb::sdk::v1::EventGroupMarker {
        variant: Option<EventGroupMarkerVariant>,
    }
}

oneof! {
    /// The choice `variant` of [`EventGroupMarker`].
    EventGroupMarkerVariant = pb::sdk::v1::event_group_marker::Variant {
        Label = Label(EventGroupMarkerLabel),
        InboundEvent = InboundEvent(EventGroupMarkerInboundEvent),
        InboundUpdate = InboundUpdate(EventGroupMarkerInboundUpdate),
    }
}

message! {
    /// `temporal.api.sdk.v1.EventGroupMarker.Label`.
    EventGroupMarkerLabel = pb::sdk::v1::event_group_marker::Label {
        id: String,
        label: Option<Payload>,
    }
}

message! {
    /// `temporal.api.sdk.v1.EventGroupMarker.InboundEvent`.
    EventGroupMarkerInboundEvent = pb::sdk::v1::event_group_marker::InboundEvent {
        inbound_event_id: i64,
    }
}

message! {
    /// `temporal.api.sdk.v1.EventGroupMarker.InboundUpdate`.
    EventGroupMarkerInboundUpdate = pb::sdk::v1::event_group_marker::InboundUpdate {
        inbound_update_id: String,
    }
}

message! {
    /// `temporal.api.sdk.v1.WorkflowTaskCompletedMetadata`.
    WorkflowTaskCompletedMetadata = pb::sdk::v1::WorkflowTaskCompletedMetadata {
        core_used_flags: Vec<u32>,
        lang_used_flags: Vec<u32>,
        sdk_name: String,
        sdk_version: String,
    }
}
