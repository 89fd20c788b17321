//! Closing a run and going on in a new one, with an empty history.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::command::ContinueAsNewWorkflowExecutionCommandAttributes;
use fermata_proto::common::{
    Header, Memo, Payload, Payloads, RetryPolicy, SearchAttributes, WorkflowType,
};
use fermata_proto::enums::ContinueAsNewInitiator;

use super::activity_call::queue;
use crate::machine::State;
use crate::payload::PayloadError;
use crate::setters::setters;

/// The run that follows; what is not set is as in this run. Turn it into a [`crate::WorkflowError`] to take effect.
#[derive(Debug, Clone)]
#[must_use = "return it as an error to continue as new"]
pub struct ContinueAsNew {
    attributes: ContinueAsNewWorkflowExecutionCommandAttributes,
    /// Why there is no input.
    error: Option<String>,
}

impl ContinueAsNew {
    pub(super) fn new(input: Result<Option<Payloads>, PayloadError>) -> Self {
        let (input, error) = match input {
            Ok(input) => (input, None),
            Err(error) => (None, Some(crate::error::chain(&error))),
        };
        Self {
            attributes: ContinueAsNewWorkflowExecutionCommandAttributes {
                input,
                initiator: ContinueAsNewInitiator::Workflow,
                ..ContinueAsNewWorkflowExecutionCommandAttributes::default()
            },
            error,
        }
    }

    setters! { attributes:
        workflow_type(name: impl Into<String>) => workflow_type = Some(WorkflowType { name: name.into() });
        queue(task_queue: impl Into<String>) => task_queue = Some(queue(task_queue.into()));
        run_timeout(timeout: Duration) => workflow_run_timeout = Some(timeout);
        retry(policy: RetryPolicy) => retry_policy = Some(policy);
        memo(fields: BTreeMap<String, Payload>) => memo = Some(Memo { fields });
        search_attributes(fields: BTreeMap<String, Payload>) => search_attributes =
            Some(SearchAttributes { indexed_fields: fields });
        headers(headers: BTreeMap<String, Payload>) => header = Some(Header { fields: headers });
    }

    /// # Errors
    /// If the argument had no payload form.
    pub(crate) fn into_attributes(
        self,
        info: &super::WorkflowInfo,
        state: &State,
    ) -> Result<ContinueAsNewWorkflowExecutionCommandAttributes, String> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut attributes = self.attributes;
        attributes
            .workflow_type
            .get_or_insert_with(|| WorkflowType {
                name: info.workflow_type.clone(),
            });
        attributes
            .task_queue
            .get_or_insert_with(|| queue(info.task_queue.clone()));
        // The engine takes the command as it is: what goes on unchanged has to be said.
        if attributes.retry_policy.is_none() {
            attributes.retry_policy.clone_from(&info.retry_policy);
        }
        if attributes.memo.is_none() && !state.memo.is_empty() {
            let fields = state.memo.clone();
            attributes.memo = Some(Memo { fields });
        }
        if attributes.search_attributes.is_none() && !state.search_attributes.is_empty() {
            let indexed_fields = state.search_attributes.clone();
            attributes.search_attributes = Some(SearchAttributes { indexed_fields });
        }
        if attributes.header.is_none() && !info.headers.is_empty() {
            let fields = info.headers.clone();
            attributes.header = Some(Header { fields });
        }
        Ok(attributes)
    }
}
