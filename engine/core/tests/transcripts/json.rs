//! Between the JSON of transcripts and our types, by the descriptors of Temporal's API.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fermata_proto::rpc::{ErrorDetail, Rejection};
use fermata_proto::wire::Wire;
use fermata_proto::{DESCRIPTORS, pb};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Map, Value, json};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("descriptors decode"));

/// Stands for a message that the edge words.
pub const OF_THE_EDGE: &str = "<of the edge>";

const SERVICE: &str = "temporal.api.workflowservice.v1";
const ERROR_DETAILS: &str = "temporal.api.errordetails.v1";

/// A message of the workflow service from its JSON.
///
/// # Errors
/// INVALID_ARGUMENT if it holds what our types cannot; the words are the edge's.
pub fn parse<P: Message + Default, T: Wire<P>>(name: &str, value: &Value) -> Result<T, Rejection> {
    let descriptor = POOL
        .get_message_by_name(&format!("{SERVICE}.{name}"))
        .unwrap_or_else(|| panic!("{name} is a message"));
    let message = DynamicMessage::deserialize(descriptor, value)
        .unwrap_or_else(|error| panic!("{name} from {value}: {error}"));
    let message = P::decode(&message.encode_to_vec()[..]).expect("encoded by the same descriptors");
    T::from_wire(message).map_err(|_| Rejection::invalid_argument(OF_THE_EDGE))
}

/// A message of the workflow service as JSON, fields of default value left out.
pub fn show<P: Message + Default, T: Wire<P>>(name: &str, message: T) -> Value {
    show_message(&format!("{SERVICE}.{name}"), message.into_wire())
}

fn show_message(full_name: &str, message: impl Message) -> Value {
    let descriptor = POOL
        .get_message_by_name(full_name)
        .unwrap_or_else(|| panic!("{full_name} is a message"));
    let message = DynamicMessage::decode(descriptor, &message.encode_to_vec()[..])
        .expect("encoded by the same descriptors");
    message
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .expect("a message has a JSON form")
}

/// Typed details of a refusal in the form of `google.protobuf.Any`.
pub fn show_detail(detail: ErrorDetail) -> Value {
    use pb::errordetails::v1 as wire;
    macro_rules! of {
        ($name:ident, $value:expr) => {{
            let message: wire::$name = $value.into_wire();
            let name = format!("{ERROR_DETAILS}.{}", stringify!($name));
            (name.clone(), show_message(&name, message))
        }};
    }
    let (name, mut shown) = match detail {
        ErrorDetail::WorkflowExecutionAlreadyStarted(d) => {
            of!(WorkflowExecutionAlreadyStartedFailure, d)
        }
        ErrorDetail::NotFound(d) => of!(NotFoundFailure, d),
        ErrorDetail::NamespaceNotFound(d) => of!(NamespaceNotFoundFailure, d),
        ErrorDetail::QueryFailed(d) => of!(QueryFailedFailure, d),
        ErrorDetail::WorkflowNotReady(d) => of!(WorkflowNotReadyFailure, d),
        ErrorDetail::ResourceExhausted(d) => of!(ResourceExhaustedFailure, d),
        ErrorDetail::CancellationAlreadyRequested(d) => of!(CancellationAlreadyRequestedFailure, d),
        ErrorDetail::PermissionDenied(d) => of!(PermissionDeniedFailure, d),
        ErrorDetail::MultiOperationExecution(d) => of!(MultiOperationExecutionFailure, d),
        other => panic!("the core never refuses with {other:?}"),
    };
    shown
        .as_object_mut()
        .expect("a message is an object")
        .insert(
            "@type".to_owned(),
            json!(format!("type.googleapis.com/{name}")),
        );
    shown
}

/// Payloads of the normal form back to what they stood for.
pub fn with_payloads(value: &Value) -> Value {
    let Value::Object(fields) = value else {
        return match value {
            Value::Array(items) => items.iter().map(with_payloads).collect(),
            other => other.clone(),
        };
    };
    if let (1, Some(content)) = (fields.len(), fields.get("json")) {
        return json!({
            "metadata": { "encoding": BASE64_STANDARD.encode("json/plain") },
            "data": BASE64_STANDARD.encode(content.to_string()),
        });
    }
    if let (2, Some(Value::Object(metadata)), Some(Value::String(text))) =
        (fields.len(), fields.get("metadata"), fields.get("text"))
    {
        let metadata: Map<String, Value> = metadata
            .iter()
            .map(|(key, value)| {
                let value = value.as_str().expect("metadata is text");
                (key.clone(), json!(BASE64_STANDARD.encode(value)))
            })
            .collect();
        return json!({ "metadata": metadata, "data": BASE64_STANDARD.encode(text) });
    }
    fields
        .iter()
        .map(|(key, value)| (key.clone(), with_payloads(value)))
        .collect::<Map<_, _>>()
        .into()
}

/// The payloads of our answers in the normal form; the reverse of [`with_payloads`].
pub fn normal_payload(fields: &Map<String, Value>) -> Option<Value> {
    let metadata = fields.get("metadata")?.as_object()?;
    if fields.keys().any(|key| key != "metadata" && key != "data") {
        return None;
    }
    let decode = |value: &Value| BASE64_STANDARD.decode(value.as_str()?).ok();
    let data = fields.get("data").map_or(Some(Vec::new()), decode)?;
    if metadata.len() == 1 && decode(metadata.get("encoding")?)? == b"json/plain" {
        let content: Value = serde_json::from_slice(&data).ok()?;
        return Some(json!({ "json": content }));
    }
    None
}

/// As [`normal_payload`], for a payload whose golden form is spelled out because its text varies.
pub fn spelled_payload(fields: &Map<String, Value>) -> Option<Value> {
    let metadata = fields.get("metadata")?.as_object()?;
    let text =
        |value: &Value| String::from_utf8(BASE64_STANDARD.decode(value.as_str()?).ok()?).ok();
    let metadata: Option<Map<String, Value>> = metadata
        .iter()
        .map(|(key, value)| Some((key.clone(), json!(text(value)?))))
        .collect();
    Some(json!({ "metadata": metadata?, "text": text(fields.get("data")?)? }))
}
