//! What travels inside `google.protobuf.Any`: bodies of protocol messages, and the typed details of refusals.

use prost::{Message, Name};

use crate::rpc::ErrorDetail;
use crate::wire::{Any, Wire, WireError};
use crate::{pb, update};

const TYPE_URL: &str = "type.googleapis.com/";
/// The package whose messages are said about updates.
const UPDATE_PACKAGE: &str = "temporal.api.update.v1";

impl Any {
    /// `message` with its name.
    pub fn pack<M: Message + Name>(message: &M) -> Self {
        Self {
            type_url: format!("{TYPE_URL}{}", M::full_name()),
            value: message.encode_to_vec().into(),
        }
    }

    /// The full name of the message inside; empty if there is none.
    pub fn message_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }

    fn unpack<M: Message + Default, T: Wire<M>>(&self) -> Result<T, WireError> {
        let message = M::decode(&self.value[..]).map_err(|error| {
            WireError::new(format!("{} does not decode: {error}", self.message_name()))
        })?;
        T::from_wire(message)
    }
}

/// What a worker says about an update.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateMessage {
    Acceptance(update::Acceptance),
    Rejection(update::Rejection),
    Response(update::Response),
}

impl UpdateMessage {
    /// Nothing if `body` is about something else.
    ///
    /// # Errors
    /// If it does not decode, or holds what our types cannot.
    pub fn from_body(body: &Any) -> Result<Option<Self>, WireError> {
        let name = body.message_name();
        Ok(match name.strip_prefix(UPDATE_PACKAGE) {
            Some(".Acceptance") => Some(Self::Acceptance(
                body.unpack::<pb::update::v1::Acceptance, _>()?,
            )),
            Some(".Rejection") => Some(Self::Rejection(
                body.unpack::<pb::update::v1::Rejection, _>()?,
            )),
            Some(".Response") => Some(Self::Response(
                body.unpack::<pb::update::v1::Response, _>()?,
            )),
            _ => None,
        })
    }

    /// Whether `body` is a rejection, by its name.
    pub fn is_rejection(body: &Any) -> bool {
        is_named(body, ".Rejection")
    }

    /// Whether `body` is what a worker is asked, an [`update::Request`], by its name.
    pub fn is_request(body: &Any) -> bool {
        is_named(body, ".Request")
    }

    /// The form in which a message carries it.
    pub fn into_body(self) -> Any {
        match self {
            Self::Acceptance(message) => {
                Any::pack::<pb::update::v1::Acceptance>(&message.into_wire())
            }
            Self::Rejection(message) => {
                Any::pack::<pb::update::v1::Rejection>(&message.into_wire())
            }
            Self::Response(message) => Any::pack::<pb::update::v1::Response>(&message.into_wire()),
        }
    }
}

fn is_named(body: &Any, name: &str) -> bool {
    body.message_name().strip_prefix(UPDATE_PACKAGE) == Some(name)
}

impl update::Request {
    /// The body of the message that brings it to a worker.
    pub fn to_body(&self) -> Any {
        Any::pack::<pb::update::v1::Request>(&self.clone().into_wire())
    }

    /// # Errors
    /// If `body` is something else.
    pub fn from_body(body: &Any) -> Result<Self, WireError> {
        body.unpack::<pb::update::v1::Request, _>()
    }
}

impl ErrorDetail {
    /// The form in which a status carries it.
    pub fn into_any(self) -> Any {
        use pb::errordetails::v1 as wire;
        match self {
            Self::WorkflowExecutionAlreadyStarted(detail) => {
                Any::pack::<wire::WorkflowExecutionAlreadyStartedFailure>(&detail.into_wire())
            }
            Self::NotFound(detail) => Any::pack::<wire::NotFoundFailure>(&detail.into_wire()),
            Self::NamespaceNotFound(detail) => {
                Any::pack::<wire::NamespaceNotFoundFailure>(&detail.into_wire())
            }
            Self::NamespaceInvalidState(detail) => {
                Any::pack::<wire::NamespaceInvalidStateFailure>(&detail.into_wire())
            }
            Self::NamespaceAlreadyExists(detail) => {
                Any::pack::<wire::NamespaceAlreadyExistsFailure>(&detail.into_wire())
            }
            Self::QueryFailed(detail) => Any::pack::<wire::QueryFailedFailure>(&detail.into_wire()),
            Self::WorkflowNotReady(detail) => {
                Any::pack::<wire::WorkflowNotReadyFailure>(&detail.into_wire())
            }
            Self::ResourceExhausted(detail) => {
                Any::pack::<wire::ResourceExhaustedFailure>(&detail.into_wire())
            }
            Self::CancellationAlreadyRequested(detail) => {
                Any::pack::<wire::CancellationAlreadyRequestedFailure>(&detail.into_wire())
            }
            Self::MultiOperationExecution(detail) => {
                Any::pack::<wire::MultiOperationExecutionFailure>(&detail.into_wire())
            }
            Self::PermissionDenied(detail) => {
                Any::pack::<wire::PermissionDeniedFailure>(&detail.into_wire())
            }
            Self::SystemWorkflow(detail) => {
                Any::pack::<wire::SystemWorkflowFailure>(&detail.into_wire())
            }
        }
    }
}

/// The detail of an operation that did not happen because another one of the same request failed.
pub fn multi_operation_aborted() -> Any {
    Any::pack(&pb::failure::v1::MultiOperationExecutionAborted {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_what_it_is() {
        let rejection = UpdateMessage::Rejection(update::Rejection {
            rejected_request_message_id: "u/request".to_owned(),
            ..update::Rejection::default()
        });
        let body = rejection.clone().into_body();
        assert_eq!(body.message_name(), "temporal.api.update.v1.Rejection");
        assert!(UpdateMessage::is_rejection(&body));
        assert_eq!(UpdateMessage::from_body(&body), Ok(Some(rejection)));
        let request = update::Request::default().to_body();
        assert!(!UpdateMessage::is_rejection(&request));
        assert_eq!(UpdateMessage::from_body(&request), Ok(None));
    }

    #[test]
    fn rubbish_in_a_body_is_refused() {
        let body = Any {
            type_url: "type.googleapis.com/temporal.api.update.v1.Response".to_owned(),
            value: vec![0xff].into(),
        };
        assert!(UpdateMessage::from_body(&body).is_err());
    }
}
