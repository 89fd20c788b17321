//! Schedules: their owners keep them under a workflow id of their own; lists come from the read model.

use fermata_proto::codec;
use fermata_proto::enums::WorkflowExecutionStatus;
use fermata_proto::ids::WorkflowId;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::pb::common::v1 as common;
use fermata_proto::pb::schedule::v1 as wire;
use fermata_proto::pb::workflow::v1::WorkflowExecutionInfo;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::{Rejection, Request};
use fermata_proto::schedule::{
    LIST_INFO, NAMESPACE_DIVISION, ScheduleListInfo, schedule_id, workflow_id,
};
use fermata_proto::wire::Wire;

use super::caller::Caller;
use super::lists::{equals, refused, status_is, token_bytes, unavailable};
use super::{Handled, Service, checks, respond, respond_done, taken};
use crate::visibility::Selection;
use crate::visibility::filter::expression::{Expression, Operator, Value};
use crate::visibility::filter::{self};

/// The attributes by which lists tell schedules from workflows; callers do not see them.
const OWN_ATTRIBUTES: [&str; 2] = ["TemporalSchedulePaused", "TemporalNamespaceDivision"];

impl Service {
    pub(crate) async fn create_schedule(
        &self,
        caller: &Caller,
        mut request: rr::CreateScheduleRequest,
    ) -> Handled<rr::CreateScheduleResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let id = addressed(&request.schedule_id)?;
        checks::request_id(&mut request.request_id)?;
        intervals(request.schedule.as_ref())?;
        let request = Request::CreateSchedule(Box::new(taken(request)?));
        respond!(
            self.ask(caller, &namespace, id.as_str(), request).await,
            CreateSchedule
        )
    }

    pub(crate) async fn describe_schedule(
        &self,
        caller: &Caller,
        request: rr::DescribeScheduleRequest,
    ) -> Handled<rr::DescribeScheduleResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let id = addressed(&request.schedule_id)?;
        let request = Request::DescribeSchedule(Box::new(taken(request)?));
        respond!(
            self.ask(caller, &namespace, id.as_str(), request).await,
            DescribeSchedule
        )
    }

    pub(crate) async fn update_schedule(
        &self,
        caller: &Caller,
        mut request: rr::UpdateScheduleRequest,
    ) -> Handled<rr::UpdateScheduleResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let id = addressed(&request.schedule_id)?;
        checks::request_id(&mut request.request_id)?;
        intervals(request.schedule.as_ref())?;
        let request = Request::UpdateSchedule(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, id.as_str(), request).await,
            rr::UpdateScheduleResponse {}
        )
    }

    pub(crate) async fn patch_schedule(
        &self,
        caller: &Caller,
        mut request: rr::PatchScheduleRequest,
    ) -> Handled<rr::PatchScheduleResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let id = addressed(&request.schedule_id)?;
        checks::request_id(&mut request.request_id)?;
        let request = Request::PatchSchedule(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, id.as_str(), request).await,
            rr::PatchScheduleResponse {}
        )
    }

    pub(crate) async fn delete_schedule(
        &self,
        caller: &Caller,
        request: rr::DeleteScheduleRequest,
    ) -> Handled<rr::DeleteScheduleResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let id = addressed(&request.schedule_id)?;
        let request = Request::DeleteSchedule(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, id.as_str(), request).await,
            rr::DeleteScheduleResponse {}
        )
    }

    pub(crate) async fn list_schedule_matching_times(
        &self,
        caller: &Caller,
        request: rr::ListScheduleMatchingTimesRequest,
    ) -> Handled<rr::ListScheduleMatchingTimesResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let id = addressed(&request.schedule_id)?;
        let request = Request::ListScheduleMatchingTimes(Box::new(taken(request)?));
        respond!(
            self.ask(caller, &namespace, id.as_str(), request).await,
            ListScheduleMatchingTimes
        )
    }

    pub(crate) async fn list_schedules(
        &self,
        _: &Caller,
        request: rr::ListSchedulesRequest,
    ) -> Handled<rr::ListSchedulesResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let selection = selection(&namespace, &request.query)?;
        let page = self
            .page(
                selection,
                request.maximum_page_size,
                &request.next_page_token,
            )
            .await?;
        Ok(rr::ListSchedulesResponse {
            next_page_token: token_bytes(page.next.as_ref()),
            schedules: page.executions.into_iter().map(entry).collect(),
        })
    }

    pub(crate) async fn count_schedules(
        &self,
        _: &Caller,
        request: rr::CountSchedulesRequest,
    ) -> Handled<rr::CountSchedulesResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let selection = selection(&namespace, &request.query)?;
        let counts = self
            .visibility
            .count(selection)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(rr::CountSchedulesResponse {
            count: counts.total,
            groups: Vec::new(),
        })
    }
}

