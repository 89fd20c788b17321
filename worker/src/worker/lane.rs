//! The threads that run workflow code, and the runs that they keep in memory.
//!
//! Workflow code may hold what must stay on one thread (`Rc`, `RefCell`), so each run belongs to one thread, by its id. A
//! lane does no I/O: it takes a workflow task with its history and gives what is to be answered, or says that it lacks
//! history. Each keeps its share of the cached runs and drops the one that was used least recently.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fermata_proto::command::Command;
use fermata_proto::common::Payloads;
use fermata_proto::enums::QueryResultType;
use fermata_proto::event::HistoryEvent;
use fermata_proto::failure::Failure;
use fermata_proto::query::{WorkflowQuery, WorkflowQueryResult};
use fermata_proto::service::PollWorkflowTaskQueueResponse;
use tokio::sync::{mpsc, oneshot};

use super::registry::Registry;
use crate::machine::{Machine, RunName, TaskFailure};

/// Tasks that wait for a lane.
const QUEUE_MAX: usize = 1_024;

/// Code that takes longer than this blocks all runs of its lane, and probably waits for something outside.
const SLOW: Duration = Duration::from_secs(1);

/// What a lane says to a workflow task.
pub(crate) enum Outcome {
    Completed {
        commands: Vec<Command>,
        query_results: BTreeMap<String, WorkflowQueryResult>,
    },
    /// To a direct query.
    Answered(Result<Option<Payloads>, Box<Failure>>),
    Failed(TaskFailure),
    /// The run is not in memory: the task is wanted again, with the whole history.
    NeedsHistory(Box<PollWorkflowTaskQueueResponse>),
}

enum Job {
    Task {
        task: Box<PollWorkflowTaskQueueResponse>,
        answer: oneshot::Sender<Outcome>,
    },
    /// The engine did not take what this run asked for: what is in memory is not what is in history.
    Forget { run_id: String },
}

/// All lanes of a worker. They end when this is dropped.
pub(crate) struct Lanes {
    lanes: Vec<mpsc::Sender<Job>>,
}

impl Lanes {
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        registry: &Arc<Registry>,
        namespace: &str,
        threads: usize,
        cached_runs_max: usize,
    ) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let lanes = (0..threads)
            .map(|index| {
                let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
                let (registry, namespace) = (registry.clone(), namespace.to_owned());
                std::thread::Builder::new()
                    .name(format!("fermata-workflows-{index}"))
                    .spawn(move || {
                        // Made here: runs must not leave the thread that they were made on.
                        let lane = Lane {
                            registry,
                            namespace,
                            cache: Cache::new(cached_runs_max.div_ceil(threads)),
                        };
                        lane.run(waiting);
                    })?;
                Ok(jobs)
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { lanes })
    }

    /// Works on a task. None if the lane is gone.
    pub async fn work(&self, task: Box<PollWorkflowTaskQueueResponse>) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        let lane = self.lane(run_id(&task));
        lane.send(Job::Task { task, answer }).await.ok()?;
        answered.await.ok()
    }

    pub async fn forget(&self, run_id: &str) {
        let job = Job::Forget {
            run_id: run_id.to_owned(),
        };
        // A lane that is gone has forgotten everything.
        let _ = self.lane(run_id).send(job).await;
    }

    fn lane(&self, run_id: &str) -> &mpsc::Sender<Job> {
        // Run ids are random: their bytes spread by themselves.
        let sum: usize = run_id.bytes().map(usize::from).sum();
        &self.lanes[sum % self.lanes.len()]
    }
}

fn run_id(task: &PollWorkflowTaskQueueResponse) -> &str {
    task.workflow_execution
        .as_ref()
        .map_or("", |execution| &execution.run_id)
}

struct Lane {
    registry: Arc<Registry>,
    namespace: String,
    cache: Cache,
}

