//! The owner of every partition, in memory: keeps runs and histories, performs effects, moves a virtual clock.
//!
//! Every decision is made twice and every transition replayed, so that whoever plays in this world checks those
//! properties too. Effects are performed at once: tasks lie on queues, requests to other workflows are delivered
//! before the next call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fermata_core::query::{Asked, QueryAnswer};
use fermata_core::reset::{self, Past};
use fermata_core::{
    Awaited, Context, Decision, Effect, Input, Limits, Namespaces, Queries, Reply, Run, Status,
    TaskHandout, View, Wait, decide, update, workflow_task,
};
use fermata_proto::codec;
use fermata_proto::event::{History, HistoryEvent, HistoryEventAttributes};
use fermata_proto::ids::NamespaceId;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;

use super::invariants;

/// Deliveries in a row after which workflows are taken to play ping-pong for ever.
const DELIVERIES_MAX: usize = 10_000;

#[derive(Clone)]
pub struct World {
    pub now: Timestamp,
    entropy: u64,
    pub limits: Arc<Limits>,
    pub runs: BTreeMap<String, Run>,
    pub current: BTreeMap<(String, String), String>,
    pub histories: BTreeMap<String, Vec<Arc<HistoryEvent>>>,
    /// Lengths of the batches that the histories were written in.
    pub batches: BTreeMap<String, Vec<usize>>,
    pub workflow_tasks: Vec<(TaskReference, TaskQueue)>,
    pub activity_tasks: Vec<(TaskReference, String)>,
    outbox: VecDeque<(String, u64)>,
    pub queries: BTreeMap<String, Queries>,
    pub query_answers: BTreeMap<String, QueryAnswer>,
    pub published: u64,
    /// Of the worker that claims; empty for one that does not announce itself.
    pub worker_id: String,
    /// Callers of updates, with what they have heard.
    pub updates: Vec<Caller>,
    /// Callers whose requests are asked once more.
    again: Vec<(usize, (NamespaceId, String), Request)>,
}

/// A caller of an update.
#[derive(Clone)]
pub struct Caller {
    pub wait: Wait,
    pub answer: Option<Answer>,
}

/// Namespaces that exist in every world.
struct Known(Vec<NamespaceRecord>);

static NAMESPACES: LazyLock<Known> = LazyLock::new(|| {
    let namespace = |name: &str, id: &str| NamespaceRecord {
        id: id.into(),
        name: name.to_owned(),
        retention: Duration::from_secs(86_400),
        ..NamespaceRecord::default()
    };
    Known(vec![
        namespace("default", "11111111-1111-4111-8111-111111111111"),
        namespace("temporal-system", "22222222-2222-4222-8222-222222222222"),
    ])
});

impl Namespaces for Known {
    fn by_name(&self, name: &str) -> Option<&NamespaceRecord> {
        self.0.iter().find(|namespace| namespace.name == name)
    }
    fn by_id(&self, id: &NamespaceId) -> Option<&NamespaceRecord> {
        self.0.iter().find(|namespace| &namespace.id == id)
    }
}

pub fn namespace(name: &str) -> Option<&'static NamespaceRecord> {
    NAMESPACES.by_name(name)
}

