//! What a test does to a workflow that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::common::WorkflowExecution;
use fermata_proto::query::WorkflowQuery;
use fermata_proto::rpc::{
    Rejection, Request, RequestCancelWorkflow, SignalWorkflow, TerminateWorkflow,
};
use fermata_proto::service::*;
use fermata_proto::time::Timestamp;
use fermata_proto::update::{self, Outcome, OutcomeValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::world::{IDENTITY, World};
use crate::converter::Converter;
use crate::error::{ApplicationError, WorkflowError};
use crate::machine::{Machine, update_input};

/// A workflow in the middle of its run, for steps of a test.
pub struct RunningWorkflow<'a> {
    pub(super) workflow_id: String,
    pub(super) world: &'a mut World,
    pub(super) machines: &'a BTreeMap<String, Machine>,
    pub(super) converter: Converter,
    pub(super) began: Timestamp,
}

impl RunningWorkflow<'_> {
    /// Another workflow, a child say, by id.
    pub fn other(&mut self, workflow_id: impl Into<String>) -> RunningWorkflow<'_> {
        RunningWorkflow {
            workflow_id: workflow_id.into(),
            world: &mut *self.world,
            machines: self.machines,
            converter: self.converter.clone(),
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
            input: self
                .converter
                .to_payloads(argument)
                .expect("a signal's argument has a payload form"),
            request_id: format!("{name} {}", self.world.now),
            ..SignalWorkflowExecutionRequest::default()
        };
        let sender = None;
        self.ask(Request::SignalWorkflowExecution(Box::new(SignalWorkflow {
            request,
            sender,
        })));
    }

    /// Sends an update. Who wants to know what came of it asks [`Self::update_outcome`] in a later step, or
    /// [`super::TestRun::update`] at the end.
    ///
    /// # Panics
    /// If no such workflow is open, or `argument` has no payload form.
    pub fn update<T: Serialize + 'static>(&mut self, update_id: &str, name: &str, argument: &T) {
        let argument = self.converter.to_payloads(argument);
        let argument = argument.expect("an update's argument has a payload form");
        let request = UpdateWorkflowExecutionRequest {
            workflow_execution: Some(self.execution()),
            request: Some(update::Request {
                meta: Some(update::Meta {
                    update_id: update_id.to_owned(),
                    identity: IDENTITY.to_owned(),
                }),
                input: Some(update_input(name.to_owned(), argument)),
                ..update::Request::default()
            }),
            ..UpdateWorkflowExecutionRequest::default()
        };
        self.ask(Request::UpdateWorkflowExecution(Box::new(request)));
    }

    /// What the caller of an update has heard; none while it waits.
    pub fn update_outcome<T: DeserializeOwned + 'static>(
        &self,
        update_id: &str,
    ) -> Option<Result<T, WorkflowError>> {
        let key = (self.workflow_id.clone(), update_id.to_owned());
        self.world
            .updates
            .get(&key)
            .map(|ended| outcome(&self.converter, ended))
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
        query(&self.converter, machine, name, argument)
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

/// What an update gave.
pub(super) fn outcome<T: DeserializeOwned + 'static>(
    converter: &Converter,
    ended: &Result<Outcome, Rejection>,
) -> Result<T, WorkflowError> {
    let outcome = match ended {
        Ok(outcome) => outcome,
        Err(rejection) => {
            let text = format!("the update did not happen: {rejection}");
            return Err(ApplicationError::new(text).with_type("Aborted").into());
        }
    };
    match &outcome.value {
        Some(OutcomeValue::Success(result)) => Ok(converter.read_payloads(Some(result))?),
        Some(OutcomeValue::Failure(failure)) => {
            Err(WorkflowError::Failed(Box::new(failure.clone())))
        }
        None => Ok(converter.read_payloads(None)?),
    }
}

pub(super) fn query<A: Serialize + 'static, T: DeserializeOwned + 'static>(
    converter: &Converter,
    machine: Option<&Machine>,
    name: &str,
    argument: &A,
) -> Result<T, WorkflowError> {
    let machine = machine.ok_or_else(|| {
        WorkflowError::from(ApplicationError::new("the workflow has not run yet"))
    })?;
    let query = WorkflowQuery {
        query_type: name.to_owned(),
        query_args: converter.to_payloads(argument)?,
        ..WorkflowQuery::default()
    };
    let answer = machine.query(&query).map_err(WorkflowError::Failed)?;
    Ok(converter.read_payloads(answer.as_ref())?)
}
