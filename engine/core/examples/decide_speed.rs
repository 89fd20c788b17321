//! How many decisions a second one core makes, on a sequence workflow: start, then activity after activity.
//!
//! `cargo run --release -p fermata-core --example decide_speed`

// A stopwatch is no rule.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use fermata_core::{Context, Input, Limits, Namespaces, Reply, Run, View, decide};
use fermata_proto::codec;
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::ids::NamespaceId;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;

const RUNS: usize = 2_000;
const STEPS: usize = 10;

struct One(NamespaceRecord);

impl Namespaces for One {
    fn by_name(&self, name: &str) -> Option<&NamespaceRecord> {
        (self.0.name == name).then_some(&self.0)
    }
    fn by_id(&self, id: &NamespaceId) -> Option<&NamespaceRecord> {
        (&self.0.id == id).then_some(&self.0)
    }
}

struct Owner {
    namespaces: One,
    limits: Limits,
    now: Timestamp,
    decisions: u64,
    /// Of all transitions in the log's form, to see what encoding costs.
    log_bytes: usize,
}

impl Owner {
    fn decide(&mut self, run: &mut Option<Run>, request: Request) -> Reply {
        self.decisions += 1;
        self.now = self.now + Duration::from_micros(50);
        let context = Context::new(
            self.now,
            self.decisions,
            &self.namespaces.0,
            &self.namespaces,
            &self.limits,
        );
        let view = View {
            current: run.as_ref(),
            run: run.as_ref(),
        };
        let decision = decide(&view, &Input::Request(request), &context).expect("it is taken");
        self.log_bytes += codec::encode(&decision.transitions).len();
        *run = decision.runs.into_iter().next_back().or_else(|| run.take());
        decision.reply.expect("it is taken")
    }
}

fn queue() -> TaskQueue {
    TaskQueue {
        name: "tq".to_owned(),
        ..TaskQueue::default()
    }
}

fn claim(run: &Run, scheduled_event_id: i64, claim_id: String) -> Box<ClaimTask> {
    Box::new(ClaimTask {
        task: TaskReference {
            namespace_id: run.namespace_id.clone(),
            workflow_id: run.workflow_id.clone(),
            run_id: run.run_id.clone(),
            scheduled_event_id,
            attempt: 1,
            stamp: 0,
            query_id: None,
        },
        task_queue: queue(),
        identity: "bench".to_owned(),
        claim_id,
        ..ClaimTask::default()
    })
}

fn payload() -> Option<Payloads> {
    let payload = Payload {
        metadata: [("encoding".to_owned(), "json/plain".into())].into(),
        data: vec![b'1'; 100].into(),
        ..Payload::default()
    };
    Some(Payloads {
        payloads: vec![payload],
    })
}

fn main() {
    let mut owner = Owner {
        namespaces: One(NamespaceRecord {
            id: "ns".into(),
            name: "default".to_owned(),
            ..NamespaceRecord::default()
        }),
        limits: Limits::default(),
        now: Timestamp::from_millis(1_700_000_000_000),
        decisions: 0,
        log_bytes: 0,
    };
    let began = Instant::now();
    for number in 0..RUNS {
        play(&mut owner, number);
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} decisions in {took:.2} s: {:.0}/s, {:.0} activity steps/s, {} log bytes a decision",
        owner.decisions,
        owner.decisions as f64 / took,
        (RUNS * STEPS) as f64 / took,
        owner.log_bytes as u64 / owner.decisions
    );
}

fn play(owner: &mut Owner, number: usize) {
    let mut run = None;
    let request = StartWorkflowExecutionRequest {
        workflow_id: format!("order-{number}"),
        workflow_type: Some(WorkflowType {
            name: "Order".to_owned(),
        }),
        task_queue: Some(queue()),
        input: payload(),
        request_id: format!("request-{number}"),
        ..StartWorkflowExecutionRequest::default()
    };
    owner.decide(&mut run, Request::StartWorkflowExecution(Box::new(request)));
    for step in 0..=STEPS {
        let open = run.as_ref().expect("it is open");
        let scheduled = open
            .workflow_task
            .as_ref()
            .expect("a task")
            .scheduled_event_id;
        let request = claim(open, scheduled, format!("claim-{number}-{step}"));
        let Reply::WorkflowTask(task) = owner.decide(&mut run, Request::ClaimWorkflowTask(request))
        else {
            panic!("a claim gives a task");
        };
        let command = if step == STEPS {
            Command::new(CompleteWorkflowExecutionCommandAttributes { result: payload() })
        } else {
            Command::new(ScheduleActivityTaskCommandAttributes {
                activity_id: format!("a{step}"),
                activity_type: Some(ActivityType {
                    name: "Charge".to_owned(),
                }),
                task_queue: Some(queue()),
                input: payload(),
                start_to_close_timeout: Some(Duration::from_secs(10)),
                ..ScheduleActivityTaskCommandAttributes::default()
            })
        };
        let completion = RespondWorkflowTaskCompletedRequest {
            task_token: task.response.task_token,
            commands: vec![command],
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        owner.decide(
            &mut run,
            Request::RespondWorkflowTaskCompleted(Box::new(completion)),
        );
        if step == STEPS {
            break;
        }
        let open = run.as_ref().expect("it is open");
        let scheduled = *open.activities.keys().next().expect("an activity");
        let request = claim(open, scheduled, format!("claim-activity-{number}-{step}"));
        let Reply::Response(Response::ActivityTask(task)) =
            owner.decide(&mut run, Request::ClaimActivityTask(request))
        else {
            panic!("a claim gives a task");
        };
        let request = RespondActivityTaskCompletedRequest {
            task_token: task.task_token,
            result: payload(),
            ..RespondActivityTaskCompletedRequest::default()
        };
        let complete = CompleteActivity {
            request,
            sticky_queue: None,
        };
        owner.decide(
            &mut run,
            Request::RespondActivityTaskCompleted(Box::new(complete)),
        );
    }
}
