//! Queries and their results.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use crate::common::{Header, Payloads};
use crate::enums::{QueryResultType, WorkflowExecutionStatus};
use crate::failure::Failure;
use crate::pb;
use crate::wire::message;

message! {
    /// `temporal.api.query.v1.WorkflowQuery`.
    WorkflowQuery = pb::query::v1::WorkflowQuery {
        query_type: String,
        query_args: Option<Payloads>,
        header: Option<Header>,
    }
}

message! {
    /// `temporal.api.query.v1.QueryRejected`.
    QueryRejected = pb::query::v1::QueryRejected {
        status: WorkflowExecutionStatus,
    }
}

message! {
    /// `temporal.api.query.v1.WorkflowQueryResult`.
    WorkflowQueryResult = pb::query::v1::WorkflowQueryResult {
        result_type: QueryResultType,
        answer: Option<Payloads>,
        error_message: String,
        failure: Option<Failure>,
    }
}
