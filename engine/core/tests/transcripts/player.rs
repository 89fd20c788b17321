//! Plays one recorded transcript against the core.
//!
//! A transcript does not say which task a `<token>` belongs to, nor how much time passed between two calls. Both follow
//! from the answers: the player tries the likeliest (the task polled last, no time) and goes back to the next when an
//! answer differs, with a bound on how far it strays. All of its state is a value, so that going back is cheap.

use std::time::Duration;

use fermata_proto::enums::*;
use fermata_proto::event::HistoryEventAttributes;
use fermata_proto::pb::workflowservice::v1 as wire;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use serde_json::{Value, json};

use super::compare::{Comparison, Ids};
use super::json::{OF_THE_EDGE, parse, show, show_detail, with_payloads};
use super::support::world::{Claimed, World, namespace};
use super::waiting::{answers_bad_task, is_waiting};

/// How long a recorded poll waited for its task.
const LONG_POLL: Duration = Duration::from_secs(15);
/// How long a recorded poll waited before there was taken to be no task.
const NO_TASK: Duration = Duration::from_millis(2_500);
/// Between two calls.
const CALL: Duration = Duration::from_millis(2);
const STRAYS_MAX: usize = 7;
const STEPS_MAX: usize = 4_000;

/// One entry of a transcript.
pub type Call = Value;

#[derive(Clone)]
pub(super) struct State {
    pub(super) world: World,
    pub(super) ids: Ids,
    /// Tokens handed out, by what they are for; the latest last.
    pub(super) workflow_tokens: Vec<String>,
    pub(super) activity_tokens: Vec<String>,
    pub(super) query_tokens: Vec<String>,
    /// Queries asked ahead of their place: the call's index, and the query id or the answer.
    asked: Vec<(usize, Asked)>,
    /// The run of the last workflow made for a bad command.
    bad: Option<String>,
    bad_count: usize,
    /// Updates sent ahead of their place: the call's index, and its caller in the world.
    pub(super) sent: Vec<(usize, Result<usize, Rejection>)>,
}

type Asked = Result<Result<Box<QueryWorkflowResponse>, String>, Rejection>;
pub(super) type Answered = Result<Value, Rejection>;

/// How far a transcript could be played, and what differed there.
#[derive(Debug, Default)]
pub struct Difference {
    pub call: usize,
    pub lines: Vec<String>,
}

pub struct Player<'a> {
    calls: &'a [Call],
    comparison: Comparison,
    steps: usize,
    furthest: Difference,
}

/// What a call is tried with.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// Counted from the latest token back.
    token: usize,
    /// Deadlines that pass before the call.
    deadlines: usize,
    /// Updates sent before the call whose answers stand behind it.
    ahead: usize,
}

/// # Errors
/// The difference that lies furthest on.
pub fn play(calls: &[Call], comparison: Comparison) -> Result<(), Difference> {
    let mut player = Player {
        calls,
        comparison,
        steps: 0,
        furthest: Difference::default(),
    };
    for strays in 0..=STRAYS_MAX {
        let state = State {
            world: World::as_recorded(7),
            ids: Ids::default(),
            workflow_tokens: Vec::new(),
            activity_tokens: Vec::new(),
            query_tokens: Vec::new(),
            asked: Vec::new(),
            bad: None,
            bad_count: 0,
            sent: Vec::new(),
        };
        if player.play_from(0, state, strays) {
            return Ok(());
        }
        if player.steps > STEPS_MAX {
            break;
        }
    }
    Err(player.furthest)
}

impl Player<'_> {
    /// Whether the rest can be played with at most `strays` unlikely choices.
    fn play_from(&mut self, at: usize, state: State, strays: usize) -> bool {
        let Some(call) = self.calls.get(at) else {
            return true;
        };
        if self.steps > STEPS_MAX {
            return false;
        }
        let tokens = state.tokens(call).max(1);
        for stray in 0..=strays {
            for attempt in attempts(stray, tokens, state.unsent(self.calls, at).len()) {
                self.steps += 1;
                let mut next = state.clone();
                let lines = next.play(self.calls, at, attempt, &self.comparison);
                if lines.is_empty() {
                    if self.play_from(at + 1, next, strays - stray) {
                        return true;
                    }
                } else if self.furthest.lines.is_empty() || at > self.furthest.call {
                    self.furthest = Difference { call: at, lines };
                }
            }
        }
        false
    }
}

