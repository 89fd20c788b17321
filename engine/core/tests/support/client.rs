//! What tests say to a world, in short: one workflow client and worker on the queue "tq".

use fermata_core::Reply;
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::TaskQueueKind;
use fermata_proto::failure::*;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;

use super::world::{Claimed, World, namespace};

pub const QUEUE: &str = "tq";
pub const STICKY: &str = "sticky";
const IDENTITY: &str = "tester";

pub type Asked = Result<Reply, Rejection>;

impl World {
    pub fn ask_owner(&mut self, workflow_id: &str, request: Request) -> Asked {
        let default = namespace("default").expect("it exists");
        self.request(default, workflow_id, request)
    }

    pub fn start(
        &mut self,
        workflow_id: &str,
        change: impl FnOnce(&mut StartWorkflowExecutionRequest),
    ) -> Result<String, Rejection> {
        let mut request = StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_id: workflow_id.to_owned(),
            workflow_type: Some(WorkflowType {
                name: "Flow".to_owned(),
            }),
            task_queue: Some(queue(QUEUE)),
            identity: IDENTITY.to_owned(),
            request_id: self.new_id(),
            ..StartWorkflowExecutionRequest::default()
        };
        change(&mut request);
        match self.ask_owner(
            workflow_id,
            Request::StartWorkflowExecution(Box::new(request)),
        )? {
            Reply::Response(Response::StartWorkflowExecution(response)) => Ok(response.run_id),
            Reply::WorkflowStarted { response, .. } => Ok(response.run_id),
            other => panic!("a start was answered by {other:?}"),
        }
    }

    pub fn signal(&mut self, workflow_id: &str, input: Option<Payloads>) -> Asked {
        let request = SignalWorkflowExecutionRequest {
            workflow_execution: Some(current(workflow_id)),
            signal_name: "go".to_owned(),
            input,
            identity: IDENTITY.to_owned(),
            request_id: self.new_id(),
            ..SignalWorkflowExecutionRequest::default()
        };
        let signal = SignalWorkflow {
            request,
            sender: None,
        };
        self.ask_owner(
            workflow_id,
            Request::SignalWorkflowExecution(Box::new(signal)),
        )
    }

    pub fn cancel(&mut self, workflow_id: &str) -> Asked {
        let request = RequestCancelWorkflowExecutionRequest {
            workflow_execution: Some(current(workflow_id)),
            request_id: self.new_id(),
            ..RequestCancelWorkflowExecutionRequest::default()
        };
        let cancel = RequestCancelWorkflow {
            request,
            sender: None,
        };
        self.ask_owner(
            workflow_id,
            Request::RequestCancelWorkflowExecution(Box::new(cancel)),
        )
    }

    pub fn terminate(&mut self, workflow_id: &str) -> Asked {
        let request = TerminateWorkflowExecutionRequest {
            workflow_execution: Some(current(workflow_id)),
            ..TerminateWorkflowExecutionRequest::default()
        };
        let terminate = TerminateWorkflow {
            request,
            sender: None,
        };
        self.ask_owner(
            workflow_id,
            Request::TerminateWorkflowExecution(Box::new(terminate)),
        )
    }

    /// The next workflow or query task of either queue, without waiting.
    pub fn poll(&mut self) -> Option<PollWorkflowTaskQueueResponse> {
        while !self.workflow_tasks.is_empty() {
            let (task, queue) = self.workflow_tasks.remove(0);
            if let Claimed::Task(task) = self.claim_workflow_task(task, &queue, IDENTITY) {
                return Some(*task);
            }
        }
        None
    }

    pub fn poll_activity(&mut self) -> Option<PollActivityTaskQueueResponse> {
        while !self.activity_tasks.is_empty() {
            let (task, name) = self.activity_tasks.remove(0);
            if let Some(task) = self.claim_activity_task(task, &queue(&name), IDENTITY) {
                return Some(task);
            }
        }
        None
    }

    pub fn complete_task(
        &mut self,
        task: &PollWorkflowTaskQueueResponse,
        commands: Vec<Command>,
    ) -> Asked {
        self.respond(task, commands, |_| {})
    }

    pub fn respond(
        &mut self,
        task: &PollWorkflowTaskQueueResponse,
        commands: Vec<Command>,
        change: impl FnOnce(&mut RespondWorkflowTaskCompletedRequest),
    ) -> Asked {
        let mut request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            commands,
            identity: IDENTITY.to_owned(),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        change(&mut request);
        let id = task
            .workflow_execution
            .clone()
            .unwrap_or_default()
            .workflow_id;
        let reply = self.ask_owner(
            &id,
            Request::RespondWorkflowTaskCompleted(Box::new(request.clone())),
        )?;
        self.take_query_results(&request.task_token, &request);
        Ok(reply)
    }

    /// Lets `seconds` pass.
    pub fn pass(&mut self, seconds: f64) {
        let nanos = (seconds * 1e9) as i64;
        self.advance(Timestamp::from_nanos(self.now.as_nanos() + nanos));
    }

    /// Names of the event types of the current run.
    pub fn event_types(&self, run_id: &str) -> Vec<String> {
        self.histories[run_id]
            .iter()
            .map(|event| format!("{:?}", event.event_type()))
            .collect()
    }
}

pub fn queue(name: &str) -> TaskQueue {
    TaskQueue {
        name: name.to_owned(),
        kind: TaskQueueKind::Normal,
        normal_name: String::new(),
    }
}

pub fn current(workflow_id: &str) -> WorkflowExecution {
    WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: String::new(),
    }
}

/// A payload of about so many bytes.
pub fn payload_of(bytes: usize) -> Payloads {
    let payload = Payload {
        metadata: [("encoding".to_owned(), "json/plain".into())].into(),
        data: format!("\"{}\"", "x".repeat(bytes)).into(),
        ..Payload::default()
    };
    Payloads {
        payloads: vec![payload],
    }
}

pub fn application_failure(non_retryable: bool) -> Failure {
    Failure {
        message: "no luck".to_owned(),
        failure_info: Some(FailureFailureInfo::ApplicationFailureInfo(
            ApplicationFailureInfo {
                r#type: "Test".to_owned(),
                non_retryable,
                ..ApplicationFailureInfo::default()
            },
        )),
        ..Failure::default()
    }
}

pub fn timer(timer_id: &str, seconds: f64) -> Command {
    Command::new(StartTimerCommandAttributes {
        timer_id: timer_id.to_owned(),
        start_to_fire_timeout: Some(std::time::Duration::from_secs_f64(seconds)),
    })
}

pub fn done(result: Option<Payloads>) -> Command {
    Command::new(CompleteWorkflowExecutionCommandAttributes { result })
}

pub fn activity(
    activity_id: &str,
    change: impl FnOnce(&mut ScheduleActivityTaskCommandAttributes),
) -> Command {
    let mut attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: activity_id.to_owned(),
        activity_type: Some(ActivityType {
            name: "Act".to_owned(),
        }),
        task_queue: Some(queue(QUEUE)),
        start_to_close_timeout: Some(std::time::Duration::from_secs(10)),
        ..ScheduleActivityTaskCommandAttributes::default()
    };
    change(&mut attributes);
    Command::new(attributes)
}
