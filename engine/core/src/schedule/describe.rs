//! How a schedule stands: describe, the times that its spec matches, and its entry in lists.

use fermata_proto::codec;
use fermata_proto::common::{Memo, Payload, WorkflowExecution, WorkflowType};
use fermata_proto::rpc::{Rejection, Response};
use fermata_proto::schedule::*;
use fermata_proto::time::Timestamp;
use fermata_proto::workflow::WorkflowExecutionInfo;

use super::spec::Compiled;
use super::state::Kept;
use super::{act, find, kept, requests};
use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::Run;

/// Future times that describe shows, and lists. Temporal's defaults.
const FUTURE_TIMES_MAX: usize = 10;
const FUTURE_TIMES_LISTED_MAX: usize = 5;
const RECENT_LISTED_MAX: usize = 5;
/// Times that one request for matching times gives. Temporal's default.
const MATCHING_TIMES_MAX: usize = 1_000;

pub(crate) fn on_describe(
    view: &View<'_>,
    request: &DescribeScheduleRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let run = find(view, &request.schedule_id)?;
    let Kept {
        defined, progress, ..
    } = kept(run);
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let info = ScheduleInfo {
        action_count: progress.actions,
        missed_catchup_window: progress.missed_catchup_window,
        overlap_skipped: progress.overlap_skipped,
        buffer_dropped: progress.buffer_dropped,
        buffer_size: count(progress.buffer.len()),
        running_workflows: progress
            .running
            .iter()
            .map(|running| running.execution.clone())
            .collect(),
        recent_actions: progress.recent.iter().cloned().collect(),
        future_action_times: future_times(run, ctx.now, FUTURE_TIMES_MAX),
        create_time: Some(defined.create_time),
        update_time: defined.update_time,
        ..ScheduleInfo::default()
    };
    let response = DescribeScheduleResponse {
        schedule: Some(Schedule {
            spec: Some(defined.spec.clone()),
            action: defined.action.clone(),
            policies: Some(defined.policies.clone()),
            state: Some(progress.state.clone()),
        }),
        info: Some(info),
        memo: defined.memo.clone(),
        search_attributes: defined
            .search_attributes
            .clone()
            .filter(|attributes| !attributes.indexed_fields.is_empty()),
        conflict_token: requests::token(progress.conflict_token),
    };
    let response = Response::DescribeSchedule(Box::new(response));
    Ok(Decision::reply(Reply::Response(response)))
}

/// The next actions after `now`; a paused schedule shows them too, one without remaining actions none.
fn future_times(run: &Run, now: Timestamp, times_max: usize) -> Vec<Timestamp> {
    let Kept {
        defined, progress, ..
    } = kept(run);
    let Ok(compiled) = Compiled::of(&defined.spec) else {
        return Vec::new();
    };
    let state = &progress.state;
    let left = if state.limited_actions {
        usize::try_from(state.remaining_actions).unwrap_or(0)
    } else {
        times_max
    };
    let after = progress.done_until.max(now);
    times(run, &compiled, after)
        .take(times_max.min(left))
        .collect()
}

fn times(run: &Run, compiled: &Compiled, after: Timestamp) -> impl Iterator<Item = Timestamp> {
    let seed = act::seed(run);
    let mut at = after;
    std::iter::from_fn(move || {
        at = compiled.next(&seed, at)?.actual;
        Some(at)
    })
}

pub(crate) fn on_matching_times(
    view: &View<'_>,
    request: &ListScheduleMatchingTimesRequest,
) -> Result<Decision, Rejection> {
    let run = find(view, &request.schedule_id)?;
    let end = request.end_time.unwrap_or_default();
    let compiled = Compiled::of(&kept(run).defined.spec).map_err(Rejection::invalid_argument)?;
    let start_time = times(run, &compiled, request.start_time.unwrap_or_default())
        .take_while(|time| *time <= end)
        .take(MATCHING_TIMES_MAX)
        .collect();
    let response =
        Response::ListScheduleMatchingTimes(Box::new(ListScheduleMatchingTimesResponse {
            start_time,
        }));
    Ok(Decision::reply(Reply::Response(response)))
}

/// The schedule in the read model: its entry for lists lies in the memo.
pub(crate) fn info(run: &Run) -> WorkflowExecutionInfo {
    let Kept {
        defined, progress, ..
    } = kept(run);
    let recent = progress.recent.len().saturating_sub(RECENT_LISTED_MAX);
    let entry = ScheduleListInfo {
        spec: Some(defined.spec.clone()),
        workflow_type: defined.action.as_ref().and_then(|action| {
            let Some(ScheduleActionAction::StartWorkflow(info)) = &action.action else {
                return None;
            };
            info.workflow_type.clone()
        }),
        notes: progress.state.notes.clone(),
        paused: progress.state.paused,
        recent_actions: progress.recent.iter().skip(recent).cloned().collect(),
        future_action_times: future_times(run, progress.done_until, FUTURE_TIMES_LISTED_MAX),
        state_size_bytes: 0,
    };
    let mut memo = defined.memo.clone().unwrap_or_default();
    memo.fields.insert(
        LIST_INFO.to_owned(),
        Payload {
            metadata: [("encoding".to_owned(), "binary/plain".into())].into(),
            data: codec::encode(&entry),
            ..Payload::default()
        },
    );
    let execution = Some(WorkflowExecution {
        workflow_id: run.workflow_id.0.clone(),
        run_id: run.run_id.clone(),
    });
    WorkflowExecutionInfo {
        root_execution: execution.clone(),
        execution,
        r#type: Some(WorkflowType {
            name: WORKFLOW_TYPE.to_owned(),
        }),
        start_time: Some(run.start_time),
        execution_time: Some(run.start_time),
        close_time: run.close_time,
        status: run.status,
        memo: Some(Memo {
            fields: memo.fields,
        }),
        search_attributes: Some(act::own_attributes(
            progress.state.paused,
            defined.search_attributes.as_ref(),
        )),
        first_run_id: run.run_id.clone(),
        ..WorkflowExecutionInfo::default()
    }
}
