//! The engine of a test environment: the server's rules (`fermata-core`) over runs in memory and a clock that somebody sets.
//!
//! It keeps what a partition's owner keeps and performs effects at once: tasks lie on queues until they are taken, requests
//! between workflows are delivered before the next call. Who works on the tasks: [`super::environment`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fermata_core::{
    Change, Context, Decision, Effect, Input, Limits, Namespaces, Reply, Run, Status, View, decide,
};
use fermata_proto::codec;
use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::IndexedValueType;
use fermata_proto::event::HistoryEvent;
use fermata_proto::ids::{NamespaceId, WorkflowId};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::{
    ClaimTask, Rejection, RejectionKind, Request, Response, TaskReference, TaskToken,
};
use fermata_proto::service::{PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse};
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;
use fermata_proto::update::Outcome;

pub(super) const NAMESPACE: &str = "default";
pub(super) const IDENTITY: &str = "test-environment";
/// Noon of 1 January 2026 in UTC: like every test before and after.
const BEGINNING: Timestamp = Timestamp::from_millis(1_767_268_800_000);
/// Deliveries in a row after which workflows are taken to address each other for ever.
const DELIVERIES_MAX: usize = 10_000;

/// The one namespace.
struct Only(NamespaceRecord);

impl Namespaces for Only {
    fn by_name(&self, name: &str) -> Option<&NamespaceRecord> {
        Some(&self.0).filter(|namespace| namespace.name == name)
    }

    fn by_id(&self, id: &NamespaceId) -> Option<&NamespaceRecord> {
        Some(&self.0).filter(|namespace| namespace.id == *id)
    }
}

pub(super) struct World {
    pub now: Timestamp,
    entropy: u64,
    limits: Limits,
    namespace: Only,
    pub runs: BTreeMap<String, Run>,
    current: BTreeMap<WorkflowId, String>,
    histories: BTreeMap<String, Vec<HistoryEvent>>,
    workflow_tasks: VecDeque<(TaskReference, TaskQueue)>,
    activity_tasks: VecDeque<TaskReference>,
    outbox: VecDeque<(String, u64)>,
    /// How updates ended, by workflow id and update id.
    pub updates: BTreeMap<(String, String), Result<Outcome, Rejection>>,
}

/// A started workflow task.
pub(super) struct WorkflowTask {
    pub response: PollWorkflowTaskQueueResponse,
    /// Of a transient task: events that history does not hold.
    pub tail: Vec<HistoryEvent>,
}

impl World {
    pub fn new(search_attributes: BTreeMap<String, IndexedValueType>) -> Self {
        let namespace = NamespaceRecord {
            id: "00000000-0000-4000-8000-000000000001".into(),
            name: NAMESPACE.to_owned(),
            retention: Duration::from_secs(86_400),
            search_attributes,
            ..NamespaceRecord::default()
        };
        Self {
            now: BEGINNING,
            entropy: 0,
            limits: Limits::default(),
            namespace: Only(namespace),
            runs: BTreeMap::new(),
            current: BTreeMap::new(),
            histories: BTreeMap::new(),
            workflow_tasks: VecDeque::new(),
            activity_tasks: VecDeque::new(),
            outbox: VecDeque::new(),
            updates: BTreeMap::new(),
        }
    }

    /// What the owner of the workflow id answers, when all that follows from it has happened.
    pub fn request(&mut self, workflow_id: &str, request: Request) -> Result<Reply, Rejection> {
        let reply = self.request_only(workflow_id, request);
        self.deliver_all()?;
        reply
    }

    fn request_only(&mut self, workflow_id: &str, request: Request) -> Result<Reply, Rejection> {
        let run_id = addressed_run(&request);
        self.decide(workflow_id, &run_id, &Input::Request(request))
    }

