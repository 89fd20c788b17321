//! Which run a request addresses.

use fermata_proto::codec;
use fermata_proto::common::WorkflowExecution;
use fermata_proto::ids::{NamespaceId, WorkflowId};
use fermata_proto::rpc::{Request, TaskToken};

use super::history::PageToken;

/// A workflow id of a namespace within this partition: the hash that its record is stored under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkflowKey(pub u128);

impl WorkflowKey {
    pub fn of(namespace_id: &NamespaceId, workflow_id: &WorkflowId) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(namespace_id.0.as_bytes());
        hasher.update(&[0]);
        hasher.update(workflow_id.0.as_bytes());
        Self(hasher.digest128())
    }

    /// From the last token of the subject of a current-run record.
    pub fn from_subject(subject: &str) -> Option<Self> {
        let token = subject.rsplit('.').next()?;
        u128::from_str_radix(token, 16).ok().map(Self)
    }
}

/// The run that `request` names; none if it means the current one. A token that is none of ours names nothing: the rules
/// refuse it in their words.
pub fn run_id(request: &Request) -> Option<String> {
    use Request as R;
    let execution = |execution: &Option<WorkflowExecution>| {
        execution
            .as_ref()
            .map(|execution| execution.run_id.clone())
            .unwrap_or_default()
    };
    let named = match request {
        R::StartWorkflowExecution(_)
        | R::SignalWithStartWorkflowExecution(_)
        | R::StartChildWorkflow(_)
        | R::ExecuteMultiOperation(_) => String::new(),
        R::SignalWorkflowExecution(r) => execution(&r.request.workflow_execution),
        R::RequestCancelWorkflowExecution(r) => execution(&r.request.workflow_execution),
        R::TerminateWorkflowExecution(r) => execution(&r.request.workflow_execution),
        R::DeleteWorkflowExecution(r) => execution(&r.workflow_execution),
        R::ResetWorkflowExecution(r) => execution(&r.workflow_execution),
        R::QueryWorkflow(r) => execution(&r.execution),
        R::UpdateWorkflowExecution(r) => execution(&r.workflow_execution),
        R::PollWorkflowExecutionUpdate(r) => r
            .update_ref
            .as_ref()
            .map(|update| execution(&update.workflow_execution))
            .unwrap_or_default(),
        R::DescribeWorkflowExecution(r) => execution(&r.execution),
        R::GetWorkflowExecutionHistory(r) => paged(&r.next_page_token, execution(&r.execution)),
        R::GetWorkflowExecutionHistoryReverse(r) => {
            paged(&r.next_page_token, execution(&r.execution))
        }
        R::ClaimWorkflowTask(r) | R::ClaimActivityTask(r) => r.task.run_id.clone(),
        R::RespondWorkflowTaskCompleted(r) => token(&r.task_token),
        R::RespondWorkflowTaskFailed(r) => token(&r.task_token),
        R::RespondQueryTaskCompleted(r) => token(&r.task_token),
        R::ResetStickyTaskQueue(r) => execution(&r.execution),
        R::RespondActivityTaskCompleted(r) => token(&r.request.task_token),
        R::RespondActivityTaskFailed(r) => token(&r.task_token),
        R::RespondActivityTaskCanceled(r) => token(&r.task_token),
        R::RecordActivityTaskHeartbeat(r) => token(&r.task_token),
        R::DetachActivity(r) => token(&r.task_token),
        R::RespondActivityTaskCompletedById(r) => r.run_id.clone(),
        R::RespondActivityTaskFailedById(r) => r.run_id.clone(),
        R::RespondActivityTaskCanceledById(r) => r.run_id.clone(),
        R::RecordActivityTaskHeartbeatById(r) => r.run_id.clone(),
        R::PauseActivity(r) => execution(&r.execution),
        R::UnpauseActivity(r) => execution(&r.execution),
        R::ResetActivity(r) => execution(&r.execution),
        R::UpdateActivityOptions(r) => execution(&r.execution),
        R::RecordChildWorkflowClosed(r) => r.parent_run_id.clone(),
        R::CreateSchedule(_)
        | R::DescribeSchedule(_)
        | R::UpdateSchedule(_)
        | R::PatchSchedule(_)
        | R::DeleteSchedule(_)
        | R::ListScheduleMatchingTimes(_)
        | R::StartScheduledWorkflow(_) => String::new(),
        R::RecordScheduledWorkflowClosed(r) => r.run_id.clone(),
    };
    Some(named).filter(|named| !named.is_empty())
}

