//! Lists and counts of workflows, from the read model.

use std::collections::HashMap;

use fermata_proto::codec;
use fermata_proto::enums::WorkflowExecutionStatus;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::pb::common::v1 as common;
use fermata_proto::pb::filter::v1 as filter;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::pb::workflowservice::v1::count_workflow_executions_response::AggregationGroup;
use fermata_proto::pb::workflowservice::v1::{
    list_closed_workflow_executions_request as closed,
    list_open_workflow_executions_request as open,
};
use fermata_proto::rpc::{Rejection, RejectionKind};
use prost_wkt_types::Timestamp;

use super::caller::Caller;
use super::{Handled, Service};
use crate::visibility::filter::expression::{Expression, Operator, Value};
use crate::visibility::filter::{FilterError, expression};
use crate::visibility::{Page, PageToken, Selection, StoreError, TYPE_METADATA};

/// Runs on one page.
const PAGE_SIZE_MAX: i32 = 1_000;

impl Service {
    pub(crate) async fn list_workflow_executions(
        &self,
        _: &Caller,
        request: rr::ListWorkflowExecutionsRequest,
    ) -> Handled<rr::ListWorkflowExecutionsResponse> {
        let selection = self.selection(&request.namespace, &request.query)?;
        let page = self
            .page(selection, request.page_size, &request.next_page_token)
            .await?;
        Ok(rr::ListWorkflowExecutionsResponse {
            next_page_token: token_bytes(page.next.as_ref()),
            executions: page.executions,
        })
    }

    pub(crate) async fn scan_workflow_executions(
        &self,
        _: &Caller,
        request: rr::ScanWorkflowExecutionsRequest,
    ) -> Handled<rr::ScanWorkflowExecutionsResponse> {
        let selection = self.selection(&request.namespace, &request.query)?;
        let page = self
            .page(selection, request.page_size, &request.next_page_token)
            .await?;
        Ok(rr::ScanWorkflowExecutionsResponse {
            next_page_token: token_bytes(page.next.as_ref()),
            executions: page.executions,
        })
    }

    pub(crate) async fn list_open_workflow_executions(
        &self,
        _: &Caller,
        request: rr::ListOpenWorkflowExecutionsRequest,
    ) -> Handled<rr::ListOpenWorkflowExecutionsResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let mut wanted = status_is(Operator::Equal, WorkflowExecutionStatus::Running);
        wanted = within(wanted, "StartTime", request.start_time_filter.as_ref());
        wanted = match &request.filters {
            Some(open::Filters::ExecutionFilter(filter)) => of_execution(wanted, filter),
            Some(open::Filters::TypeFilter(filter)) => of_type(wanted, filter),
            None => wanted,
        };
        let selection = chosen(&namespace, &wanted)?;
        let page = self
            .page(
                selection,
                request.maximum_page_size,
                &request.next_page_token,
            )
            .await?;
        Ok(rr::ListOpenWorkflowExecutionsResponse {
            next_page_token: token_bytes(page.next.as_ref()),
            executions: page.executions,
        })
    }

    pub(crate) async fn list_closed_workflow_executions(
        &self,
        _: &Caller,
        request: rr::ListClosedWorkflowExecutionsRequest,
    ) -> Handled<rr::ListClosedWorkflowExecutionsResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let mut wanted = status_is(Operator::NotEqual, WorkflowExecutionStatus::Running);
        // The field is named for starts, but Temporal compares the close time with it.
        wanted = within(wanted, "CloseTime", request.start_time_filter.as_ref());
        wanted = match &request.filters {
            Some(closed::Filters::ExecutionFilter(filter)) => of_execution(wanted, filter),
            Some(closed::Filters::TypeFilter(filter)) => of_type(wanted, filter),
            Some(closed::Filters::StatusFilter(filter)) => wanted.and(Expression::compare(
                "ExecutionStatus",
                Operator::Equal,
                Value::Number(filter.status.to_string()),
            )),
            None => wanted,
        };
        let selection = chosen(&namespace, &wanted)?;
        let page = self
            .page(
                selection,
                request.maximum_page_size,
                &request.next_page_token,
            )
            .await?;
        Ok(rr::ListClosedWorkflowExecutionsResponse {
            next_page_token: token_bytes(page.next.as_ref()),
            executions: page.executions,
        })
    }

    pub(crate) async fn count_workflow_executions(
        &self,
        _: &Caller,
        request: rr::CountWorkflowExecutionsRequest,
    ) -> Handled<rr::CountWorkflowExecutionsResponse> {
        let selection = self.selection(&request.namespace, &request.query)?;
        let counts = self
            .visibility
            .count(selection)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(rr::CountWorkflowExecutionsResponse {
            count: counts.total,
            groups: counts
                .groups
                .into_iter()
                .map(|(name, count)| AggregationGroup {
                    group_values: vec![keyword(name)],
                    count,
                })
                .collect(),
        })
    }

    fn selection(&self, namespace: &str, query: &str) -> Handled<Selection> {
        let namespace = self.namespace(namespace)?;
        Selection::parse(query, &namespace.id, &namespace.search_attributes).map_err(refused)
    }

    pub(super) async fn page(
        &self,
        selection: Selection,
        size: i32,
        token: &[u8],
    ) -> Handled<Page> {
        if size > PAGE_SIZE_MAX {
            return Err(Rejection::invalid_argument(format!(
                "PageSize is larger than allowed {PAGE_SIZE_MAX}."
            )));
        }
        let size = if size <= 0 { PAGE_SIZE_MAX } else { size };
        let after: Option<PageToken> = if token.is_empty() {
            None
        } else {
            let token = codec::decode(token)
                .map_err(|_| Rejection::invalid_argument("Invalid NextPageToken."))?;
            Some(token)
        };
        self.visibility
            .list(selection, size.unsigned_abs() as usize, after)
            .await
            .map_err(|error| unavailable(&error))
    }
}