/// What a claim hands out.
pub enum Claimed {
    Task(Box<PollWorkflowTaskQueueResponse>),
    Gone,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Timestamp::from_millis(1_767_225_600_000),
            entropy: seed,
            limits: Arc::new(Limits::default()),
            runs: BTreeMap::new(),
            current: BTreeMap::new(),
            histories: BTreeMap::new(),
            batches: BTreeMap::new(),
            workflow_tasks: Vec::new(),
            activity_tasks: Vec::new(),
            outbox: VecDeque::new(),
            queries: BTreeMap::new(),
            query_answers: BTreeMap::new(),
            published: 0,
            worker_id: String::new(),
            updates: Vec::new(),
            again: Vec::new(),
        }
    }

    /// With the options of the reference server.
    pub fn as_recorded(seed: u64) -> Self {
        Self {
            limits: Arc::new(Limits {
                allow_cross_namespace_commands: false,
                ..Limits::default()
            }),
            ..Self::new(seed)
        }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.entropy = self
            .entropy
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.entropy ^ (self.entropy >> 29)
    }

    pub fn new_id(&mut self) -> String {
        let context = Context::new(
            self.now,
            self.next_u64(),
            &NAMESPACES.0[0],
            &*NAMESPACES,
            &self.limits,
        );
        context.new_id()
    }

    // -- requests ----------------------------------------------------------------------------------------------------

    /// What the owner of the workflow id answers, when all that follows from it has happened.
    pub fn request(
        &mut self,
        namespace: &NamespaceRecord,
        workflow_id: &str,
        request: Request,
    ) -> Result<Reply, Rejection> {
        let reply = self.request_only(namespace, workflow_id, request);
        self.deliver_all();
        self.ask_again();
        reply
    }

    fn request_only(
        &mut self,
        namespace: &NamespaceRecord,
        workflow_id: &str,
        request: Request,
    ) -> Result<Reply, Rejection> {
        let run_id = addressed_run(&request);
        let input = match request {
            Request::ResetWorkflowExecution(request) => {
                let past = self.past(namespace, workflow_id, &request);
                Input::Reset { request, past }
            }
            request => Input::Request(request),
        };
        self.decide(namespace, workflow_id, &run_id, &input)
    }

    /// The history that a reset has to see.
    fn past(
        &self,
        namespace: &NamespaceRecord,
        workflow_id: &str,
        request: &ResetWorkflowExecutionRequest,
    ) -> Vec<Past> {
        let execution = request.workflow_execution.clone().unwrap_or_default();
        let view = self.view(&namespace.id, workflow_id, &execution.run_id);
        let mut next = reset::base(&view, request)
            .ok()
            .map(|base| base.run_id.clone());
        let mut past: Vec<Past> = Vec::new();
        while let Some(run_id) = next {
            let mut events = self.histories[&run_id].iter().cloned();
            let batches = self.batches[&run_id]
                .iter()
                .map(|length| Arc::new(events.by_ref().take(*length).collect::<Vec<_>>()))
                .collect();
            next = self.histories[&run_id]
                .last()
                .and_then(|last| reset::continued_as(last))
                .filter(|_| reset::looks_ahead(request))
                .map(str::to_owned);
            past.push(Past { run_id, batches });
        }
        past
    }

    fn decide(
        &mut self,
        namespace: &NamespaceRecord,
        workflow_id: &str,
        run_id: &str,
        input: &Input,
    ) -> Result<Reply, Rejection> {
        let entropy = self.next_u64();
        let view = self.view(&namespace.id, workflow_id, run_id);
        let limits = self.limits.clone();
        let context = || Context::new(self.now, entropy, namespace, &*NAMESPACES, &limits);
        let decision = decide(&view, input, &context());
        let again = decide(&view, input, &context());
        assert_eq!(decision, again, "deciding twice gives two answers");
        let decision = decision?;
        self.commit(decision)
    }

    pub fn view(&self, namespace_id: &NamespaceId, workflow_id: &str, run_id: &str) -> View<'_> {
        let current = self
            .current
            .get(&(namespace_id.0.clone(), workflow_id.to_owned()))
            .and_then(|run_id| self.runs.get(run_id));
        let named = self
            .runs
            .get(run_id)
            .filter(|run| run.workflow_id.0 == workflow_id && run.namespace_id == *namespace_id);
        View {
            current,
            run: if run_id.is_empty() { current } else { named },
        }
    }

    fn commit(&mut self, decision: Decision) -> Result<Reply, Rejection> {
        invariants::invariant_replay_equals_live(&self.runs, &decision);
        for (transition, run) in decision.transitions.iter().zip(&decision.runs) {
            let history = self.histories.entry(run.run_id.clone()).or_default();
            for batch in transition.batches() {
                self.batches
                    .entry(run.run_id.clone())
                    .or_default()
                    .push(batch.len());
                history.extend(batch);
            }
            invariants::check_run(run, history);
            if transition.creates {
                let key = (run.namespace_id.0.clone(), run.workflow_id.0.clone());
                let previous = self.current.insert(key, run.run_id.clone());
                let closed_now = |id: &String| {
                    decision
                        .runs
                        .iter()
                        .any(|run| &run.run_id == id && !run.is_open())
                };
                assert!(
                    previous
                        .as_ref()
                        .is_none_or(|id| closed_now(id) || !self.runs[id].is_open()),
                    "two open runs of {}",
                    run.workflow_id
                );
            }
        }
        for run in decision.runs {
            self.runs.insert(run.run_id.clone(), run.clone());
            self.settle(&run);
        }
        for effect in decision.effects {
            self.perform(effect);
        }
        let is_asked_again = |at: usize| self.again.iter().any(|(again, ..)| *again == at);
        let waiting = self.updates.iter().enumerate();
        let waiting =
            waiting.filter(|(at, caller)| caller.answer.is_none() && !is_asked_again(*at));
        let waiting = waiting.map(|(_, caller)| &caller.wait);
        invariants::invariant_callers_of_updates_are_told(&self.runs, waiting);
        decision.reply
    }

    fn settle(&mut self, run: &Run) {
        let Some(queries) = self.queries.get_mut(&run.run_id) else {
            return;
        };
        if run
            .workflow_task
            .as_ref()
            .is_none_or(|task| !task.is_started())
        {
            queries.task_ended();
        }
        for effect in queries.settle(run) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::DispatchWorkflowTask { task, queue } => self.workflow_tasks.push((task, queue)),
            Effect::DispatchActivityTask { task, queue } => self.activity_tasks.push((task, queue)),
            Effect::Deliver { run_id, outbox_id } => self.outbox.push_back((run_id, outbox_id)),
            Effect::PublishVisibility { .. } => self.published += 1,
            Effect::Delete { run_id } => self.delete(&run_id),
            Effect::UpdateMoved {
                run_id,
                update_id,
                status,
            } => self.tell(&run_id, &update_id, &status),
        }
    }

    fn delete(&mut self, run_id: &str) {
        if let Some(run) = self.runs.remove(run_id) {
            assert!(!run.is_open(), "an open run was deleted");
            self.current.retain(|_, current| current != run_id);
            self.histories.remove(run_id);
        }
    }

    fn deliver_all(&mut self) {
        let mut waiting = VecDeque::new();
        let mut deliveries = 0;
        while let Some((run_id, outbox_id)) = self.outbox.pop_front() {
            deliveries += 1;
            assert!(
                deliveries < DELIVERIES_MAX,
                "workflows address each other for ever"
            );
            let Some(entry) = self
                .runs
                .get(&run_id)
                .and_then(|run| run.outbox.get(&outbox_id))
                .cloned()
            else {
                continue;
            };
            let sender = self.runs[&run_id].clone();
            let target = NAMESPACES
                .by_id(&entry.namespace_id)
                .expect("the namespace exists");
            let answer = self.request_only(target, &entry.workflow_id.0, entry.request);
            let answer = match answer {
                Err(rejection) if rejection.kind == RejectionKind::Unavailable => {
                    waiting.push_back((run_id, outbox_id));
                    continue;
                }
                Ok(Reply::Response(response)) => Ok(response),
                Ok(_) => Ok(Response::Done),
                Err(rejection) => Err(rejection),
            };
            let namespace = NAMESPACES
                .by_id(&sender.namespace_id)
                .expect("the namespace exists");
            let input = Input::Delivered { outbox_id, answer };
            self.decide(namespace, &sender.workflow_id.0, &run_id, &input)
                .expect("an answer is always taken");
            self.outbox.extend(waiting.drain(..));
        }
        self.outbox = waiting;
    }

    // -- time --------------------------------------------------------------------------------------------------------

    /// The next moment at which something is due.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.runs.values().filter_map(Run::next_deadline).min()
    }

    /// Lets time pass until `until`; what is due meanwhile happens in order.
    pub fn advance(&mut self, until: Timestamp) {
        while let Some(due) = self.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let run = self
                .runs
                .values()
                .find(|run| run.next_deadline() == Some(due))
                .expect("a run is due");
            let (run_id, workflow_id) = (run.run_id.clone(), run.workflow_id.0.clone());
            let namespace = NAMESPACES
                .by_id(&run.namespace_id)
                .expect("the namespace exists");
            self.decide(namespace, &workflow_id, &run_id, &Input::Deadline)
                .expect("a deadline is never refused");
            self.deliver_all();
            self.ask_again();
            assert!(
                self.runs.get(&run_id).and_then(Run::next_deadline) != Some(due),
                "a deadline of {run_id} is due for ever: {:?}",
                self.runs[&run_id]
            );
        }
        self.now = self.now.max(until);
    }

    /// The shell finds a worker lost: each run that it holds something of hears of it.
    pub fn lose_worker(&mut self, worker_id: &str, silent_for: Duration) {
        let held: Vec<(String, String, NamespaceId)> = self
            .runs
            .values()
            .filter(|run| run.claimants().contains(worker_id))
            .map(|run| {
                (
                    run.run_id.clone(),
                    run.workflow_id.0.clone(),
                    run.namespace_id.clone(),
                )
            })
            .collect();
        for (run_id, workflow_id, namespace_id) in held {
            let namespace = NAMESPACES
                .by_id(&namespace_id)
                .expect("the namespace exists");
            let input = Input::WorkerLost {
                worker_id: worker_id.to_owned(),
                silent_for,
            };
            self.decide(namespace, &workflow_id, &run_id, &input)
                .expect("the loss of a worker is never refused");
            self.deliver_all();
        }
    }

    // -- workers -----------------------------------------------------------------------------------------------------

    /// Claims a workflow or query task for a poller of `queue`.
    pub fn claim_workflow_task(
        &mut self,
        task: TaskReference,
        queue: &TaskQueue,
        identity: &str,
    ) -> Claimed {
        let Some(run) = self.runs.get(&task.run_id).cloned() else {
            return Claimed::Gone;
        };
        let namespace = NAMESPACES
            .by_id(&run.namespace_id)
            .expect("the namespace exists");
        let claim = ClaimTask {
            task,
            task_queue: queue.clone(),
            identity: identity.to_owned(),
            claim_id: self.new_id(),
            worker_id: self.worker_id.clone(),
            ..ClaimTask::default()
        };
        if claim.task.query_id.is_some() {
            let handout = self
                .queries
                .get_mut(&run.run_id)
                .and_then(|queries| queries.claim(&run, &claim).ok());
            return match handout {
                Some(handout) => Claimed::Task(Box::new(self.complete(handout))),
                None => Claimed::Gone,
            };
        }
        let request = Request::ClaimWorkflowTask(Box::new(claim));
        match self.request(namespace, &run.workflow_id.0, request) {
            Ok(Reply::WorkflowTask(handout)) => Claimed::Task(Box::new(self.complete(*handout))),
            Ok(other) => panic!("a claim was answered by {other:?}"),
            Err(rejection) => {
                assert_eq!(rejection.kind, RejectionKind::NotFound, "{rejection}");
                Claimed::Gone
            }
        }
    }

    pub fn claim_activity_task(
        &mut self,
        task: TaskReference,
        queue: &TaskQueue,
        identity: &str,
    ) -> Option<PollActivityTaskQueueResponse> {
        let run = self.runs.get(&task.run_id)?;
        let workflow_id = run.workflow_id.0.clone();
        let namespace = NAMESPACES
            .by_id(&run.namespace_id)
            .expect("the namespace exists");
        let claim = ClaimTask {
            task,
            task_queue: queue.clone(),
            identity: identity.to_owned(),
            claim_id: self.new_id(),
            worker_id: self.worker_id.clone(),
            ..ClaimTask::default()
        };
        match self.request(
            namespace,
            &workflow_id,
            Request::ClaimActivityTask(Box::new(claim)),
        ) {
            Ok(Reply::Response(Response::ActivityTask(task))) => Some(*task),
            Ok(other) => panic!("a claim was answered by {other:?}"),
            Err(rejection) => {
                assert_eq!(rejection.kind, RejectionKind::NotFound, "{rejection}");
                None
            }
        }
    }

    /// Adds what the owner keeps: history and queries.
    pub fn complete(&mut self, handout: TaskHandout) -> PollWorkflowTaskQueueResponse {
        let mut response = handout.response;
        let from = usize::try_from(handout.history_from - 1).unwrap_or(0);
        let history = &self.histories[&handout.run_id];
        let mut events: Vec<HistoryEvent> = history
            .iter()
            .skip(from)
            .map(|event| (**event).clone())
            .collect();
        events.extend(handout.tail);
        response.history = Some(History { events });
        if response.query.is_none()
            && let Some(queries) = self.queries.get_mut(&handout.run_id)
        {
            response.queries = queries.attach();
        }
        response
    }

    /// All events of a run, with those of a transient task.
    pub fn history(&self, run: &Run) -> Vec<HistoryEvent> {
        let mut events: Vec<HistoryEvent> = self.histories[&run.run_id]
            .iter()
            .map(|event| (**event).clone())
            .collect();
        events.extend(workflow_task::transient_events(run, false));
        events
    }

    // -- updates -----------------------------------------------------------------------------------------------------

    /// Sends an update, or one with a start; gives the place of its caller in `updates`.
    pub fn send_update(
        &mut self,
        namespace: &NamespaceRecord,
        workflow_id: &str,
        request: Request,
    ) -> Result<usize, Rejection> {
        match self.request(namespace, workflow_id, request)? {
            Reply::Update(awaited) => Ok(self.park(*awaited)),
            other => panic!("an update was answered by {other:?}"),
        }
    }

    pub fn poll_update(
        &mut self,
        namespace: &NamespaceRecord,
        request: &PollWorkflowExecutionUpdateRequest,
    ) -> Result<usize, Rejection> {
        let reference = request.update_ref.clone().unwrap_or_default();
        let execution = reference.workflow_execution.unwrap_or_default();
        let view = self.view(&namespace.id, &execution.workflow_id, &execution.run_id);
        let awaited = update::poll(&view, request)?;
        Ok(self.park(awaited))
    }

    fn park(&mut self, awaited: Awaited) -> usize {
        let Awaited { wait, status } = awaited;
        let status = self.resolved(&wait.run_id, &status);
        let answer = wait.is_over(&status).then(|| wait.answer(&status));
        self.updates.push(Caller { wait, answer });
        self.updates.len() - 1
    }

    /// An outcome that history holds.
    fn resolved(&self, run_id: &str, status: &Status) -> Status {
        let Status::CompletedBy(event_id) = status else {
            return status.clone();
        };
        let event = &self.histories[run_id][usize::try_from(event_id - 1).expect("an event id")];
        match &event.attributes {
            Some(HistoryEventAttributes::WorkflowExecutionUpdateCompleted(completed)) => {
                Status::Completed(Box::new(completed.outcome.clone().expect("an outcome")))
            }
            other => panic!("event {event_id} completes no update: {other:?}"),
        }
    }

    fn tell(&mut self, run_id: &str, update_id: &str, status: &Status) {
        let run = &self.runs[run_id];
        let workflow = (run.namespace_id.clone(), run.workflow_id.0.clone());
        for (at, caller) in self.updates.iter_mut().enumerate() {
            let wait = &caller.wait;
            let is_meant = wait.run_id == run_id && wait.update_id == update_id;
            if caller.answer.is_none() && is_meant && wait.is_over(status) {
                match wait.again(status) {
                    Some(request) => self.again.push((at, workflow.clone(), request)),
                    None => caller.answer = Some(wait.answer(status)),
                }
            }
        }
    }

    fn ask_again(&mut self) {
        while let Some((at, (namespace_id, workflow_id), request)) = self.again.first().cloned() {
            let namespace = NAMESPACES
                .by_id(&namespace_id)
                .expect("the namespace exists");
            let asked = self.request_only(namespace, &workflow_id, request);
            let caller = match asked {
                Ok(Reply::Update(awaited)) => {
                    let Awaited { wait, status } = *awaited;
                    let status = self.resolved(&wait.run_id, &status);
                    let wait = wait.repeated();
                    let answer = wait.is_over(&status).then(|| wait.answer(&status));
                    Caller { wait, answer }
                }
                Ok(other) => panic!("an update was answered by {other:?}"),
                Err(rejection) => Caller {
                    answer: Some(Err(rejection)),
                    ..self.updates[at].clone()
                },
            };
            self.again.remove(0);
            self.updates[at] = caller;
        }
    }

    /// What the caller has heard; a refusal if its time is over before.
    pub fn update_answer(&self, caller: usize) -> Answer {
        let caller = &self.updates[caller];
        let late = || {
            let text = "Deadline Exceeded";
            caller
                .wait
                .refuse(Rejection::new(RejectionKind::DeadlineExceeded, text))
        };
        caller.answer.clone().unwrap_or_else(late)
    }

    // -- queries -----------------------------------------------------------------------------------------------------

    /// Asks; an answer that is not there at once comes into `query_answers` under the id that is returned.
    pub fn ask(
        &mut self,
        namespace: &NamespaceRecord,
        request: &QueryWorkflowRequest,
    ) -> Result<Result<Box<QueryWorkflowResponse>, String>, Rejection> {
        let query_id = self.new_id();
        let execution = request.execution.clone().unwrap_or_default();
        let view = self.view(&namespace.id, &execution.workflow_id, &execution.run_id);
        let (current, run) = (view.current.cloned(), view.run.cloned());
        let view = View {
            current: current.as_ref(),
            run: run.as_ref(),
        };
        let run_id = run
            .as_ref()
            .map(|run| run.run_id.clone())
            .unwrap_or_default();
        let queries = self.queries.entry(run_id).or_default();
        match queries.ask(&view, &query_id, request)? {
            Asked::Answered(response) => Ok(Ok(response)),
            Asked::Pending(effects) => {
                effects.into_iter().for_each(|effect| self.perform(effect));
                Ok(Err(query_id))
            }
        }
    }

    pub fn take_query_results(
        &mut self,
        token: &[u8],
        request: &RespondWorkflowTaskCompletedRequest,
    ) {
        let Ok(token) = codec::decode::<TaskToken>(token) else {
            return;
        };
        if let Some(queries) = self.queries.get_mut(&token.run_id) {
            self.query_answers
                .extend(queries.complete(&request.query_results, self.limits.blob_bytes_max));
            if let Some(run) = self.runs.get(&token.run_id).cloned() {
                self.settle(&run);
            }
        }
    }

    pub fn answer_query(
        &mut self,
        request: &RespondQueryTaskCompletedRequest,
    ) -> Result<(), Rejection> {
        let bad = || Rejection::invalid_argument("Error deserializing task token.");
        if request.task_token.is_empty() {
            return Err(Rejection::invalid_argument(
                "Task token not set on request.",
            ));
        }
        let token: TaskToken = codec::decode(&request.task_token).map_err(|_| bad())?;
        let gone = || Rejection::not_found("query task not found, or already expired");
        if token.query_id.is_empty() {
            return Err(bad());
        }
        let queries = self.queries.get_mut(&token.run_id).ok_or_else(gone)?;
        let answer = queries.answer(&token.query_id, request, self.limits.blob_bytes_max)?;
        self.query_answers.insert(token.query_id, answer);
        Ok(())
    }
}

