//! A run as lists and describe show it.

use fermata_proto::common::{Memo, SearchAttributes, WorkflowExecution};
use fermata_proto::visibility::VisibilityRecord;
use fermata_proto::workflow::{ResetPoints, WorkflowExecutionInfo};

use crate::run::Run;

impl Run {
    /// The record that lists are made from.
    pub fn visibility(&self) -> VisibilityRecord {
        VisibilityRecord {
            namespace_id: self.namespace_id.clone(),
            info: if self.schedule.is_some() {
                crate::schedule::info(self)
            } else {
                self.info()
            },
            deleted: false,
        }
    }

    pub(crate) fn info(&self) -> WorkflowExecutionInfo {
        let started = &self.started;
        let execution = WorkflowExecution {
            workflow_id: self.workflow_id.0.clone(),
            run_id: self.run_id.clone(),
        };
        let backoff = started.first_workflow_task_backoff.unwrap_or_default();
        WorkflowExecutionInfo {
            root_execution: started
                .root_workflow_execution
                .clone()
                .or_else(|| Some(execution.clone())),
            execution: Some(execution),
            r#type: started.workflow_type.clone(),
            start_time: Some(self.start_time),
            execution_time: Some(self.start_time + backoff),
            close_time: self.close_time,
            status: self.status,
            history_length: self.next_event_id - 1,
            history_size_bytes: self.history_bytes,
            state_transition_count: self.transitions,
            parent_namespace_id: started.parent_workflow_namespace_id.clone(),
            parent_execution: started.parent_workflow_execution.clone(),
            memo: Some(Memo {
                fields: (*self.memo).clone(),
            }),
            search_attributes: Some(SearchAttributes {
                indexed_fields: self.search_attributes.indexed_fields.clone(),
            }),
            auto_reset_points: (!self.reset_points.is_empty()).then(|| ResetPoints {
                points: (*self.reset_points).clone(),
            }),
            task_queue: started
                .task_queue
                .as_ref()
                .map(|queue| queue.name.clone())
                .unwrap_or_default(),
            execution_duration: self
                .close_time
                .map(|closed| closed.since(self.start_time + backoff)),
            most_recent_worker_version_stamp: self.last_worker_version.clone(),
            priority: started.priority.clone(),
            first_run_id: started.first_execution_run_id.clone(),
            ..WorkflowExecutionInfo::default()
        }
    }
}
