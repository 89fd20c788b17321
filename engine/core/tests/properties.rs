//! Random workflows, clients, workers and clocks. The world checks its invariants after every transition; here stands what
//! is done to it, and that every kind of thing was done with success.
//!
//! A failure names its seed; `SEED=n` plays that one alone, `SEEDS=n` the first n.

// Which seeds are played is asked of the environment; the rules never ask it.
#![allow(clippy::disallowed_methods)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_core::Reply;
use fermata_core::update::Stage;
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::protocol::Message;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::{StickyExecutionAttributes, TaskQueue};
use support::client::*;
use support::updates::*;
use support::world::{World, namespace};

const SEEDS: u64 = 100;
const STEPS: usize = 300;
const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A linear congruential generator: few lines, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }
    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

struct Play {
    world: World,
    random: Random,
    tasks: Vec<PollWorkflowTaskQueueResponse>,
    activities: Vec<PollActivityTaskQueueResponse>,
    done: BTreeMap<&'static str, usize>,
    /// Start requests made so far, some of them repeated.
    starts: Vec<StartWorkflowExecutionRequest>,
    names: usize,
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let mut done: BTreeMap<&'static str, usize> = BTreeMap::new();
    let only = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let count = std::env::var("SEEDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(SEEDS);
    let seeds = only.map_or(0..count, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let played = std::panic::catch_unwind(|| play(seed));
        match played {
            Ok(kinds) => kinds
                .into_iter()
                .for_each(|(kind, times)| *done.entry(kind).or_default() += times),
            Err(panic) => {
                eprintln!("failed with SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    if only.is_none() {
        for kind in KINDS {
            assert!(
                done.get(kind).copied().unwrap_or(0) > 5,
                "{kind} hardly ever succeeds: {done:?}"
            );
        }
    }
}

#[test]
fn the_same_seed_plays_the_same() {
    let play = |seed| {
        let mut play = Play::new(seed);
        (0..STEPS).for_each(|_| play.step());
        format!("{:?}", play.world.histories)
    };
    assert_eq!(play(3), play(3));
    assert_ne!(play(3), play(4));
}

fn play(seed: u64) -> BTreeMap<&'static str, usize> {
    let mut play = Play::new(seed);
    for _ in 0..STEPS {
        play.step();
    }
    play.wind_up();
    play.done
}

/// Each must succeed now and then.
const KINDS: [&str; 28] = [
    "start",
    "start again",
    "signal",
    "signal with start",
    "cancel",
    "terminate",
    "delete",
    "complete task",
    "fail task",
    "refused commands",
    "complete activity",
    "fail activity",
    "cancel activity",
    "heartbeat",
    "complete activity by id",
    "timer fired",
    "ask",
    "answer query",
    "reset sticky",
    "task timed out",
    "child closed",
    "next run",
    "update",
    "update with start",
    "accept update",
    "complete update",
    "reject update",
    "update hears its end",
];

impl Play {
    fn new(seed: u64) -> Self {
        Self {
            world: World::new(seed),
            random: Random(seed),
            tasks: Vec::new(),
            activities: Vec::new(),
            done: BTreeMap::new(),
            starts: Vec::new(),
            names: 0,
        }
    }

    fn note<T, E>(&mut self, kind: &'static str, result: Result<T, E>) {
        if result.is_ok() {
            *self.done.entry(kind).or_default() += 1;
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..7 => self.start(),
            7..14 => self.signal(),
            14..16 => self.signal_with_start(),
            16..18 => {
                let id = self.random.one_of(&IDS);
                let canceled = self.world.cancel(id);
                self.note("cancel", canceled);
            }
            18..19 => {
                let id = self.random.one_of(&IDS);
                let terminated = self.world.terminate(id);
                self.note("terminate", terminated);
            }
            19..20 => self.delete(),
            20..55 => self.work_on_workflow(),
            55..80 => self.work_on_activity(),
            80..82 => self.by_id(),
            82..86 => self.query(),
            86..87 => self.reset_sticky(),
            87..93 => self.update(),
            93..94 => self.update_with_start(),
            _ => {
                let seconds = self.random.one_of(&[0.001, 0.05, 0.3, 1.0, 3.0, 15.0]);
                self.world.pass(seconds);
                self.count_events();
            }
        }
    }

    /// What only the clock does is seen in histories.
    fn count_events(&mut self) {
        let count = |kind: EventType| {
            let all = self.world.histories.values().flatten();
            all.filter(|event| event.event_type() == kind).count()
        };
        let next_runs = self
            .world
            .runs
            .values()
            .filter(|run| !run.started.continued_execution_run_id.is_empty())
            .count();
        let counts = [
            ("timer fired", count(EventType::TimerFired)),
            ("task timed out", count(EventType::WorkflowTaskTimedOut)),
            (
                "child closed",
                count(EventType::ChildWorkflowExecutionCompleted),
            ),
            ("next run", next_runs),
            (
                "accept update",
                count(EventType::WorkflowExecutionUpdateAccepted),
            ),
            (
                "complete update",
                count(EventType::WorkflowExecutionUpdateCompleted),
            ),
            (
                "update hears its end",
                self.world
                    .updates
                    .iter()
                    .filter(|caller| matches!(caller.answer, Some(Ok(_))))
                    .count(),
            ),
        ];
        self.done.extend(counts);
    }

    fn start(&mut self) {
        if self.random.chance(20) && !self.starts.is_empty() {
            let at = self.random.below(self.starts.len());
            let request = self.starts[at].clone();
            let id = request.workflow_id.clone();
            let again = self
                .world
                .ask_owner(&id, Request::StartWorkflowExecution(Box::new(request)));
            self.note("start again", again);
            return;
        }
        let id = self.random.one_of(&IDS);
        let random = &mut self.random;
        let mut sent = None;
        let started = self.world.start(id, |request| {
            request.workflow_id_reuse_policy = random.one_of(WorkflowIdReusePolicy::ALL);
            if request.workflow_id_reuse_policy != WorkflowIdReusePolicy::TerminateIfRunning {
                request.workflow_id_conflict_policy = random.one_of(WorkflowIdConflictPolicy::ALL);
            }
            request.request_eager_execution = random.chance(10);
            if random.chance(15) {
                request.workflow_run_timeout =
                    Some(Duration::from_secs(random.one_of(&[1, 10, 100])));
            }
            if random.chance(20) {
                request.workflow_execution_timeout =
                    Some(Duration::from_secs(random.one_of(&[5, 50, 500])));
            }
            if random.chance(30) {
                request.retry_policy = Some(RetryPolicy {
                    maximum_attempts: 3,
                    ..RetryPolicy::default()
                });
            }
            match random.below(10) {
                0 => request.cron_schedule = "@every 5s".to_owned(),
                1 => request.workflow_start_delay = Some(Duration::from_secs(2)),
                _ => {}
            }
            sent = Some(request.clone());
        });
        self.starts.extend(sent);
        self.note("start", started);
    }

    fn signal(&mut self) {
        let id = self.random.one_of(&IDS);
        let input = self.random.chance(30).then(|| payload_of(20));
        let signaled = self.world.signal(id, input);
        self.note("signal", signaled);
    }

    fn signal_with_start(&mut self) {
        let id = self.random.one_of(&IDS);
        let request = SignalWithStartWorkflowExecutionRequest {
            workflow_id: id.to_owned(),
            workflow_type: Some(WorkflowType {
                name: "Flow".to_owned(),
            }),
            task_queue: Some(queue(QUEUE)),
            signal_name: "go".to_owned(),
            request_id: self.world.new_id(),
            workflow_id_conflict_policy: self.random.one_of(&[
                WorkflowIdConflictPolicy::Unspecified,
                WorkflowIdConflictPolicy::TerminateExisting,
            ]),
            ..SignalWithStartWorkflowExecutionRequest::default()
        };
        let answer = self.world.ask_owner(
            id,
            Request::SignalWithStartWorkflowExecution(Box::new(request)),
        );
        self.note("signal with start", answer);
    }

    fn update(&mut self) {
        let id = self.random.one_of(&IDS);
        let request = update_request(id, &self.update_id(), self.stage());
        let request = Request::UpdateWorkflowExecution(Box::new(request));
        let default = namespace("default").expect("it exists");
        let sent = self.world.send_update(default, id, request);
        self.note("update", sent);
    }

    /// Few enough that some are asked for again.
    fn update_id(&mut self) -> String {
        format!("u{}", self.random.below(12))
    }

    fn stage(&mut self) -> UpdateWorkflowExecutionLifecycleStage {
        self.random.one_of(&[
            UpdateWorkflowExecutionLifecycleStage::Unspecified,
            UpdateWorkflowExecutionLifecycleStage::Accepted,
            UpdateWorkflowExecutionLifecycleStage::Completed,
        ])
    }

    fn update_with_start(&mut self) {
        use ExecuteMultiOperationRequestOperationOperation as Operation;
        let id = self.random.one_of(&IDS);
        let update = update_request(id, &self.update_id(), self.stage());
        let start = StartWorkflowExecutionRequest {
            workflow_id: id.to_owned(),
            workflow_type: Some(WorkflowType {
                name: "Flow".to_owned(),
            }),
            task_queue: Some(queue(QUEUE)),
            request_id: self.world.new_id(),
            workflow_id_conflict_policy: self.random.one_of(WorkflowIdConflictPolicy::ALL),
            ..StartWorkflowExecutionRequest::default()
        };
        let operations = [
            Operation::StartWorkflow(start),
            Operation::UpdateWorkflow(update),
        ];
        let request = ExecuteMultiOperationRequest {
            operations: operations
                .map(|operation| ExecuteMultiOperationRequestOperation {
                    operation: Some(operation),
                })
                .into(),
            ..ExecuteMultiOperationRequest::default()
        };
        let request = Request::ExecuteMultiOperation(Box::new(request));
        let default = namespace("default").expect("it exists");
        let sent = self.world.send_update(default, id, request);
        self.note("update with start", sent);
    }

    fn delete(&mut self) {
        let id = self.random.one_of(&IDS);
        let request = DeleteWorkflowExecutionRequest {
            workflow_execution: Some(current(id)),
            ..DeleteWorkflowExecutionRequest::default()
        };
        let deleted = self
            .world
            .ask_owner(id, Request::DeleteWorkflowExecution(Box::new(request)));
        self.note("delete", deleted);
    }

    // -- a worker of workflows ---------------------------------------------------------------------------------------

    fn work_on_workflow(&mut self) {
        if self.tasks.is_empty() || self.random.chance(60) {
            self.tasks.extend(self.world.poll());
        }
        if self.tasks.is_empty() || self.random.chance(20) {
            return;
        }
        let at = self.random.below(self.tasks.len());
        // Now and then a worker answers twice.
        let task = if self.random.chance(5) {
            self.tasks[at].clone()
        } else {
            self.tasks.remove(at)
        };
        if task.query.is_some() {
            let answered = self.world.answer_query(&RespondQueryTaskCompletedRequest {
                task_token: task.task_token,
                completed_type: QueryResultType::Answered,
                ..RespondQueryTaskCompletedRequest::default()
            });
            self.note("answer query", answered);
        } else if self.random.chance(8) {
            let request = RespondWorkflowTaskFailedRequest {
                task_token: task.task_token.clone(),
                cause: WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure,
                ..RespondWorkflowTaskFailedRequest::default()
            };
            let id = workflow_id(&task);
            let failed = self
                .world
                .ask_owner(&id, Request::RespondWorkflowTaskFailed(Box::new(request)));
            self.note("fail task", failed);
        } else {
            self.complete(&task);
        }
    }

    fn complete(&mut self, task: &PollWorkflowTaskQueueResponse) {
        let (commands, is_bad) = self.commands(task);
        let messages = self.messages(task);
        let rejects = messages
            .iter()
            .any(|message| message.id.ends_with("/reject"));
        let random = &mut self.random;
        let answer = self.world.respond(task, commands, |request| {
            request.messages = messages;
            request.capabilities =
                random
                    .chance(50)
                    .then_some(RespondWorkflowTaskCompletedRequestCapabilities {
                        discard_speculative_workflow_task_with_events: true,
                    });
            request.return_new_workflow_task = random.chance(30);
            request.force_create_new_workflow_task = random.chance(10);
            if random.chance(50) {
                request.sticky_attributes = Some(StickyExecutionAttributes {
                    worker_task_queue: Some(TaskQueue {
                        name: STICKY.to_owned(),
                        kind: TaskQueueKind::Sticky,
                        normal_name: QUEUE.to_owned(),
                    }),
                    schedule_to_start_timeout: Some(Duration::from_secs(5)),
                });
            }
            for query_id in task.queries.keys() {
                let result = fermata_proto::query::WorkflowQueryResult {
                    result_type: QueryResultType::Answered,
                    ..Default::default()
                };
                request.query_results.insert(query_id.clone(), result);
            }
        });
        match answer {
            Ok(Reply::WorkflowTaskCompleted {
                response,
                workflow_task,
            }) => {
                assert!(!is_bad, "bad commands were taken");
                self.note("complete task", Ok::<_, ()>(()));
                if rejects {
                    self.note("reject update", Ok::<_, ()>(()));
                }
                self.activities.extend(response.activity_tasks);
                if let Some(handout) = workflow_task {
                    let task = self.world.complete(*handout);
                    self.tasks.push(task);
                }
            }
            Ok(other) => panic!("a completion was answered by {other:?}"),
            Err(rejection) => {
                let is_refused = rejection.kind == RejectionKind::InvalidArgument;
                assert!(
                    is_refused || rejection.kind == RejectionKind::NotFound,
                    "{rejection:?}"
                );
                if is_refused && is_bad {
                    self.note("refused commands", Ok::<_, ()>(()));
                }
            }
        }
    }

    /// A word on most updates that the task brings, and on some accepted before.
    fn messages(&mut self, task: &PollWorkflowTaskQueueResponse) -> Vec<Message> {
        let mut messages = Vec::new();
        for request in &task.messages {
            match self.random.below(6) {
                0 => {}
                1 | 2 => messages.push(reject(request)),
                3 => messages.push(accept(request)),
                _ => messages.extend([accept(request), complete(request)]),
            }
        }
        let run = self.world.runs.get(&run_id(task)).cloned();
        for (update_id, update) in run.iter().flat_map(|run| run.updates.iter()) {
            if update.stage == Stage::Accepted && self.random.chance(40) {
                messages.push(complete(&Message {
                    protocol_instance_id: update_id.clone(),
                    ..Message::default()
                }));
            }
        }
        messages
    }

    /// A few commands, and whether they are bad.
    fn commands(&mut self, task: &PollWorkflowTaskQueueResponse) -> (Vec<Command>, bool) {
        let run = self
            .world
            .runs
            .get(&run_id(task))
            .cloned()
            .unwrap_or_default();
        let mut commands = Vec::new();
        for _ in 0..self.random.below(4) {
            self.names += 1;
            let name = format!("n{}", self.names);
            commands.push(match self.random.below(9) {
                0 | 1 => timer(&name, self.random.one_of(&[0.0, 0.5, 5.0, 60.0])),
                2 | 3 => self.activity(&name),
                4 => self.child(),
                5 => self.address_another(),
                6 => match run.timers.keys().next() {
                    Some(timer_id) if !commands.iter().any(is_cancel) => {
                        Command::new(CancelTimerCommandAttributes {
                            timer_id: timer_id.clone(),
                        })
                    }
                    _ => continue,
                },
                7 => match run
                    .activities
                    .values()
                    .filter(|one| one.progress.cancel_requested_event_id == 0)
                    .max_by_key(|one| one.progress.started_time)
                {
                    Some(activity) if !commands.iter().any(is_cancel) => {
                        Command::new(RequestCancelActivityTaskCommandAttributes {
                            scheduled_event_id: activity.scheduled_event_id,
                        })
                    }
                    _ => continue,
                },
                _ => Command::new(RecordMarkerCommandAttributes {
                    marker_name: "m".to_owned(),
                    ..RecordMarkerCommandAttributes::default()
                }),
            });
        }
        let is_bad = self.random.chance(5);
        if is_bad {
            commands.push(self.bad_command());
        } else if self.random.chance(10) {
            commands.push(self.closing_command());
        }
        (commands, is_bad)
    }

    fn bad_command(&mut self) -> Command {
        match self.random.below(3) {
            0 => timer("", 1.0),
            1 => Command::new(CancelTimerCommandAttributes {
                timer_id: "unknown".to_owned(),
            }),
            _ => Command {
                command_type: CommandType::StartTimer,
                ..Command::default()
            },
        }
    }

    fn closing_command(&mut self) -> Command {
        match self.random.below(4) {
            0 => Command::new(FailWorkflowExecutionCommandAttributes {
                failure: Some(application_failure(false)),
            }),
            1 => Command::new(CancelWorkflowExecutionCommandAttributes::default()),
            2 => Command::new(ContinueAsNewWorkflowExecutionCommandAttributes::default()),
            _ => done(None),
        }
    }

    fn activity(&mut self, name: &str) -> Command {
        let random = &mut self.random;
        activity(name, |attributes| {
            attributes.request_eager_execution = random.chance(20);
            if random.chance(30) {
                attributes.heartbeat_timeout = Some(Duration::from_secs(2));
            }
            if random.chance(30) {
                attributes.schedule_to_close_timeout = Some(Duration::from_secs(8));
            }
            if random.chance(30) {
                attributes.retry_policy = Some(RetryPolicy {
                    maximum_attempts: 2,
                    ..RetryPolicy::default()
                });
            }
        })
    }

    fn child(&mut self) -> Command {
        Command::new(StartChildWorkflowExecutionCommandAttributes {
            workflow_id: if self.random.chance(50) {
                self.names += 1;
                format!("child{}", self.names)
            } else {
                self.random.one_of(&IDS).to_owned()
            },
            workflow_type: Some(WorkflowType {
                name: "Flow".to_owned(),
            }),
            parent_close_policy: self.random.one_of(ParentClosePolicy::ALL),
            ..StartChildWorkflowExecutionCommandAttributes::default()
        })
    }

    fn address_another(&mut self) -> Command {
        let other = self.random.one_of(&IDS).to_owned();
        if self.random.chance(70) {
            Command::new(SignalExternalWorkflowExecutionCommandAttributes {
                execution: Some(current(&other)),
                signal_name: "from another".to_owned(),
                ..SignalExternalWorkflowExecutionCommandAttributes::default()
            })
        } else {
            Command::new(RequestCancelExternalWorkflowExecutionCommandAttributes {
                workflow_id: other,
                ..RequestCancelExternalWorkflowExecutionCommandAttributes::default()
            })
        }
    }

    // -- a worker of activities --------------------------------------------------------------------------------------

    fn work_on_activity(&mut self) {
        if self.activities.is_empty() || self.random.chance(50) {
            self.activities.extend(self.world.poll_activity());
        }
        if self.activities.is_empty() {
            return;
        }
        let at = self.random.below(self.activities.len());
        let task = self.activities[at].clone();
        let id = task
            .workflow_execution
            .clone()
            .unwrap_or_default()
            .workflow_id;
        let task_token = task.task_token;
        let is_canceled = self
            .world
            .runs
            .values()
            .flat_map(|run| run.activities.values())
            .any(|activity| {
                activity.scheduled.activity_id == task.activity_id
                    && activity.progress.cancel_requested_event_id != 0
            });
        let choice = if is_canceled && self.random.chance(50) {
            5
        } else {
            self.random.below(10)
        };
        let (kind, request) = match choice {
            0..3 => {
                let request = RecordActivityTaskHeartbeatRequest {
                    task_token,
                    ..Default::default()
                };
                (
                    "heartbeat",
                    Request::RecordActivityTaskHeartbeat(Box::new(request)),
                )
            }
            3..5 => {
                let failure = Some(application_failure(self.random.chance(30)));
                let request = RespondActivityTaskFailedRequest {
                    task_token,
                    failure,
                    ..Default::default()
                };
                (
                    "fail activity",
                    Request::RespondActivityTaskFailed(Box::new(request)),
                )
            }
            5..7 => {
                let request = RespondActivityTaskCanceledRequest {
                    task_token,
                    ..Default::default()
                };
                (
                    "cancel activity",
                    Request::RespondActivityTaskCanceled(Box::new(request)),
                )
            }
            _ => {
                let request = RespondActivityTaskCompletedRequest {
                    task_token,
                    ..Default::default()
                };
                let sticky_queue = self.random.chance(30).then(|| STICKY.to_owned());
                let complete = CompleteActivity {
                    request,
                    sticky_queue,
                };
                (
                    "complete activity",
                    Request::RespondActivityTaskCompleted(Box::new(complete)),
                )
            }
        };
        if kind != "heartbeat" && self.random.chance(80) {
            self.activities.remove(at);
        }
        let answer = self.world.ask_owner(&id, request);
        if let Ok(Reply::ActivityCompleted {
            workflow_task: Some(handout),
        }) = &answer
        {
            let task = self.world.complete((**handout).clone());
            self.tasks.push(task);
        }
        self.note(kind, answer);
    }

    fn by_id(&mut self) {
        let id = self.random.one_of(&IDS);
        let default = namespace("default").expect("it exists");
        let view = self.world.view(&default.id, id, "");
        let Some(activity_id) = view
            .current
            .and_then(|run| run.activity_ids.keys().next())
            .cloned()
        else {
            return;
        };
        let request = RespondActivityTaskCompletedByIdRequest {
            workflow_id: id.to_owned(),
            activity_id,
            ..RespondActivityTaskCompletedByIdRequest::default()
        };
        let answer = self.world.ask_owner(
            id,
            Request::RespondActivityTaskCompletedById(Box::new(request)),
        );
        self.note("complete activity by id", answer);
    }

    // -- queries and stickiness --------------------------------------------------------------------------------------

    fn query(&mut self) {
        let request = QueryWorkflowRequest {
            execution: Some(current(self.random.one_of(&IDS))),
            query: Some(fermata_proto::query::WorkflowQuery {
                query_type: "state".to_owned(),
                ..Default::default()
            }),
            ..QueryWorkflowRequest::default()
        };
        let asked = self
            .world
            .ask(namespace("default").expect("it exists"), &request);
        self.note("ask", asked);
    }

    fn reset_sticky(&mut self) {
        let id = self.random.one_of(&IDS);
        let request = ResetStickyTaskQueueRequest {
            execution: Some(current(id)),
            ..ResetStickyTaskQueueRequest::default()
        };
        let reset = self
            .world
            .ask_owner(id, Request::ResetStickyTaskQueue(Box::new(request)));
        self.note("reset sticky", reset);
    }

    // -- the end -----------------------------------------------------------------------------------------------------

    /// Terminates what is open: nothing is left that moves, and nobody waits for an answer that never comes.
    fn wind_up(&mut self) {
        let ids: Vec<String> = self
            .world
            .current
            .keys()
            .map(|(_, id)| id.clone())
            .collect();
        for id in ids {
            // Most have ended by themselves; a parent's close policy ends others on the way.
            let _ = self.world.terminate(&id);
            // An update-with-start whose run has closed may have started another one, once.
            let _ = self.world.terminate(&id);
        }
        let open: Vec<_> = self
            .world
            .runs
            .values()
            .filter(|run| run.is_open())
            .map(|run| &run.run_id)
            .collect();
        assert!(open.is_empty(), "still open: {open:?}");
        self.world.pass(1_000_000.0);
        assert_eq!(self.world.next_deadline(), None);
        for run in self.world.runs.values() {
            assert!(!run.deleting, "{} is never deleted", run.run_id);
            assert!(
                run.outbox.is_empty(),
                "requests of {} are never answered: {:?}",
                run.run_id,
                run.outbox
            );
        }
    }
}

fn workflow_id(task: &PollWorkflowTaskQueueResponse) -> String {
    task.workflow_execution
        .clone()
        .unwrap_or_default()
        .workflow_id
}

fn run_id(task: &PollWorkflowTaskQueueResponse) -> String {
    task.workflow_execution.clone().unwrap_or_default().run_id
}

fn is_cancel(command: &Command) -> bool {
    matches!(
        command.command_type,
        CommandType::CancelTimer | CommandType::RequestCancelActivityTask
    )
}