fn token(bytes: &[u8]) -> String {
    codec::decode::<TaskToken>(bytes)
        .map(|token| token.run_id)
        .unwrap_or_default()
}

/// A page token pins the run that the first page was of.
fn paged(token: &[u8], named: String) -> String {
    match PageToken::decode(token) {
        Some(token) if named.is_empty() => token.run_id,
        _ => named,
    }
}

/// For metrics: the operation in Temporal's name.
pub fn operation(request: &Request) -> &'static str {
    use Request as R;
    match request {
        R::StartWorkflowExecution(_) => "StartWorkflowExecution",
        R::SignalWithStartWorkflowExecution(_) => "SignalWithStartWorkflowExecution",
        R::SignalWorkflowExecution(_) => "SignalWorkflowExecution",
        R::RequestCancelWorkflowExecution(_) => "RequestCancelWorkflowExecution",
        R::TerminateWorkflowExecution(_) => "TerminateWorkflowExecution",
        R::DeleteWorkflowExecution(_) => "DeleteWorkflowExecution",
        R::ResetWorkflowExecution(_) => "ResetWorkflowExecution",
        R::QueryWorkflow(_) => "QueryWorkflow",
        R::UpdateWorkflowExecution(_) => "UpdateWorkflowExecution",
        R::PollWorkflowExecutionUpdate(_) => "PollWorkflowExecutionUpdate",
        R::ExecuteMultiOperation(_) => "ExecuteMultiOperation",
        R::DescribeWorkflowExecution(_) => "DescribeWorkflowExecution",
        R::GetWorkflowExecutionHistory(_) => "GetWorkflowExecutionHistory",
        R::GetWorkflowExecutionHistoryReverse(_) => "GetWorkflowExecutionHistoryReverse",
        R::ClaimWorkflowTask(_) => "ClaimWorkflowTask",
        R::ClaimActivityTask(_) => "ClaimActivityTask",
        R::RespondWorkflowTaskCompleted(_) => "RespondWorkflowTaskCompleted",
        R::RespondWorkflowTaskFailed(_) => "RespondWorkflowTaskFailed",
        R::RespondQueryTaskCompleted(_) => "RespondQueryTaskCompleted",
        R::ResetStickyTaskQueue(_) => "ResetStickyTaskQueue",
        R::RespondActivityTaskCompleted(_) => "RespondActivityTaskCompleted",
        R::RespondActivityTaskFailed(_) => "RespondActivityTaskFailed",
        R::RespondActivityTaskCanceled(_) => "RespondActivityTaskCanceled",
        R::RecordActivityTaskHeartbeat(_) => "RecordActivityTaskHeartbeat",
        R::DetachActivity(_) => "DetachActivity",
        R::RespondActivityTaskCompletedById(_) => "RespondActivityTaskCompletedById",
        R::RespondActivityTaskFailedById(_) => "RespondActivityTaskFailedById",
        R::RespondActivityTaskCanceledById(_) => "RespondActivityTaskCanceledById",
        R::RecordActivityTaskHeartbeatById(_) => "RecordActivityTaskHeartbeatById",
        R::PauseActivity(_) => "PauseActivity",
        R::UnpauseActivity(_) => "UnpauseActivity",
        R::ResetActivity(_) => "ResetActivity",
        R::UpdateActivityOptions(_) => "UpdateActivityOptions",
        R::StartChildWorkflow(_) => "StartChildWorkflow",
        R::RecordChildWorkflowClosed(_) => "RecordChildWorkflowClosed",
        R::CreateSchedule(_) => "CreateSchedule",
        R::DescribeSchedule(_) => "DescribeSchedule",
        R::UpdateSchedule(_) => "UpdateSchedule",
        R::PatchSchedule(_) => "PatchSchedule",
        R::DeleteSchedule(_) => "DeleteSchedule",
        R::ListScheduleMatchingTimes(_) => "ListScheduleMatchingTimes",
        R::StartScheduledWorkflow(_) => "StartScheduledWorkflow",
        R::RecordScheduledWorkflowClosed(_) => "RecordScheduledWorkflowClosed",
    }
}