/// The runs of a namespace that a filter means which nobody wrote.
pub(super) fn chosen(namespace: &NamespaceRecord, wanted: &Expression) -> Handled<Selection> {
    Selection::of(Some(wanted), &namespace.id, &namespace.search_attributes).map_err(refused)
}

pub(super) fn token_bytes(token: Option<&PageToken>) -> Vec<u8> {
    token.map(codec::encode_vec).unwrap_or_default()
}

pub(super) fn status_is(operator: Operator, status: WorkflowExecutionStatus) -> Expression {
    let number = (status as i32).to_string();
    Expression::compare("ExecutionStatus", operator, Value::Number(number))
}

fn of_execution(wanted: Expression, filter: &filter::WorkflowExecutionFilter) -> Expression {
    let mut wanted = wanted;
    for (attribute, text) in [
        ("WorkflowId", &filter.workflow_id),
        ("RunId", &filter.run_id),
    ] {
        if !text.is_empty() {
            wanted = wanted.and(equals(attribute, text));
        }
    }
    wanted
}

fn of_type(wanted: Expression, filter: &filter::WorkflowTypeFilter) -> Expression {
    if filter.name.is_empty() {
        return wanted;
    }
    wanted.and(equals("WorkflowType", &filter.name))
}

pub(super) fn equals(attribute: &str, text: &str) -> Expression {
    Expression::compare(attribute, Operator::Equal, Value::Text(text.to_owned()))
}

fn within(
    wanted: Expression,
    attribute: &str,
    range: Option<&filter::StartTimeFilter>,
) -> Expression {
    let bounds = |range: &filter::StartTimeFilter| {
        [
            (Operator::GreaterOrEqual, range.earliest_time),
            (Operator::LessOrEqual, range.latest_time),
        ]
    };
    let bounds = range.map(bounds).into_iter().flatten();
    bounds.fold(wanted, |wanted, (operator, time)| match time {
        Some(time) => wanted.and(Expression::compare(attribute, operator, nanoseconds(&time))),
        None => wanted,
    })
}

fn nanoseconds(time: &Timestamp) -> expression::Value {
    let nanos = time
        .seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(time.nanos));
    Value::Number(nanos.to_string())
}

/// A text as the value of a search attribute.
fn keyword(text: &str) -> common::Payload {
    let metadata = [("encoding", "json/plain"), (TYPE_METADATA, "Keyword")]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    common::Payload {
        metadata: HashMap::from(metadata),
        data: serde_json::Value::from(text).to_string().into_bytes(),
        ..Default::default()
    }
}

pub(super) fn refused(error: FilterError) -> Rejection {
    Rejection::invalid_argument(error.to_string())
}

pub(super) fn unavailable(error: &StoreError) -> Rejection {
    tracing::error!(error = error as &dyn std::error::Error, "read visibility");
    Rejection::new(RejectionKind::Unavailable, error.to_string())
}
