//! What a test does to a workflow that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::common::WorkflowExecution;
use fermata_proto::query::WorkflowQuery;
use fermata_proto::rpc::{Request, RequestCancelWorkflow, SignalWorkflow, TerminateWorkflow};
use fermata_proto::service::*;
use fermata_proto::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::world::World;
use crate::error::{ApplicationError, WorkflowError};
use crate::machine::Machine;
use crate::payload::{from_payloads, to_payloads};

/// A workflow in the middle of its run, for steps of a test.
pub struct RunningWorkflow<'a> {
    pub(super) workflow_id: String,
    pub(super) world: &'a mut World,
    pub(super) machines: &'a BTreeMap<String, Machine>,
    pub(super) began: Timestamp,
}

impl RunningWorkflow<'_> {
    /// Another workflow, a child say, by id.
    pub fn other(&mut self, workflow_id: impl Into<String>) -> RunningWorkflow<'_> {
        RunningWorkflow {
            workflow_id: workflow_id.into(),
            world: &mut *self.world,
            machines: self.machines,
            began: self.began,
        }
    }

    /// Virtual time since the start of the test.
    pub fn elapsed(&self) -> Duration {
        self.world.now.since(self.began)
    }

    /// # Panics
    /// If no such workflow is open, or `argument` has no payload form.
    pub fn signal<T: Serialize + 'static>(&mut self, name: &str, argument: &T) {
        let request = SignalWorkflowExecutionRequest {
            workflow_execution: Some(self.execution()),
            signal_name: name.to_owned(),
            input: to_payloads(argument).expect("a signal's argument has a payload form"),
            request_id: format!("{name} {}", self.world.now),
            ..SignalWorkflowExecutionRequest::default()
        };
        let sender = None;
        self.ask(Request::SignalWorkflowExecution(Box::new(SignalWorkflow {
            request,
            sender,
        })));
    }

    /// # Panics
    /// If no such workflow is open.
    pub fn cancel(&mut self, reason: &str) {
        let request = RequestCancelWorkflowExecutionRequest {
            workflow_execution: Some(self.execution()),
            reason: reason.to_owned(),
            request_id: format!("cancel {}", self.world.now),
            ..RequestCancelWorkflowExecutionRequest::default()
        };
        let sender = None;
        self.ask(Request::RequestCancelWorkflowExecution(Box::new(
            RequestCancelWorkflow { request, sender },
        )));
    }

    /// # Panics
    /// If no such workflow is open.
    pub fn terminate(&mut self, reason: &str) {
        let request = TerminateWorkflowExecutionRequest {
            workflow_execution: Some(self.execution()),
            reason: reason.to_owned(),
            ..TerminateWorkflowExecutionRequest::default()
        };
        let sender = None;
        self.ask(Request::TerminateWorkflowExecution(Box::new(
            TerminateWorkflow { request, sender },
        )));
    }

    /// # Errors
    /// If the workflow does not answer such queries, or has not run yet.
    pub fn query<A: Serialize + 'static, T: DeserializeOwned + 'static>(
        &self,
        name: &str,
        argument: &A,
    ) -> Result<T, WorkflowError> {
        let run = self.world.current(&self.workflow_id);
        let machine = run.and_then(|run| self.machines.get(&run.run_id));
        query(machine, name, argument)
    }

    fn execution(&self) -> WorkflowExecution {
        WorkflowExecution {
            workflow_id: self.workflow_id.clone(),
            run_id: String::new(),
        }
    }

    fn ask(&mut self, request: Request) {
        let workflow_id = self.workflow_id.clone();
        if let Err(rejection) = self.world.request(&workflow_id, request) {
            panic!("a step of the test on workflow {workflow_id:?} was refused: {rejection}");
        }
    }
}

pub(super) fn query<A: Serialize + 'static, T: DeserializeOwned + 'static>(
    machine: Option<&Machine>,
    name: &str,
    argument: &A,
) -> Result<T, WorkflowError> {
    let machine = machine.ok_or_else(|| {
        WorkflowError::from(ApplicationError::new("the workflow has not run yet"))
    })?;
    let query = WorkflowQuery {
        query_type: name.to_owned(),
        query_args: to_payloads(argument)?,
        ..WorkflowQuery::default()
    };
    let answer = machine.query(&query).map_err(WorkflowError::Failed)?;
    Ok(from_payloads(answer.as_ref())?)
}
