//! What a run knows of itself from its first event.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::common::{Payload, Payloads, RetryPolicy, WorkflowExecution};
use fermata_proto::event::{HistoryEvent, WorkflowExecutionStartedEventAttributes};
use fermata_proto::failure::Failure;
use fermata_proto::time::Timestamp;

use crate::machine::RunName;

/// Facts of a workflow execution that do not change while it runs.
#[derive(Debug, Clone, Default)]
pub struct WorkflowInfo {
    pub namespace: String,
    pub workflow_id: String,
    pub run_id: String,
    /// The first run of the chain of retries, cron runs and continue-as-new.
    pub first_run_id: String,
    /// The run that this one continues; empty for the first.
    pub continued_run_id: String,
    pub workflow_type: String,
    pub task_queue: String,
    /// From 1; counts retries of the workflow.
    pub attempt: i32,
    pub started_at: Timestamp,
    pub execution_timeout: Option<Duration>,
    pub run_timeout: Option<Duration>,
    pub task_timeout: Option<Duration>,
    pub retry_policy: Option<RetryPolicy>,
    pub cron_schedule: String,
    pub parent: Option<WorkflowExecution>,
    pub parent_namespace: String,
    pub memo: BTreeMap<String, Payload>,
    pub search_attributes: BTreeMap<String, Payload>,
    pub headers: BTreeMap<String, Payload>,
    /// How the run before failed, in a retried or cron workflow.
    pub continued_failure: Option<Failure>,
    /// What the last successful cron run gave.
    pub last_completion_result: Option<Payloads>,
}

impl WorkflowInfo {
    pub(crate) fn new(
        name: &RunName,
        event: &HistoryEvent,
        started: &WorkflowExecutionStartedEventAttributes,
    ) -> Self {
        let started = started.clone();
        Self {
            namespace: name.namespace.clone(),
            workflow_id: name.workflow_id.clone(),
            run_id: name.run_id.clone(),
            first_run_id: started.first_execution_run_id,
            continued_run_id: started.continued_execution_run_id,
            workflow_type: started.workflow_type.unwrap_or_default().name,
            task_queue: started.task_queue.unwrap_or_default().name,
            attempt: started.attempt,
            started_at: event.event_time.unwrap_or_default(),
            execution_timeout: started.workflow_execution_timeout,
            run_timeout: started.workflow_run_timeout,
            task_timeout: started.workflow_task_timeout,
            retry_policy: started.retry_policy,
            cron_schedule: started.cron_schedule,
            parent: started.parent_workflow_execution,
            parent_namespace: started.parent_workflow_namespace,
            memo: started.memo.unwrap_or_default().fields,
            search_attributes: started.search_attributes.unwrap_or_default().indexed_fields,
            headers: started.header.unwrap_or_default().fields,
            continued_failure: started.continued_failure,
            last_completion_result: started.last_completion_result,
        }
    }
}
