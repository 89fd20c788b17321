//! From a [`Rejection`] to what a caller sees: a gRPC status whose `grpc-status-details-bin` holds the typed detail.
//!
//! SDKs unpack `details[0]` of that `google.rpc.Status`, so the detail must be first and of Temporal's own type.

use fermata_proto::rpc::{Rejection, RejectionKind};
use fermata_proto::wire::{Wire, WireError};
use prost::Message;
use temporalio_protos::google::rpc;
use tonic::{Code, Status};

/// The gRPC code of each sort of refusal.
pub const fn code_of(kind: RejectionKind) -> Code {
    Code::from_i32(kind.grpc_code())
}

/// The status a caller gets.
pub fn status_of(rejection: Rejection) -> Status {
    let code = code_of(rejection.kind);
    let Some(detail) = rejection.detail else {
        return Status::new(code, rejection.message);
    };
    let details = rpc::Status {
        code: code as i32,
        message: rejection.message.clone(),
        details: vec![detail.into_any().into_wire()],
    };
    Status::with_details(code, rejection.message, details.encode_to_vec().into())
}

/// A request that holds what Fermata cannot take.
pub fn refused_field(error: &WireError) -> Rejection {
    Rejection::invalid_argument(format!("{}: {}", error.field, error.reason))
}

/// The HTTP status that goes with a gRPC code, as grpc-gateway pairs them.
pub const fn http_status_of(code: Code) -> u16 {
    match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    }
}

/// The name of a code in metrics and logs.
pub const fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typed_detail_comes_first() {
        let status = status_of(Rejection::not_found("workflow not found for ID: x"));
        assert_eq!(status.code(), Code::NotFound);
        let details = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(details.code, 5);
        assert_eq!(
            details.details[0].type_url,
            "type.googleapis.com/temporal.api.errordetails.v1.NotFoundFailure"
        );
    }

    #[test]
    fn a_refusal_without_detail_has_no_details() {
        assert!(
            status_of(Rejection::invalid_argument("no"))
                .details()
                .is_empty()
        );
    }
}