    fn decide(
        &mut self,
        workflow_id: &str,
        run_id: &str,
        input: &Input,
    ) -> Result<Reply, Rejection> {
        let current = self
            .current
            .get(&WorkflowId::from(workflow_id))
            .and_then(|run_id| self.runs.get(run_id));
        let view = View {
            current,
            run: if run_id.is_empty() {
                current
            } else {
                let named = self.runs.get(run_id);
                named.filter(|run| run.workflow_id.0 == workflow_id)
            },
        };
        self.entropy += 1;
        let context = Context::new(
            self.now,
            self.entropy,
            &self.namespace.0,
            &self.namespace,
            &self.limits,
        );
        let decision = decide(&view, input, &context)?;
        self.commit(decision)
    }

    fn commit(&mut self, decision: Decision) -> Result<Reply, Rejection> {
        for (transition, run) in decision.transitions.into_iter().zip(decision.runs) {
            let history = self.histories.entry(run.run_id.clone()).or_default();
            for change in transition.changes {
                if let Change::Event(event) = change {
                    history.push((*event).clone());
                }
            }
            if transition.creates {
                self.current
                    .insert(run.workflow_id.clone(), run.run_id.clone());
            }
            self.runs.insert(run.run_id.clone(), run);
        }
        for effect in decision.effects {
            match effect {
                Effect::DispatchWorkflowTask { task, queue } => {
                    self.workflow_tasks.push_back((task, queue));
                }
                Effect::DispatchActivityTask { task, .. } => self.activity_tasks.push_back(task),
                Effect::Deliver { run_id, outbox_id } => self.outbox.push_back((run_id, outbox_id)),
                Effect::UpdateMoved {
                    run_id,
                    update_id,
                    status,
                } => self.on_update_moved(&run_id, update_id, status),
                // Nobody lists, and tests look at runs that are over.
                Effect::PublishVisibility { .. } | Effect::Delete { .. } => {}
            }
        }
        decision.reply
    }

    fn on_update_moved(&mut self, run_id: &str, update_id: String, status: Status) {
        let ended = match status {
            Status::Admitted | Status::Accepted => return,
            Status::Completed(outcome) => Ok(*outcome),
            // Told by the one that completed it.
            Status::CompletedBy(_) => return,
            Status::Aborted(rejection) => Err(*rejection),
        };
        let Some(run) = self.runs.get(run_id) else {
            return;
        };
        let key = (run.workflow_id.0.clone(), update_id);
        self.updates.insert(key, ended);
    }

    fn deliver_all(&mut self) -> Result<(), Rejection> {
        let mut deliveries = 0;
        let mut later = VecDeque::new();
        while let Some((run_id, outbox_id)) = self.outbox.pop_front() {
            deliveries += 1;
            if deliveries > DELIVERIES_MAX {
                let text = "workflows address each other for ever";
                return Err(Rejection::new(RejectionKind::Aborted, text));
            }
            let Some((sender, entry)) = self.runs.get(&run_id).and_then(|run| {
                let entry = run.outbox.get(&outbox_id)?;
                Some((run.workflow_id.clone(), entry.clone()))
            }) else {
                continue;
            };
            let answer = match self.request_only(&entry.workflow_id.0, entry.request) {
                Err(rejection) if rejection.kind == RejectionKind::Unavailable => {
                    later.push_back((run_id, outbox_id));
                    continue;
                }
                Ok(Reply::Response(response)) => Ok(response),
                Ok(_) => Ok(Response::Done),
                Err(rejection) => Err(rejection),
            };
            self.decide(&sender.0, &run_id, &Input::Delivered { outbox_id, answer })?;
            self.outbox.append(&mut later);
        }
        self.outbox = later;
        Ok(())
    }

