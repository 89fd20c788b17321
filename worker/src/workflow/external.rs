//! Signalling and cancelling other workflows.

use fermata_proto::command::{
    RequestCancelExternalWorkflowExecutionCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes,
};
use fermata_proto::common::WorkflowExecution;
use serde::Serialize;

use super::activity_call::result_of;
use super::context::WorkflowContext;
use crate::error::{WorkflowError, WorkflowResult};
use crate::machine::Step;

/// Another workflow, by id.
#[derive(Clone)]
pub struct ExternalWorkflow {
    ctx: WorkflowContext,
    namespace: String,
    workflow_id: String,
    run_id: String,
    is_child: bool,
}

impl ExternalWorkflow {
    pub(super) fn new(ctx: WorkflowContext, workflow_id: String) -> Self {
        Self {
            ctx,
            namespace: String::new(),
            workflow_id,
            run_id: String::new(),
            is_child: false,
        }
    }

    pub(super) fn child(ctx: WorkflowContext, workflow_id: String, namespace: String) -> Self {
        Self {
            namespace,
            is_child: true,
            ..Self::new(ctx, workflow_id)
        }
    }

    /// Another namespace than this workflow's.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// This run only; by default whichever is current.
    #[must_use]
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = run_id.into();
        self
    }

    /// Sends a signal and waits until it is recorded.
    ///
    /// # Errors
    /// If no such workflow is open.
    pub async fn signal<T: Serialize + 'static>(
        &self,
        name: impl Into<String>,
        argument: &T,
    ) -> WorkflowResult<()> {
        let input = self.ctx.converter().to_payloads(argument);
        let input = input.map_err(|error| WorkflowError::task_failed_by(&error))?;
        let attributes = SignalExternalWorkflowExecutionCommandAttributes {
            namespace: self.namespace.clone(),
            execution: Some(WorkflowExecution {
                workflow_id: self.workflow_id.clone(),
                run_id: self.run_id.clone(),
            }),
            signal_name: name.into(),
            input,
            child_workflow_only: self.is_child,
            ..SignalExternalWorkflowExecutionCommandAttributes::default()
        };
        let sequence = self.ctx.shared.state().signal_external(attributes);
        let outcome = Step::new(self.ctx.shared.clone(), sequence).await;
        result_of(outcome, self.ctx.converter())
    }

    /// Asks it to cancel and waits until the request is recorded.
    ///
    /// # Errors
    /// If there is no such workflow.
    pub async fn cancel(&self, reason: impl Into<String>) -> WorkflowResult<()> {
        let attributes = RequestCancelExternalWorkflowExecutionCommandAttributes {
            namespace: self.namespace.clone(),
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
            reason: reason.into(),
            child_workflow_only: self.is_child,
            ..RequestCancelExternalWorkflowExecutionCommandAttributes::default()
        };
        let sequence = self
            .ctx
            .shared
            .state()
            .request_cancel_external(attributes, true);
        let outcome = Step::new(self.ctx.shared.clone(), sequence).await;
        result_of(outcome, self.ctx.converter())
    }
}