impl Lane {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::Task { task, answer } => {
                    let began = Instant::now();
                    let workflow_type = task.workflow_type.clone();
                    let outcome = self.on_task(task);
                    if began.elapsed() > SLOW {
                        tracing::warn!(
                            workflow_type = workflow_type.unwrap_or_default().name,
                            took = ?began.elapsed(),
                            "workflow code blocks its thread: is it doing I/O?"
                        );
                    }
                    // Nobody waits any more if the worker goes down; the engine gives the task to another.
                    let _ = answer.send(outcome);
                }
                Job::Forget { run_id } => drop(self.cache.take(&run_id)),
            }
        }
    }

    fn on_task(&mut self, mut task: Box<PollWorkflowTaskQueueResponse>) -> Outcome {
        let events = task.history.take().unwrap_or_default().events;
        let mut machine = match self.machine(&task, &events) {
            Ok(Some(machine)) => machine,
            Ok(None) => return Outcome::NeedsHistory(task),
            Err(failure) => return Outcome::Failed(failure),
        };
        let commands = match machine.advance(&events, task.started_event_id) {
            Ok(commands) => commands,
            Err(failure) => return Outcome::Failed(failure),
        };
        if let Some(query) = &task.query {
            let answer = machine.query(query);
            if events.is_empty() {
                self.cache.put(run_id(&task).to_owned(), machine);
            }
            return Outcome::Answered(answer);
        }
        let query_results = task
            .queries
            .iter()
            .map(|(query_id, query)| (query_id.clone(), answer(&machine, query)))
            .collect();
        if !machine.is_closed() {
            self.cache.put(run_id(&task).to_owned(), machine);
        }
        Outcome::Completed {
            commands,
            query_results,
        }
    }

    /// The run that `events` go on with, out of the cache. None if it is not there and `events` do not begin at the start.
    fn machine(
        &mut self,
        task: &PollWorkflowTaskQueueResponse,
        events: &[HistoryEvent],
    ) -> Result<Option<Machine>, TaskFailure> {
        let cached = self.cache.take(run_id(task));
        let first = events.first().map(|event| event.event_id);
        if first != Some(1) {
            return Ok(
                cached.filter(|machine| first.is_none_or(|first| first == machine.next_event_id()))
            );
        }
        let workflow_type = task
            .workflow_type
            .as_ref()
            .map_or("", |workflow_type| &workflow_type.name);
        let Some(definition) = self.registry.workflows.get(workflow_type) else {
            let known: Vec<&str> = self.registry.workflows.keys().map(String::as_str).collect();
            return Err(TaskFailure::Code(format!(
                "workflow type {workflow_type:?} is not registered with this worker, which hosts [{}]",
                known.join(", ")
            )));
        };
        let execution = task.workflow_execution.clone().unwrap_or_default();
        let name = RunName {
            namespace: self.namespace.clone(),
            workflow_id: execution.workflow_id,
            run_id: execution.run_id,
        };
        Ok(Some(Machine::new(name, definition.clone())))
    }
}

fn answer(machine: &Machine, query: &WorkflowQuery) -> WorkflowQueryResult {
    match machine.query(query) {
        Ok(answer) => WorkflowQueryResult {
            result_type: QueryResultType::Answered,
            answer,
            ..WorkflowQueryResult::default()
        },
        Err(failure) => WorkflowQueryResult {
            result_type: QueryResultType::Failed,
            error_message: failure.message.clone(),
            failure: Some(*failure),
            ..WorkflowQueryResult::default()
        },
    }
}

/// Runs by id, at most so many; the least recently used goes first.
struct Cache {
    runs_max: usize,
    runs: HashMap<String, (u64, Machine)>,
    /// Run ids by when they were last used.
    used: BTreeMap<u64, String>,
    clock: u64,
}

impl Cache {
    fn new(runs_max: usize) -> Self {
        Self {
            runs_max,
            runs: HashMap::new(),
            used: BTreeMap::new(),
            clock: 0,
        }
    }

    fn take(&mut self, run_id: &str) -> Option<Machine> {
        let (used, machine) = self.runs.remove(run_id)?;
        self.used.remove(&used);
        Some(machine)
    }

    fn put(&mut self, run_id: String, machine: Machine) {
        if self.runs_max == 0 {
            return;
        }
        if self.runs.len() >= self.runs_max
            && let Some((_, oldest)) = self.used.pop_first()
        {
            self.runs.remove(&oldest);
        }
        self.clock += 1;
        self.used.insert(self.clock, run_id.clone());
        self.runs.insert(run_id, (self.clock, machine));
    }
}