    /// The next moment at which something is due.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.runs.values().filter_map(Run::next_deadline).min()
    }

    /// Sets the clock and does what has come due by then.
    pub fn advance(&mut self, until: Timestamp) -> Result<(), Rejection> {
        self.now = self.now.max(until);
        let due: Vec<(String, String)> = self
            .runs
            .values()
            .filter(|run| run.next_deadline().is_some_and(|due| due <= self.now))
            .map(|run| (run.workflow_id.0.clone(), run.run_id.clone()))
            .collect();
        for (workflow_id, run_id) in due {
            self.decide(&workflow_id, &run_id, &Input::Deadline)?;
        }
        self.deliver_all()
    }

    /// Starts the next workflow task that is still wanted.
    pub fn take_workflow_task(&mut self) -> Option<WorkflowTask> {
        while let Some((task, task_queue)) = self.workflow_tasks.pop_front() {
            let workflow_id = task.workflow_id.0.clone();
            let claim = self.claim(task, task_queue);
            let request = Request::ClaimWorkflowTask(Box::new(claim));
            if let Ok(Reply::WorkflowTask(handout)) = self.request(&workflow_id, request) {
                return Some(WorkflowTask {
                    response: handout.response,
                    tail: handout.tail,
                });
            }
        }
        None
    }

    /// Starts the next activity task that is still wanted.
    pub fn take_activity_task(&mut self) -> Option<Box<PollActivityTaskQueueResponse>> {
        while let Some(task) = self.activity_tasks.pop_front() {
            let workflow_id = task.workflow_id.0.clone();
            let claim = self.claim(task, TaskQueue::default());
            let request = Request::ClaimActivityTask(Box::new(claim));
            if let Ok(Reply::Response(Response::ActivityTask(task))) =
                self.request(&workflow_id, request)
            {
                return Some(task);
            }
        }
        None
    }

    fn claim(&mut self, task: TaskReference, task_queue: TaskQueue) -> ClaimTask {
        self.entropy += 1;
        ClaimTask {
            task,
            task_queue,
            identity: IDENTITY.to_owned(),
            claim_id: self.entropy.to_string(),
            ..ClaimTask::default()
        }
    }

    /// All events of a run.
    pub fn history(&self, run_id: &str) -> &[HistoryEvent] {
        self.histories.get(run_id).map_or(&[], Vec::as_slice)
    }

    /// The run that a workflow id means now.
    pub fn current(&self, workflow_id: &str) -> Option<&Run> {
        let run_id = self.current.get(&WorkflowId::from(workflow_id))?;
        self.runs.get(run_id)
    }
}

/// The run that a request names; empty if it means the current one.
fn addressed_run(request: &Request) -> String {
    let of_token = |token: &[u8]| {
        codec::decode::<TaskToken>(token).map_or_else(|_| String::new(), |token| token.run_id)
    };
    let of_execution = |execution: &Option<WorkflowExecution>| {
        let execution = execution.as_ref();
        execution.map_or_else(String::new, |execution| execution.run_id.clone())
    };
    match request {
        Request::SignalWorkflowExecution(r) => of_execution(&r.request.workflow_execution),
        Request::RequestCancelWorkflowExecution(r) => of_execution(&r.request.workflow_execution),
        Request::TerminateWorkflowExecution(r) => of_execution(&r.request.workflow_execution),
        Request::UpdateWorkflowExecution(r) => of_execution(&r.workflow_execution),
        Request::ClaimWorkflowTask(claim) | Request::ClaimActivityTask(claim) => {
            claim.task.run_id.clone()
        }
        Request::RespondWorkflowTaskCompleted(r) => of_token(&r.task_token),
        Request::RespondWorkflowTaskFailed(r) => of_token(&r.task_token),
        Request::RespondActivityTaskCompleted(r) => of_token(&r.request.task_token),
        Request::RespondActivityTaskFailed(r) => of_token(&r.task_token),
        Request::RespondActivityTaskCanceled(r) => of_token(&r.task_token),
        Request::RecordActivityTaskHeartbeat(r) => of_token(&r.task_token),
        Request::RecordChildWorkflowClosed(closed) => closed.parent_run_id.clone(),
        _ => String::new(),
    }
}