/// The run that a request names, empty if it means the current one.
fn addressed_run(request: &Request) -> String {
    let of_token = |token: &[u8]| {
        codec::decode::<TaskToken>(token).map_or_else(|_| String::new(), |token| token.run_id)
    };
    let of_execution = |execution: &Option<fermata_proto::common::WorkflowExecution>| {
        execution.clone().unwrap_or_default().run_id
    };
    match request {
        Request::SignalWorkflowExecution(signal) => {
            of_execution(&signal.request.workflow_execution)
        }
        Request::RequestCancelWorkflowExecution(cancel) => {
            of_execution(&cancel.request.workflow_execution)
        }
        Request::TerminateWorkflowExecution(terminate) => {
            of_execution(&terminate.request.workflow_execution)
        }
        Request::DeleteWorkflowExecution(delete) => of_execution(&delete.workflow_execution),
        Request::UpdateWorkflowExecution(update) => of_execution(&update.workflow_execution),
        Request::ResetWorkflowExecution(reset) => of_execution(&reset.workflow_execution),
        Request::ResetStickyTaskQueue(reset) => of_execution(&reset.execution),
        Request::ClaimWorkflowTask(claim) | Request::ClaimActivityTask(claim) => {
            claim.task.run_id.clone()
        }
        Request::RespondWorkflowTaskCompleted(r) => of_token(&r.task_token),
        Request::RespondWorkflowTaskFailed(r) => of_token(&r.task_token),
        Request::RespondActivityTaskCompleted(r) => of_token(&r.request.task_token),
        Request::RespondActivityTaskFailed(r) => of_token(&r.task_token),
        Request::RespondActivityTaskCanceled(r) => of_token(&r.task_token),
        Request::RecordActivityTaskHeartbeat(r) => of_token(&r.task_token),
        Request::RespondActivityTaskCompletedById(r) => r.run_id.clone(),
        Request::RespondActivityTaskFailedById(r) => r.run_id.clone(),
        Request::RespondActivityTaskCanceledById(r) => r.run_id.clone(),
        Request::RecordActivityTaskHeartbeatById(r) => r.run_id.clone(),
        Request::RecordChildWorkflowClosed(closed) => closed.parent_run_id.clone(),
        Request::RecordScheduledWorkflowClosed(closed) => closed.run_id.clone(),
        _ => String::new(),
    }
}
