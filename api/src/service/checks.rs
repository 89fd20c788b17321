//! Checks that many requests share. The words are those that Temporal's clients know.

use fermata_proto::error_details::{NamespaceInvalidStateFailure, NamespaceNotFoundFailure};
use fermata_proto::ids::NamespaceId;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::pb::common::v1 as common;
use fermata_proto::pb::taskqueue::v1 as taskqueue;
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind, TaskToken};
use fermata_proto::{codec, enums::NamespaceState};
use prost::Message;

/// Longest id or name in bytes.
pub(crate) const ID_LENGTH_MAX: usize = 1_000;
/// Largest input, result, memo or details in bytes.
pub(crate) const BLOB_BYTES_MAX: usize = 2 << 20;
/// Most links a request may carry.
const LINKS_MAX: usize = 10;

/// `name` is there and not too long.
pub(crate) fn required(text: &str, name: &str) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(Rejection::invalid_argument(format!(
            "{name} is not set on request."
        )));
    }
    limited(text, name)
}

/// `name` is not too long.
pub(crate) fn limited(text: &str, name: &str) -> Result<(), Rejection> {
    if text.len() > ID_LENGTH_MAX {
        return Err(Rejection::invalid_argument(format!(
            "{name} length exceeds limit."
        )));
    }
    Ok(())
}

pub(crate) fn workflow_id(text: &str) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(Rejection::invalid_argument(
            "WorkflowId is not set on request.",
        ));
    }
    if text.len() > ID_LENGTH_MAX {
        return Err(Rejection::invalid_argument(format!(
            "WorkflowId exceeds maximum allowed length ({}/{ID_LENGTH_MAX})",
            text.len()
        )));
    }
    Ok(())
}

/// A run id is absent or a UUID.
pub(crate) fn run_id(text: &str) -> Result<(), Rejection> {
    if !text.is_empty() && uuid::Uuid::try_parse(text).is_err() {
        return Err(Rejection::invalid_argument("Invalid RunId."));
    }
    Ok(())
}

/// The execution that a request addresses.
pub(crate) fn execution(
    execution: Option<&common::WorkflowExecution>,
) -> Result<&common::WorkflowExecution, Rejection> {
    let execution =
        execution.ok_or_else(|| Rejection::invalid_argument("Execution is not set on request."))?;
    workflow_id(&execution.workflow_id)?;
    run_id(&execution.run_id)?;
    Ok(execution)
}

/// The name of a task queue.
pub(crate) fn task_queue(queue: Option<&taskqueue::TaskQueue>) -> Result<&str, Rejection> {
    let name = queue.map_or("", |queue| &queue.name);
    if name.is_empty() {
        return Err(Rejection::invalid_argument("taskQueue is not set"));
    }
    if name.len() > ID_LENGTH_MAX {
        return Err(Rejection::invalid_argument(
            "taskQueue length exceeds limit",
        ));
    }
    Ok(name)
}

/// Payloads, a memo, a header or a failure that is not too large.
pub(crate) fn blob<M: Message>(message: Option<&M>) -> Result<(), Rejection> {
    if message.is_some_and(|message| message.encoded_len() > BLOB_BYTES_MAX) {
        return Err(Rejection::invalid_argument("Blob data size exceeds limit."));
    }
    Ok(())
}

pub(crate) fn links(links: &[common::Link]) -> Result<(), Rejection> {
    if links.len() > LINKS_MAX {
        return Err(Rejection::invalid_argument(format!(
            "cannot attach more than {LINKS_MAX} links per request, got {}",
            links.len()
        )));
    }
    Ok(())
}

/// A request id that is absent becomes a fresh one, so that a repeat inside Fermata is harmless.
pub(crate) fn request_id(request_id: &mut String) -> Result<(), Rejection> {
    limited(request_id, "RequestId")?;
    if request_id.is_empty() {
        *request_id = uuid::Uuid::new_v4().to_string();
    }
    Ok(())
}

/// What a task token says.
///
/// # Errors
/// INVALID_ARGUMENT if it is absent or none of ours.
pub(crate) fn task_token(bytes: &[u8]) -> Result<TaskToken, Rejection> {
    if bytes.is_empty() {
        return Err(Rejection::invalid_argument(
            "Task token not set on request.",
        ));
    }
    codec::decode::<TaskToken>(bytes)
        .ok()
        .filter(|token| !token.workflow_id.0.is_empty())
        .ok_or_else(foreign_token)
}

/// A token that belongs to another kind of task, or is none.
pub(crate) fn foreign_token() -> Rejection {
    Rejection::invalid_argument("Error deserializing task token.")
}

/// A token is used in the namespace that it was given out in.
pub(crate) fn token_namespace(
    token: &TaskToken,
    namespace_id: &NamespaceId,
) -> Result<(), Rejection> {
    if token.namespace_id != *namespace_id {
        return Err(Rejection::invalid_argument(
            "Operation requested with a token from a different namespace.",
        ));
    }
    Ok(())
}

pub(crate) fn namespace_not_found(name: &str) -> Rejection {
    let detail = NamespaceNotFoundFailure {
        namespace: name.to_owned(),
    };
    Rejection::new(
        RejectionKind::NotFound,
        format!("Namespace {name} is not found."),
    )
    .with(ErrorDetail::NamespaceNotFound(detail))
}

/// New workflows start in registered namespaces only.
pub(crate) fn takes_workflows(namespace: &NamespaceRecord) -> Result<(), Rejection> {
    if namespace.state == NamespaceState::Registered {
        return Ok(());
    }
    let detail = NamespaceInvalidStateFailure {
        namespace: namespace.name.clone(),
        state: namespace.state,
        allowed_states: vec![NamespaceState::Registered],
    };
    Err(Rejection::new(
        RejectionKind::FailedPrecondition,
        format!(
            "Namespace has invalid state: {:?}. Must be Registered.",
            namespace.state
        ),
    )
    .with(ErrorDetail::NamespaceInvalidState(detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T, Rejection>) -> String {
        result.unwrap_err().message
    }

    #[test]
    fn an_execution_is_named_in_full() {
        let named = |workflow_id: &str, run_id: &str| common::WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            run_id: run_id.to_owned(),
        };
        assert_eq!(message(execution(None)), "Execution is not set on request.");
        assert_eq!(
            message(execution(Some(&named("", "")))),
            "WorkflowId is not set on request."
        );
        assert_eq!(
            message(execution(Some(&named("wf", "no uuid")))),
            "Invalid RunId."
        );
        assert_eq!(
            message(execution(Some(&named(&"w".repeat(1_001), "")))),
            "WorkflowId exceeds maximum allowed length (1001/1000)"
        );
        assert!(execution(Some(&named("wf", ""))).is_ok());
    }

    #[test]
    fn a_token_is_ours_or_refused() {
        assert_eq!(message(task_token(b"")), "Task token not set on request.");
        assert_eq!(
            message(task_token(b"rubbish")),
            "Error deserializing task token."
        );
        let token = TaskToken {
            workflow_id: "wf".into(),
            ..TaskToken::default()
        };
        assert_eq!(task_token(&codec::encode(&token)), Ok(token.clone()));
        assert!(token_namespace(&token, &"other".into()).is_err());
    }

    #[test]
    fn a_queue_has_a_name() {
        assert_eq!(message(task_queue(None)), "taskQueue is not set");
    }
}