/// Every way to be unlikely in `stray` respects.
fn attempts(stray: usize, tokens: usize, unsent: usize) -> impl Iterator<Item = Attempt> {
    (0..=stray.min(4)).flat_map(move |deadlines| {
        (0..=(stray - deadlines).min(unsent)).filter_map(move |ahead| {
            let token = stray - deadlines - ahead;
            (token < tokens).then_some(Attempt {
                token,
                deadlines,
                ahead,
            })
        })
    })
}

impl State {
    /// How many tokens the call might mean.
    fn tokens(&self, call: &Call) -> usize {
        self.candidates(call)
            .map_or(1, |candidates| candidates.len())
    }

    fn candidates(&self, call: &Call) -> Option<Vec<String>> {
        if call["request"]["taskToken"] != "<token>" {
            return None;
        }
        let (likely, unlikely) = match call["rpc"].as_str()? {
            "RespondWorkflowTaskCompleted" | "RespondWorkflowTaskFailed" => {
                (&self.workflow_tokens, &self.activity_tokens)
            }
            "RespondQueryTaskCompleted" => (&self.query_tokens, &self.workflow_tokens),
            _ => (&self.activity_tokens, &self.workflow_tokens),
        };
        let mut candidates: Vec<String> = likely.iter().rev().cloned().collect();
        candidates.push("bm9uc2Vuc2U=".to_owned());
        candidates.extend(unlikely.iter().rev().take(1).cloned());
        Some(candidates)
    }

    /// Plays one entry; gives what differs.
    fn play(
        &mut self,
        calls: &[Call],
        at: usize,
        attempt: Attempt,
        comparison: &Comparison,
    ) -> Vec<String> {
        let call = &calls[at];
        for _ in 0..attempt.deadlines {
            let Some(due) = self.world.next_deadline() else {
                return vec!["nothing is due".to_owned()];
            };
            self.world.advance(due);
        }
        self.world.advance(self.world.now + CALL);
        if let Some(note) = call.get("note") {
            return self.note(note.as_str().expect("a note has a text"), &call["value"]);
        }
        let rpc = call["rpc"].as_str().expect("a call names its rpc");
        self.ask_ahead(calls, at);
        self.send_ahead(calls, at, attempt.ahead);
        self.learn_run_id(call);
        let mut request = with_payloads(&self.ids.for_request(&call["request"]));
        if let Some(candidates) = self.candidates(call) {
            request["taskToken"] = json!(candidates[attempt.token]);
        }
        if rpc == "RespondWorkflowTaskCompleted" && answers_bad_task(calls, at) {
            let about_updates = calls[at + 1]["note"] == "causes";
            request["taskToken"] = json!(self.bad_task(about_updates));
        }
        let answered = match rpc {
            "QueryWorkflow" => self.query(at, &request),
            _ if is_waiting(rpc) => self.waiting_call(at, rpc, &request),
            _ => self.call(rpc, &request, call),
        };
        self.compare(call, answered, comparison)
    }

    fn compare(&mut self, call: &Call, answered: Answered, comparison: &Comparison) -> Vec<String> {
        match (call.get("response"), call.get("error"), answered) {
            (Some(golden), _, Ok(ours)) => comparison.lines(&mut self.ids, golden, &ours),
            (_, Some(golden), Err(ours)) => {
                let mut ours = error(ours);
                if ours["message"] == OF_THE_EDGE {
                    ours["message"] = golden["message"].clone();
                }
                comparison.lines(&mut self.ids, golden, &ours)
            }
            (Some(_), _, Err(ours)) => vec![format!("refused: {}", error(ours))],
            (_, Some(golden), Ok(ours)) => vec![format!("not refused with {golden}: {ours}")],
            _ => vec!["an entry without an answer".to_owned()],
        }
    }

    /// A run id that was read silently is that of the current run.
    fn learn_run_id(&mut self, call: &Call) {
        let request = &call["request"];
        let execution = [&request["execution"], &request["workflowExecution"]]
            .into_iter()
            .find(|execution| execution.is_object());
        let Some(execution) = execution.filter(|_| call.get("error").is_none()) else {
            return;
        };
        let workflow_id = execution["workflowId"].as_str().unwrap_or_default();
        let default = namespace("default").expect("it exists");
        let current = self.world.view(&default.id, workflow_id, "").current;
        if let (Some(run_id), Some(current)) = (execution["runId"].as_str(), current) {
            self.ids.learn(run_id, &current.run_id);
        }
    }

    // -- notes -------------------------------------------------------------------------------------------------------

