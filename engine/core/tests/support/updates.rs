//! Updates in short: what a client asks, and what a worker says to it.

use fermata_proto::any::UpdateMessage;
use fermata_proto::command::{Command, ProtocolMessageCommandAttributes};
use fermata_proto::common::Payloads;
use fermata_proto::enums::UpdateWorkflowExecutionLifecycleStage as Stage;
use fermata_proto::protocol::{Message, MessageSequencingId};
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::update::{self, Outcome, OutcomeValue};

use super::client::{application_failure, current};
use super::world::{World, namespace};

pub fn update_request(
    workflow_id: &str,
    update_id: &str,
    stage: Stage,
) -> UpdateWorkflowExecutionRequest {
    UpdateWorkflowExecutionRequest {
        workflow_execution: Some(current(workflow_id)),
        wait_policy: Some(update::WaitPolicy {
            lifecycle_stage: stage,
        }),
        request: Some(update::Request {
            meta: Some(update::Meta {
                update_id: update_id.to_owned(),
                identity: "tester".to_owned(),
            }),
            input: Some(update::Input {
                name: "change".to_owned(),
                ..update::Input::default()
            }),
            ..update::Request::default()
        }),
        ..UpdateWorkflowExecutionRequest::default()
    }
}

impl World {
    /// Sends an update that waits for its end; gives its caller.
    pub fn update(&mut self, workflow_id: &str, update_id: &str) -> Result<usize, Rejection> {
        let request = update_request(workflow_id, update_id, Stage::Completed);
        self.send_update(
            namespace("default").expect("it exists"),
            workflow_id,
            Request::UpdateWorkflowExecution(Box::new(request)),
        )
    }

    pub fn outcome(&self, caller: usize) -> Result<Outcome, Rejection> {
        match self.update_answer(caller)? {
            Response::UpdateWorkflowExecution(response) => {
                Ok(response.outcome.expect("an update that has ended"))
            }
            other => panic!("an update was answered by {other:?}"),
        }
    }
}

fn event_id(request: &Message) -> i64 {
    match request.sequencing_id {
        Some(MessageSequencingId::EventId(event_id)) => event_id,
        _ => panic!("a request has its place: {request:?}"),
    }
}

pub fn message(request: &Message, what: &str, said: UpdateMessage) -> Message {
    Message {
        id: format!("{}/{what}", request.protocol_instance_id),
        protocol_instance_id: request.protocol_instance_id.clone(),
        sequencing_id: None,
        body: Some(said.into_body()),
    }
}

pub fn accept(request: &Message) -> Message {
    let body = request.body.as_ref().expect("a request has a body");
    let acceptance = update::Acceptance {
        accepted_request_message_id: request.id.clone(),
        accepted_request_sequencing_event_id: event_id(request),
        accepted_request: Some(update::Request::from_body(body).expect("it is a request")),
    };
    message(request, "accept", UpdateMessage::Acceptance(acceptance))
}

pub fn reject(request: &Message) -> Message {
    let rejection = update::Rejection {
        rejected_request_message_id: request.id.clone(),
        rejected_request_sequencing_event_id: event_id(request),
        failure: Some(application_failure(false)),
        ..update::Rejection::default()
    };
    message(request, "reject", UpdateMessage::Rejection(rejection))
}

pub fn complete(request: &Message) -> Message {
    let response = update::Response {
        meta: Some(update::Meta {
            update_id: request.protocol_instance_id.clone(),
            ..update::Meta::default()
        }),
        outcome: Some(success()),
    };
    message(request, "complete", UpdateMessage::Response(response))
}

pub fn success() -> Outcome {
    Outcome {
        value: Some(OutcomeValue::Success(Payloads::default())),
    }
}

/// The command that places a message among others.
pub fn place(message_id: &str) -> Command {
    Command::new(ProtocolMessageCommandAttributes {
        message_id: message_id.to_owned(),
    })
}
