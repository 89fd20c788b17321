//! What a message of the inbox asks for: MessagePack or JSON, for the namespace that its subject names.

use std::sync::Arc;

use async_nats::HeaderMap;
use fermata_proto::codec;
use fermata_proto::ids::NamespaceId;
use fermata_proto::inbox::InboxRequest;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::Rejection;
use fermata_proto::subjects;
use fermata_proto::wire::Wire;
use fermata_transport::Transport;
use prost_reflect::DynamicMessage;

use crate::descriptors;
use crate::rest::json;
use crate::service::namespace_not_found;

/// The requests that the inbox takes, by Temporal's names.
const OPERATIONS: [&str; 4] = [
    "StartWorkflowExecution",
    "SignalWorkflowExecution",
    "SignalWithStartWorkflowExecution",
    "RequestCancelWorkflowExecution",
];

/// A request as the handlers take it.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Start(Box<rr::StartWorkflowExecutionRequest>),
    Signal(Box<rr::SignalWorkflowExecutionRequest>),
    SignalWithStart(Box<rr::SignalWithStartWorkflowExecutionRequest>),
    RequestCancel(Box<rr::RequestCancelWorkflowExecutionRequest>),
}

impl Wanted {
    /// As in metrics and refusals.
    pub fn operation(&self) -> &'static str {
        let [start, signal, signal_with_start, cancel] = OPERATIONS;
        match self {
            Self::Start(_) => start,
            Self::Signal(_) => signal,
            Self::SignalWithStart(_) => signal_with_start,
            Self::RequestCancel(_) => cancel,
        }
    }

    pub fn workflow_id(&self) -> &str {
        match self {
            Self::Start(request) => &request.workflow_id,
            Self::SignalWithStart(request) => &request.workflow_id,
            Self::Signal(request) => request
                .workflow_execution
                .as_ref()
                .map_or("", |execution| &execution.workflow_id),
            Self::RequestCancel(request) => request
                .workflow_execution
                .as_ref()
                .map_or("", |execution| &execution.workflow_id),
        }
    }

    /// Whether it addresses a run that must be there already.
    pub fn needs_a_run(&self) -> bool {
        matches!(self, Self::Signal(_) | Self::RequestCancel(_))
    }

    /// Puts in what the message says outside of its body: its namespace, and its own id as the request id, unless the body has
    /// one. So that a redelivered message is no second request.
    pub fn complete(&mut self, namespace: &NamespaceRecord, message_id: &str) {
        let (in_namespace, request_id) = match self {
            Self::Start(request) => {
                // There is nobody here who could take the first workflow task.
                request.request_eager_execution = false;
                (&mut request.namespace, &mut request.request_id)
            }
            Self::Signal(request) => (&mut request.namespace, &mut request.request_id),
            Self::SignalWithStart(request) => (&mut request.namespace, &mut request.request_id),
            Self::RequestCancel(request) => (&mut request.namespace, &mut request.request_id),
        };
        in_namespace.clone_from(&namespace.name);
        if request_id.is_empty() {
            message_id.clone_into(request_id);
        }
    }
}

/// The namespace of a message's subject, by id or name.
///
/// # Errors
/// NOT_FOUND if there is none.
pub(super) fn namespace(
    transport: &Transport,
    subject: &str,
) -> Result<Arc<NamespaceRecord>, Rejection> {
    let token = subjects::inbox_namespace_of(subject).unwrap_or_default();
    let namespaces = transport.namespaces();
    namespaces
        .by_id(&NamespaceId::from(token))
        .or_else(|| namespaces.by_name(token))
        .ok_or_else(|| namespace_not_found(token))
}

/// Reads a body.
///
/// # Errors
/// INVALID_ARGUMENT, in words for its author.
pub(super) fn read(headers: Option<&HeaderMap>, body: &[u8]) -> Result<Wanted, Rejection> {
    let refused = |words: String| Rejection::invalid_argument(format!("read the request: {words}"));
    if is_json(headers, body).map_err(refused)? {
        let text = std::str::from_utf8(body).map_err(|error| refused(error.to_string()))?;
        return read_json(text).map_err(|error| refused(error.to_string()));
    }
    let request = codec::decode::<InboxRequest>(body)
        .map_err(|error| refused(format!("{error}: {}", error.source)))?;
    Ok(match request {
        InboxRequest::StartWorkflowExecution(request) => Wanted::Start(request.into_wire()),
        InboxRequest::SignalWorkflowExecution(request) => Wanted::Signal(request.into_wire()),
        InboxRequest::SignalWithStartWorkflowExecution(request) => {
            Wanted::SignalWithStart(request.into_wire())
        }
        InboxRequest::RequestCancelWorkflowExecution(request) => {
            Wanted::RequestCancel(request.into_wire())
        }
    })
}

/// By the content type; without one by the first byte, since a MessagePack request is a map and never begins as JSON does.
fn is_json(headers: Option<&HeaderMap>, body: &[u8]) -> Result<bool, String> {
    let content_type = headers
        .and_then(|headers| headers.get("Content-Type"))
        .map(|value| value.as_str().to_ascii_lowercase());
    match content_type.as_deref() {
        Some(text) if text.contains("json") => Ok(true),
        Some(text) if text.contains("msgpack") => Ok(false),
        Some(other) => Err(format!(
            "content type {other:?} is unknown: there are application/json and application/msgpack"
        )),
        None => match body.trim_ascii_start().first() {
            None => Err("an empty message".to_owned()),
            Some(first) => Ok(*first == b'{'),
        },
    }
}