    fn note(&mut self, note: &str, value: &Value) -> Vec<String> {
        let ours = match note {
            // Of a history that the scenario read by itself and recorded too.
            "events" | "causes" if self.bad.is_none() => return Vec::new(),
            "events" => json!(self.bad_events()),
            "causes" if value[0].is_string() => json!(self.bad_causes()),
            "causes" => json!(self.bad_cause_numbers()),
            _ if note.starts_with("no ") => {
                let queue = note.rsplit(' ').next().unwrap_or_default();
                self.world.advance(self.world.now + NO_TASK);
                let workflow = note.starts_with("no workflow");
                let nothing = if workflow {
                    self.poll_workflow(&poll_request(queue, queue == "sticky"), false)
                        .is_none()
                } else {
                    self.poll_activity(&json!({"taskQueue": {"name": queue}}), false)
                        .is_none()
                };
                json!(nothing)
            }
            // Measured by the scenario, or counted from an answer that was compared.
            _ => return Vec::new(),
        };
        if ours == *value {
            Vec::new()
        } else {
            vec![format!("{note}: {value} -> {ours}")]
        }
    }

    /// Starts a workflow of its own for a bad command; gives the token of its first task.
    fn bad_task(&mut self, about_updates: bool) -> String {
        self.bad_count += 1;
        let name = format!("bad-{}", self.bad_count);
        let start = json!({
            "workflowId": name, "workflowType": {"name": "Flow"}, "taskQueue": {"name": name},
            "namespace": "default", "requestId": name, "identity": "wire",
        });
        let started = self
            .call("StartWorkflowExecution", &start, &Value::Null)
            .expect("it starts");
        self.bad = Some(started["runId"].as_str().expect("a run id").to_owned());
        if about_updates {
            self.update_bad_workflow(&name);
        }
        let task = self
            .poll_workflow(&poll_request(&name, false), false)
            .expect("a first task");
        task["taskToken"].as_str().expect("a token").to_owned()
    }

    fn bad_history(&self) -> Vec<fermata_proto::event::HistoryEvent> {
        let run_id = self.bad.as_ref().expect("a bad command was tried");
        self.world.history(&self.world.runs[run_id])
    }

    fn bad_events(&self) -> Vec<String> {
        self.bad_history()[3..]
            .iter()
            .map(|event| screaming(&format!("{:?}", event.event_type())))
            .collect()
    }

    fn bad_causes(&self) -> Vec<String> {
        self.failed_causes()
            .into_iter()
            .map(|cause| screaming(&format!("{cause:?}")))
            .collect()
    }

    fn bad_cause_numbers(&self) -> Vec<i32> {
        self.failed_causes()
            .into_iter()
            .map(|cause| cause as i32)
            .collect()
    }

    fn failed_causes(&self) -> Vec<WorkflowTaskFailedCause> {
        self.bad_history()
            .iter()
            .filter_map(|event| match &event.attributes {
                Some(HistoryEventAttributes::WorkflowTaskFailed(a)) => Some(a.cause),
                _ => None,
            })
            .collect()
    }

    // -- queries -----------------------------------------------------------------------------------------------------

    /// A query stands in the transcript where its answer was read; it was asked before the task that brought it.
    fn ask_ahead(&mut self, calls: &[Call], at: usize) {
        let call = &calls[at];
        let response = &call["response"];
        let is_direct = !response["query"].is_null();
        let attached = |task: &Value| !task["queries"].is_null();
        if !is_direct && !attached(response) && !attached(&response["workflowTask"]) {
            return;
        }
        let ahead: Vec<usize> = (at + 1..calls.len())
            .filter(|index| calls[*index]["rpc"] == "QueryWorkflow")
            .filter(|index| !self.asked.iter().any(|(asked, _)| asked == index))
            .collect();
        let wanted = if is_direct {
            1
        } else {
            response["queries"]
                .as_object()
                .map_or(1, serde_json::Map::len)
        };
        let pending = self
            .world
            .queries
            .values()
            .any(|queries| !queries.is_empty());
        if pending {
            return;
        }
        for index in ahead.into_iter().take(wanted) {
            let request = with_payloads(&self.ids.for_request(&calls[index]["request"]));
            let asked = self.ask(&request);
            self.asked.push((index, asked));
        }
    }

    fn ask(&mut self, request: &Value) -> Asked {
        let request: QueryWorkflowRequest =
            parse::<wire::QueryWorkflowRequest, _>("QueryWorkflowRequest", request)?;
        let namespace = namespace(&request.namespace).expect("the namespace exists");
        self.world.ask(namespace, &request)
    }

