//! Messages that travel with workflow tasks: updates.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use crate::pb;
use crate::wire::Any;
use crate::wire::{message, oneof};

message! {
    /// `temporal.api.protocol.v1.Message`.
    Message = pb::protocol::v1::Message {
        id: String,
        protocol_instance_id: String,
        sequencing_id: Option<MessageSequencingId>,
        body: Option<Any>,
    }
}

oneof! {
    /// The choice `sequencing_id` of [`Message`].
    MessageSequencingId = pb::protocol::v1::message::SequencingId {
        EventId = EventId(i64),
        CommandIndex = CommandIndex(i64),
    }
}
