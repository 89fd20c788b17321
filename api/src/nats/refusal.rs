//! What becomes of a message of the inbox that is refused: it is kept for a week where an operator finds it, its sender hears of
//! it where it asked to, and the log says it.

use async_nats::HeaderMap;
use async_nats::jetstream;
use fermata_proto::inbox::*;
use fermata_proto::rpc::Rejection;
use fermata_proto::subjects;
use fermata_transport::Transport;
use serde::Serialize;

use crate::error::{code_of, name_of};

/// What the sender hears, as JSON.
#[derive(Serialize)]
struct Refusal<'a> {
    #[serde(rename = "requestId")]
    request_id: &'a str,
    #[serde(rename = "workflowId")]
    workflow_id: &'a str,
    operation: &'a str,
    /// The name of a gRPC status code.
    kind: &'a str,
    message: &'a str,
}

/// Keeps a refused message and tells its sender.
///
/// # Errors
/// If it could not be kept; it must then stay in the inbox.
pub(super) async fn keep_and_tell(
    transport: &Transport,
    message: &jetstream::Message,
    (operation, workflow_id, request_id): (&str, &str, &str),
    rejection: &Rejection,
) -> Result<(), String> {
    let kind = name_of(code_of(rejection.kind));
    let given = message.headers.clone().unwrap_or_default();
    let reply_to = given
        .get(REFUSALS_TO_HEADER)
        .map(|value| value.as_str().to_owned());
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (REFUSAL_KIND_HEADER, kind),
        (REFUSAL_HEADER, &one_line(&rejection.message)),
        (REQUEST_ID_HEADER, &one_line(request_id)),
        (SUBJECT_HEADER, message.subject.as_str()),
        // Refused twice (its end was not acknowledged in time) is kept once.
        ("Nats-Msg-Id", &one_line(request_id)),
    ] {
        headers.insert(name, value);
    }
    if let Some(content_type) = given.get("Content-Type") {
        headers.insert("Content-Type", content_type.as_str());
    }
    let namespace = subjects::inbox_namespace_of(&message.subject).unwrap_or("unknown");
    let subject = subjects::refused(namespace);
    transport
        .jetstream()
        .publish_with_headers(subject, headers, message.payload.clone())
        .await
        .map_err(|error| error.to_string())?
        .await
        .map_err(|error| error.to_string())?;
    let told = match reply_to {
        None => "nobody",
        Some(subject) if !may_be_told(&subject) => "nobody: not a subject of an application",
        Some(subject) => {
            let refusal = Refusal {
                request_id,
                workflow_id,
                operation,
                kind,
                message: &rejection.message,
            };
            let body = serde_json::to_vec(&refusal).map_err(|error| error.to_string())?;
            match transport.nats().publish(subject, body.into()).await {
                Ok(()) => "its sender",
                Err(_) => "nobody: no connection",
            }
        }
    };
    tracing::warn!(subject = %message.subject, operation, workflow_id, request_id, kind, %rejection, told, "a request of the inbox was refused");
    Ok(())
}

/// A plain subject that is neither ours nor the broker's: else whoever may publish to the inbox could speak in our name.
fn may_be_told(subject: &str) -> bool {
    let is_plain = !subject.is_empty()
        && subject
            .split('.')
            .all(|token| !token.is_empty() && token != "*" && token != ">")
        && !subject.contains(|letter: char| letter.is_whitespace() || letter.is_control());
    is_plain && !subject.starts_with('$') && subject != "fm" && !subject.starts_with("fm.")
}

/// A header's value cannot hold line ends.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_go_to_plain_subjects_of_applications_only() {
        assert!(may_be_told("orders.refused"));
        assert!(may_be_told("_INBOX.abc.1"));
        for subject in [
            "",
            "a..b",
            "a.*",
            "a.>",
            "a b",
            "$JS.API.STREAM.DELETE.X",
            "fm.rpc.1",
            "fm",
            "a\r\nPUB",
        ] {
            assert!(!may_be_told(subject), "{subject:?}");
        }
    }
}