fn read_json(text: &str) -> Result<Wanted, json::JsonError> {
    let descriptor_of = |name: &str| {
        // `startWorkflowExecution` or as in the proto.
        let operation = OPERATIONS.into_iter().find(|operation| {
            // The rests are equal and ASCII, so the first characters are one byte each.
            name.get(1..) == operation.get(1..) && name[..1].eq_ignore_ascii_case(&operation[..1])
        })?;
        let full_name = format!("temporal.api.workflowservice.v1.{operation}Request");
        let descriptor = descriptors::pool().get_message_by_name(&full_name)?;
        Some((operation, descriptor))
    };
    let (operation, message) = json::decode_tagged(descriptor_of, text)?;
    let [start, signal, signal_with_start, _] = OPERATIONS;
    Ok(if operation == start {
        Wanted::Start(typed(&message))
    } else if operation == signal {
        Wanted::Signal(typed(&message))
    } else if operation == signal_with_start {
        Wanted::SignalWithStart(typed(&message))
    } else {
        Wanted::RequestCancel(typed(&message))
    })
}

fn typed<M: prost::Message + Default>(message: &DynamicMessage) -> Box<M> {
    let typed = message.transcode_to();
    Box::new(typed.expect("the descriptor is that of the type"))
}

#[cfg(test)]
mod tests {
    use fermata_proto::service::SignalWorkflowExecutionRequest;

    use super::*;

    #[test]
    fn json_and_messagepack_say_the_same() {
        let text = r#" {"signalWorkflowExecution": {"workflowExecution": {"workflowId": "order-1"}, "signalName": "pay", "input": [{"cents": 7}]}}"#;
        let Wanted::Signal(from_json) = read(None, text.as_bytes()).unwrap() else {
            panic!("another request");
        };
        let own = SignalWorkflowExecutionRequest::from_wire(*from_json.clone()).unwrap();
        let packed = codec::encode(&InboxRequest::SignalWorkflowExecution(Box::new(own)));
        let Wanted::Signal(from_messagepack) = read(None, &packed).unwrap() else {
            panic!("another request");
        };
        assert_eq!(from_json, from_messagepack);
        assert_eq!(from_json.signal_name, "pay");
        let payloads = from_json.input.unwrap().payloads;
        assert_eq!(payloads[0].data, br#"{"cents":7}"#);
    }

    #[test]
    fn what_is_no_request_is_refused_in_words() {
        let words = |body: &[u8]| read(None, body).unwrap_err().message;
        assert!(words(b"").contains("empty"));
        assert!(words(b"{\"launch\": {}}").contains("unknown request \"launch\""));
        assert!(
            words(b"{\"startWorkflowExecution\": {\"workflow\": 1}}").contains("unknown field")
        );
        assert!(words(b"{}").contains("0 members where one is expected"));
        assert!(words(b"\x81\xa1x\x01").contains("unknown variant"));
        assert!(words(b"hello").contains("InboxRequest"));
        assert!(words("{\"é\": {}}".as_bytes()).contains("unknown request"));
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "text/csv");
        let refused = read(Some(&headers), b"{}").unwrap_err();
        assert!(refused.message.contains("text/csv"));
    }

    /// Cut anywhere and with any byte changed, a body is read or refused.
    #[test]
    fn damaged_bodies_are_refused() {
        let json = br#"{"signalWorkflowExecution": {"workflowExecution": {"workflowId": "\u00e9"}, "input": [1.5e3, null]}}"#;
        let Wanted::Signal(request) = read(None, json).unwrap() else {
            panic!("another request");
        };
        let own = SignalWorkflowExecutionRequest::from_wire(*request).unwrap();
        let packed = codec::encode(&InboxRequest::SignalWorkflowExecution(Box::new(own)));
        for body in [&json[..], &packed[..]] {
            for place in 0..body.len() {
                assert!(read(None, &body[..place]).is_err());
                for bits in [1, 0x20, 0x80, 0xff] {
                    let mut damaged = body.to_vec();
                    damaged[place] ^= bits;
                    let _ = read(None, &damaged);
                }
            }
        }
    }

    #[test]
    fn the_message_id_is_the_request_id_unless_the_body_has_one() {
        let namespace = NamespaceRecord {
            name: "ns".to_owned(),
            ..NamespaceRecord::default()
        };
        for (given, kept) in [("", "message-1"), ("mine", "mine")] {
            let mut wanted = Wanted::Start(Box::new(rr::StartWorkflowExecutionRequest {
                request_id: given.to_owned(),
                request_eager_execution: true,
                ..Default::default()
            }));
            wanted.complete(&namespace, "message-1");
            let Wanted::Start(request) = wanted else {
                panic!("another request");
            };
            assert_eq!(request.request_id, kept);
            assert_eq!(request.namespace, "ns");
            assert!(!request.request_eager_execution);
        }
    }
}