    fn query(&mut self, at: usize, request: &Value) -> Answered {
        let asked = match self.asked.iter().find(|(index, _)| *index == at) {
            Some((_, asked)) => asked.clone(),
            None => self.ask(request),
        };
        let response = match asked? {
            Ok(response) => *response,
            Err(query_id) => match self.world.query_answers.remove(&query_id) {
                Some(answer) => answer?,
                None => {
                    return Err(Rejection::new(
                        RejectionKind::DeadlineExceeded,
                        "Deadline Exceeded",
                    ));
                }
            },
        };
        Ok(show::<wire::QueryWorkflowResponse, _>(
            "QueryWorkflowResponse",
            response,
        ))
    }

    // -- polls -------------------------------------------------------------------------------------------------------

    /// Waits for a task; time passes only if there is none now.
    pub(super) fn poll_workflow(&mut self, request: &Value, wait: bool) -> Option<Value> {
        let request: PollWorkflowTaskQueueRequest =
            parse::<wire::PollWorkflowTaskQueueRequest, _>("PollWorkflowTaskQueueRequest", request)
                .expect("a poll is well-formed");
        let queue = request.task_queue.clone().unwrap_or_default();
        let end = self.world.now + LONG_POLL;
        loop {
            while let Some(task) = self.take_workflow_task(&queue) {
                if let Claimed::Task(task) =
                    self.world
                        .claim_workflow_task(task, &queue, &request.identity)
                {
                    let is_query = task.query.is_some();
                    let shown = show::<wire::PollWorkflowTaskQueueResponse, _>(
                        "PollWorkflowTaskQueueResponse",
                        *task,
                    );
                    let token = shown["taskToken"]
                        .as_str()
                        .expect("a task has a token")
                        .to_owned();
                    if is_query {
                        self.query_tokens.push(token)
                    } else {
                        self.workflow_tokens.push(token)
                    }
                    return Some(shown);
                }
            }
            let due = self
                .world
                .next_deadline()
                .filter(|due| wait && *due <= end)?;
            self.world.advance(due);
        }
    }

    /// The next task of a queue. A normal queue also gets what nobody took from a sticky one that nobody polls.
    fn take_workflow_task(&mut self, queue: &TaskQueue) -> Option<TaskReference> {
        let tasks = &mut self.world.workflow_tasks;
        let own = tasks.iter().position(|(_, of)| of.name == queue.name);
        let fallen_back = || {
            tasks.iter().position(|(_, of)| {
                of.kind == TaskQueueKind::Sticky && of.normal_name == queue.name
            })
        };
        let index = own.or_else(fallen_back)?;
        Some(tasks.remove(index).0)
    }

    pub(super) fn poll_activity(&mut self, request: &Value, wait: bool) -> Option<Value> {
        let request: PollActivityTaskQueueRequest =
            parse::<wire::PollActivityTaskQueueRequest, _>("PollActivityTaskQueueRequest", request)
                .expect("a poll is well-formed");
        let queue = request.task_queue.clone().unwrap_or_default();
        let end = self.world.now + LONG_POLL;
        loop {
            while let Some(index) = self
                .world
                .activity_tasks
                .iter()
                .position(|(_, of)| *of == queue.name)
            {
                let (task, _) = self.world.activity_tasks.remove(index);
                if let Some(task) = self
                    .world
                    .claim_activity_task(task, &queue, &request.identity)
                {
                    let shown = show::<wire::PollActivityTaskQueueResponse, _>(
                        "PollActivityTaskQueueResponse",
                        task,
                    );
                    self.activity_tokens.push(
                        shown["taskToken"]
                            .as_str()
                            .expect("a task has a token")
                            .to_owned(),
                    );
                    return Some(shown);
                }
            }
            let due = self
                .world
                .next_deadline()
                .filter(|due| wait && *due <= end)?;
            self.world.advance(due);
        }
    }
}

fn poll_request(queue: &str, sticky: bool) -> Value {
    let mut request = json!({"taskQueue": {"name": queue}, "identity": "wire"});
    if sticky {
        request["taskQueue"]["kind"] = json!("TASK_QUEUE_KIND_STICKY");
        request["taskQueue"]["normalName"] = json!("tq");
    }
    request
}

/// A refusal in the form of the transcripts.
fn error(rejection: Rejection) -> Value {
    let code = screaming(&format!("{:?}", rejection.kind));
    let mut shown = json!({ "code": code, "message": rejection.message });
    if let Some(detail) = rejection.detail {
        shown["details"] = json!([show_detail(*detail)]);
    }
    shown
}

/// `CamelCase` as `SCREAMING_SNAKE_CASE`.
fn screaming(camel: &str) -> String {
    let mut out = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}
