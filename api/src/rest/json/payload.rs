//! The payload shorthand: plain JSON where a `Payload` or `Payloads` belongs.
//!
//! | JSON | payload |
//! |---|---|
//! | `{"metadata": {"encoding": ...}, "data": ...}`, both base64 | that payload, as it stands |
//! | `null` | `binary/null` |
//! | an object with `_protoMessageType` | `json/protobuf` with that `messageType` |
//! | anything else | `json/plain` |
//!
//! On the way out the same, where nothing is lost by it: a payload of another encoding, or with more metadata, is written in full.
//! `Payloads` is an array of values if each of its payloads has a short form, else `{"payloads": [...]}`.

use std::collections::HashMap;

use bytes::Bytes;
use prost_reflect::{DynamicMessage, MapKey, MessageDescriptor, Value};

use super::JsonError;
use super::scalar::bytes_of;
use super::syntax::{Document, Key, Node, Value as Json};

/// Full name of the message that is one value.
pub(super) const PAYLOAD: &str = "temporal.api.common.v1.Payload";
/// Full name of the message that is a list of values.
pub(super) const PAYLOADS: &str = "temporal.api.common.v1.Payloads";

const MESSAGE_TYPE_KEY: &str = "_protoMessageType";

/// A `Payload` from its full form or from plain JSON.
pub(super) fn read(
    descriptor: MessageDescriptor,
    node: &Node<'_>,
    document: &Document<'_>,
) -> Result<DynamicMessage, JsonError> {
    if let Some((metadata, data)) = full_form(node) {
        return Ok(build(descriptor, metadata, data));
    }
    let mut message_type = None;
    if let Json::Object(members) = &node.value {
        for (key, value) in members {
            if key.name != MESSAGE_TYPE_KEY {
                continue;
            }
            let Json::String(name) = &value.value else {
                let what = format!(
                    "internal key {MESSAGE_TYPE_KEY:?} should have type string, not {}",
                    value.token
                );
                return Err(document.shape(value.at, what));
            };
            message_type = Some(name);
        }
    }
    let encoding =
        |name: &'static str| ("encoding".to_owned(), Bytes::from_static(name.as_bytes()));
    if matches!(node.value, Json::Null) {
        return Ok(build(
            descriptor,
            vec![encoding("binary/null")],
            Bytes::new(),
        ));
    }
    let mut data = String::new();
    write_compact(node, message_type.is_some(), &mut data);
    let metadata = match message_type {
        None => vec![encoding("json/plain")],
        Some(name) => vec![
            encoding("json/protobuf"),
            ("messageType".to_owned(), name.clone().into_owned().into()),
        ],
    };
    Ok(build(descriptor, metadata, data.into()))
}

/// `Payloads` from an array of values.
pub(super) fn read_all(
    descriptor: MessageDescriptor,
    items: &[Node<'_>],
    document: &Document<'_>,
) -> Result<DynamicMessage, JsonError> {
    let field = descriptor
        .get_field_by_name("payloads")
        .expect("Payloads has the field payloads");
    let prost_reflect::Kind::Message(payload) = field.kind() else {
        unreachable!("payloads are messages")
    };
    let payloads = items
        .iter()
        .map(|item| read(payload.clone(), item, document).map(Value::Message));
    let payloads = payloads.collect::<Result<_, _>>()?;
    let mut message = DynamicMessage::new(descriptor);
    message.set_field(&field, Value::List(payloads));
    Ok(message)
}

/// Metadata and data if this is a payload written in full: exactly those two members, all base64, with an encoding.
fn full_form(node: &Node<'_>) -> Option<(Vec<(String, Bytes)>, Bytes)> {
    let Json::Object(members) = &node.value else {
        return None;
    };
    let member = |name: &str| {
        members
            .iter()
            .find(|(key, _)| key.name == name)
            .map(|(_, value)| &value.value)
    };
    let Some(Json::Object(metadata)) = member("metadata") else {
        return None;
    };
    let text = |(key, value): &(Key<'_>, Node<'_>)| match &value.value {
        Json::String(text) => Some((key.name.clone().into_owned(), bytes_of(text)?)),
        _ => None,
    };
    let metadata = metadata.iter().map(text).collect::<Option<Vec<_>>>()?;
    let (_, encoding) = metadata.iter().find(|(name, _)| name == "encoding")?;
    match member("data") {
        None if members.len() == 1 && encoding == "binary/null" => Some((metadata, Bytes::new())),
        Some(Json::String(data)) if members.len() == 2 => Some((metadata, bytes_of(data)?)),
        _ => None,
    }
}

fn build(
    descriptor: MessageDescriptor,
    metadata: Vec<(String, Bytes)>,
    data: Bytes,
) -> DynamicMessage {
    let metadata = metadata
        .into_iter()
        .map(|(name, value)| (MapKey::String(name), Value::Bytes(value)));
    let mut payload = DynamicMessage::new(descriptor);
    payload.set_field_by_name("metadata", Value::Map(metadata.collect::<HashMap<_, _>>()));
    payload.set_field_by_name("data", Value::Bytes(data));
    payload
}

/// The value without blanks. Numbers and strings stay as they were written, so that no digit is lost.
fn write_compact(node: &Node<'_>, without_message_type: bool, out: &mut String) {
    match &node.value {
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_compact(item, false, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            let members = members
                .iter()
                .filter(|(key, _)| !(without_message_type && key.name == MESSAGE_TYPE_KEY));
            for (index, (key, value)) in members.enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(key.token);
                out.push(':');
                write_compact(value, false, out);
            }
            out.push('}');
        }
        _ => out.push_str(node.token),
    }
}

/// The plain JSON a payload can be written as without loss.
pub(super) fn short_form(payload: &DynamicMessage) -> Option<serde_json::Value> {
    let metadata = payload.get_field_by_name("metadata")?;
    let metadata = metadata.as_map()?;
    let text = |name: &str| {
        let bytes = metadata.get(&MapKey::String(name.to_owned()))?.as_bytes()?;
        std::str::from_utf8(bytes).ok()
    };
    let data = payload.get_field_by_name("data")?;
    let data = data.as_bytes()?;
    match (text("encoding")?, metadata.len()) {
        ("binary/null", 1) if data.is_empty() => Some(serde_json::Value::Null),
        ("json/plain", 1) => serde_json::from_slice(data).ok(),
        ("json/protobuf", 2) => {
            let message_type = text("messageType").filter(|name| !name.is_empty())?;
            let mut object: serde_json::Map<_, _> = serde_json::from_slice(data).ok()?;
            object.insert(MESSAGE_TYPE_KEY.to_owned(), message_type.into());
            Some(object.into())
        }
        _ => None,
    }
}

/// The values `Payloads` can be written as, if all of them have a short form.
pub(super) fn short_forms(payloads: &DynamicMessage) -> Option<Vec<serde_json::Value>> {
    let payloads = payloads.get_field_by_name("payloads")?;
    payloads
        .as_list()?
        .iter()
        .map(|payload| short_form(payload.as_message()?))
        .collect()
}