/// The workflow id under which a schedule's partition keeps it.
fn addressed(schedule_id: &str) -> Handled<WorkflowId> {
    if schedule_id.is_empty() {
        return Err(Rejection::invalid_argument(
            "Can't load workflow execution.  WorkflowId not set.",
        ));
    }
    let id = workflow_id(schedule_id);
    checks::limited(id.as_str(), "WorkflowId")?;
    Ok(id)
}

/// A negative duration has no form inside: it is refused here.
fn intervals(schedule: Option<&wire::Schedule>) -> Handled<()> {
    let spec = schedule.and_then(|schedule| schedule.spec.as_ref());
    let is_negative = |length: Option<prost_wkt_types::Duration>| {
        length.is_some_and(|length| length.seconds < 0 || length.nanos < 0)
    };
    for interval in spec.into_iter().flat_map(|spec| &spec.interval) {
        let reason = if is_negative(interval.interval) {
            "interval is too small"
        } else if is_negative(interval.phase) {
            "phase is negative"
        } else {
            continue;
        };
        return Err(Rejection::invalid_argument(format!(
            "Invalid schedule spec: {reason}"
        )));
    }
    Ok(())
}

/// The schedules that a query means.
fn selection(namespace: &NamespaceRecord, query: &str) -> Handled<Selection> {
    let written = filter::parse(query).map_err(refused)?.filter;
    let mut wanted = equals("TemporalNamespaceDivision", NAMESPACE_DIVISION)
        .and(status_is(Operator::Equal, WorkflowExecutionStatus::Running));
    if let Some(written) = written {
        wanted = wanted.and(by_workflow_id(written));
    }
    Selection::of(Some(&wanted), &namespace.id, &namespace.search_attributes).map_err(refused)
}

/// Schedules are told by their ids, which stand in their workflow ids.
fn by_workflow_id(wanted: Expression) -> Expression {
    use Expression as E;
    let is_id = |attribute: &str| attribute == "ScheduleId";
    let id = |value: Value| match value {
        Value::Text(text) => Value::Text(workflow_id(&text).0),
        other => other,
    };
    let attribute = || "WorkflowId".to_owned();
    match wanted {
        E::And(left, right) => E::And(
            Box::new(by_workflow_id(*left)),
            Box::new(by_workflow_id(*right)),
        ),
        E::Or(left, right) => E::Or(
            Box::new(by_workflow_id(*left)),
            Box::new(by_workflow_id(*right)),
        ),
        E::Not(inner) => E::Not(Box::new(by_workflow_id(*inner))),
        E::Compare {
            attribute: name,
            operator,
            value,
        } if is_id(&name) => E::Compare {
            attribute: attribute(),
            operator,
            value: id(value),
        },
        E::In {
            attribute: name,
            negated,
            values,
        } if is_id(&name) => E::In {
            attribute: attribute(),
            negated,
            values: values.into_iter().map(id).collect(),
        },
        E::Between {
            attribute: name,
            negated,
            low,
            high,
        } if is_id(&name) => E::Between {
            attribute: attribute(),
            negated,
            low: id(low),
            high: id(high),
        },
        E::IsNull {
            attribute: name,
            negated,
        } if is_id(&name) => E::IsNull {
            attribute: attribute(),
            negated,
        },
        other => other,
    }
}

/// The list's entry, which the owner has put into the memo.
fn entry(info: WorkflowExecutionInfo) -> wire::ScheduleListEntry {
    let execution = info.execution.unwrap_or_default();
    let mut memo = info.memo.unwrap_or_default();
    let kept = memo.fields.remove(LIST_INFO);
    // An entry of another version is shown without its details rather than not at all.
    let info_of = |payload: common::Payload| codec::decode::<ScheduleListInfo>(&payload.data).ok();
    let mut attributes = info.search_attributes.unwrap_or_default();
    for name in OWN_ATTRIBUTES {
        attributes.indexed_fields.remove(name);
    }
    wire::ScheduleListEntry {
        schedule_id: schedule_id(&execution.workflow_id)
            .unwrap_or_default()
            .to_owned(),
        memo: Some(memo),
        search_attributes: Some(attributes),
        info: kept.and_then(info_of).map(Wire::into_wire),
    }
}
