//! How the refusal of a pair of start and update tells of each of the two.

use crate::any::multi_operation_aborted;
use crate::error_details::{
    MultiOperationExecutionFailure,
    MultiOperationExecutionFailureOperationStatus as OperationStatus,
};
use crate::rpc::{ErrorDetail, Rejection, RejectionKind};

/// How one of the operations went.
#[derive(Debug, Clone, PartialEq)]
pub enum Went {
    Well,
    /// It would have, but for the other one.
    Aborted,
    Wrong(Rejection),
}

/// The start failed, and so the update did not happen.
pub fn start_failed(rejection: Rejection) -> Rejection {
    refused([Went::Wrong(rejection), Went::Aborted])
}

/// The update failed, after the start or instead of it.
pub fn update_failed(started: bool, rejection: Rejection) -> Rejection {
    let start = if started { Went::Well } else { Went::Aborted };
    refused([start, Went::Wrong(rejection)])
}

/// A refusal of the sort of the first operation that went wrong by itself.
pub fn refused(operations: [Went; 2]) -> Rejection {
    let kind = operations.iter().find_map(|went| match went {
        Went::Wrong(rejection) if rejection.kind != RejectionKind::Aborted => Some(rejection.kind),
        _ => None,
    });
    let statuses = operations.map(|went| match went {
        Went::Well => OperationStatus::default(),
        Went::Aborted => OperationStatus {
            code: RejectionKind::Aborted.grpc_code(),
            message: "Operation was aborted.".to_owned(),
            details: vec![multi_operation_aborted()],
        },
        Went::Wrong(rejection) => OperationStatus {
            code: rejection.kind.grpc_code(),
            message: rejection.message,
            details: rejection
                .detail
                .map(|detail| detail.into_any())
                .into_iter()
                .collect(),
        },
    });
    let detail = MultiOperationExecutionFailure {
        statuses: statuses.into(),
    };
    Rejection::new(
        kind.unwrap_or(RejectionKind::Aborted),
        "Update-with-Start could not be executed.",
    )
    .with(ErrorDetail::MultiOperationExecution(detail))
}
