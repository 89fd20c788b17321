//! Histories as JSON: as Temporal's UI and command line and `fermata workflow show --output json` write them.
//!
//! Read are the JSON form of `temporal.api.history.v1.History`, the same within `{"history": ...}`, enum values in their short
//! old form (`WorkflowExecutionStarted`), and payloads in shorthand: the value itself instead of its encoded bytes.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fermata_proto::event::{History, HistoryEventAttributes};
use fermata_proto::wire::{Wire, WireError};
use fermata_proto::{DESCRIPTORS, pb};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind,
    MessageDescriptor, SerializeOptions,
};
use serde_json::{Map, Value, json};

use crate::history::WorkflowHistory;

const HISTORY: &str = "temporal.api.history.v1.History";
const PAYLOAD: &str = "temporal.api.common.v1.Payload";
const PAYLOADS: &str = "temporal.api.common.v1.Payloads";
/// What a payload in full has besides `metadata`.
const PAYLOAD_FIELDS: [&str; 4] = ["data", "metadata", "externalPayloads", "external_payloads"];

static DESCRIPTOR: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    DescriptorPool::decode(DESCRIPTORS)
        .expect("the descriptors were built with the messages")
        .get_message_by_name(HISTORY)
        .expect("History is among the messages")
});

/// Why a text is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("read a history: it is no JSON")]
    Json(#[source] serde_json::Error),
    #[error("read a history: it is not the JSON form of {HISTORY}")]
    Shape(#[source] serde_json::Error),
    #[error("read a history: its bytes are no {HISTORY}")]
    Decode(#[source] prost::DecodeError),
    #[error("read a history: it holds what this version does not know")]
    Unknown(#[source] WireError),
    #[error("read a history: it does not begin with WorkflowExecutionStarted")]
    NotStarted,
}

impl WorkflowHistory {
    /// Reads what Temporal's UI ("download"), `temporal workflow show --output json` and
    /// `fermata workflow show --output json` write.
    ///
    /// # Errors
    /// If it is nothing of that.
    pub fn from_json(text: &str) -> Result<Self, HistoryError> {
        let mut value: Value = serde_json::from_str(text).map_err(HistoryError::Json)?;
        if let Some(inner) = value.get_mut("history") {
            value = inner.take();
        }
        in_full(&mut value, &DESCRIPTOR);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let message = DynamicMessage::deserialize_with_options(DESCRIPTOR.clone(), value, &options)
            .map_err(HistoryError::Shape)?;
        let message = pb::history::v1::History::decode(&message.encode_to_vec()[..])
            .map_err(HistoryError::Decode)?;
        let history = History::from_wire(message).map_err(HistoryError::Unknown)?;
        // Code may name children after its own workflow id: a replay must know it.
        let workflow_id = match history.events.first().map(|event| &event.attributes) {
            Some(Some(HistoryEventAttributes::WorkflowExecutionStarted(started))) => {
                started.workflow_id.clone()
            }
            _ => String::new(),
        };
        let history = Self::new(&workflow_id, history.events);
        if history.workflow_type().is_empty() {
            return Err(HistoryError::NotStarted);
        }
        Ok(history)
    }

    /// The JSON form that [`Self::from_json`] and Temporal's tools read.
    pub fn to_json(&self) -> String {
        let history = History {
            events: self.events.clone(),
        };
        let bytes = history.into_wire().encode_to_vec();
        let message = DynamicMessage::decode(DESCRIPTOR.clone(), &bytes[..])
            .expect("encoded by the same descriptors");
        let value = message
            .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
            .expect("a message has a JSON form");
        serde_json::to_string_pretty(&value).expect("a value has a JSON form")
    }
}

/// Writes shorthand out, down the whole tree.
fn in_full(value: &mut Value, descriptor: &MessageDescriptor) {
    match descriptor.full_name() {
        PAYLOAD => return payload_in_full(value),
        PAYLOADS => {
            if let Value::Array(list) = value {
                list.iter_mut().for_each(payload_in_full);
                *value = json!({ "payloads": list });
                return;
            }
        }
        // These have JSON forms of their own.
        name if name.starts_with("google.protobuf.") => return,
        _ => {}
    }
    let Value::Object(fields) = value else {
        return;
    };
    for (name, value) in fields {
        let field = descriptor
            .get_field_by_json_name(name)
            .or_else(|| descriptor.get_field_by_name(name));
        if let Some(field) = field {
            field_in_full(value, &field);
        }
    }
}

fn field_in_full(value: &mut Value, field: &FieldDescriptor) {
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    let one = |value: &mut Value| match &kind {
        Kind::Message(message) => in_full(value, message),
        Kind::Enum(of) => enum_in_full(value, of),
        _ => {}
    };
    match value {
        Value::Object(entries) if field.is_map() => entries.values_mut().for_each(one),
        Value::Array(list) if field.is_list() => list.iter_mut().for_each(one),
        value => one(value),
    }
}

/// A payload in full is an object with metadata; everything else is its value.
fn payload_in_full(value: &mut Value) {
    let is_full = value
        .as_object()
        .is_some_and(|fields: &Map<String, Value>| {
            let known = |name: &String| PAYLOAD_FIELDS.contains(&name.as_str());
            fields.get("metadata").is_some_and(Value::is_object) && fields.keys().all(known)
        });
    if is_full {
        return;
    }
    let (encoding, data) = if value.is_null() {
        ("binary/null", String::new())
    } else {
        ("json/plain", BASE64_STANDARD.encode(value.to_string()))
    };
    let encoding = BASE64_STANDARD.encode(encoding);
    *value = json!({ "metadata": { "encoding": encoding }, "data": data });
}

/// `WorkflowExecutionStarted` for `EVENT_TYPE_WORKFLOW_EXECUTION_STARTED`.
fn enum_in_full(value: &mut Value, descriptor: &EnumDescriptor) {
    let Some(name) = value.as_str() else { return };
    if descriptor.get_value_by_name(name).is_some() {
        return;
    }
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    let wanted = plain(descriptor.name()) + &plain(name);
    let found = descriptor
        .values()
        .find(|value| plain(value.name()) == wanted);
    if let Some(found) = found {
        *value = found.name().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS_THE_UI_WRITES_IT: &str = r#"{"events": [{
        "eventId": "1",
        "eventTime": "2026-01-01T00:00:00.5Z",
        "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
        "somethingNew": {"x": 1},
        "workflowExecutionStartedEventAttributes": {
            "workflowType": {"name": "greet"},
            "workflowId": "greet-ada",
            "input": {"payloads": [
                {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "IkFkYSI="}
            ]},
            "workflowTaskTimeout": "10s"
        }
    }]}"#;

    const IN_SHORTHAND: &str = r#"{"history": {"events": [{
        "eventId": "1",
        "eventTime": "2026-01-01T00:00:00.5Z",
        "eventType": "WorkflowExecutionStarted",
        "workflowExecutionStartedEventAttributes": {
            "workflowType": {"name": "greet"},
            "workflowId": "greet-ada",
            "input": ["Ada"],
            "workflowTaskTimeout": "10s"
        }
    }]}}"#;

    #[test]
    fn the_same_history_is_read_in_full_and_in_shorthand() {
        let full = WorkflowHistory::from_json(AS_THE_UI_WRITES_IT).unwrap();
        assert_eq!(full.workflow_type(), "greet");
        assert_eq!(full.workflow_id(), "greet-ada");
        assert_eq!(full, WorkflowHistory::from_json(IN_SHORTHAND).unwrap());
        assert_eq!(full, WorkflowHistory::from_json(&full.to_json()).unwrap());
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        let refused = |text: &str| WorkflowHistory::from_json(text).unwrap_err();
        assert!(matches!(refused("{"), HistoryError::Json(_)));
        assert!(matches!(refused("[]"), HistoryError::Shape(_)));
        assert!(matches!(refused("{}"), HistoryError::NotStarted));
    }
}
