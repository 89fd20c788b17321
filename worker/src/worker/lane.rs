//! The threads that run workflow code, and the runs that they keep in memory.
//!
//! Workflow code may hold what must stay on one thread (`Rc`, `RefCell`), so each run belongs to one thread, by its id. A
//! lane does no I/O: it takes a workflow task with its history and gives what is to be answered, or says that it lacks
//! history. Each keeps its share of the cached runs and drops the one that was used least recently. A run that waits for local
//! activities in the middle of a workflow task is kept besides, until the task ends. Who watches that code gives way:
//! [`super::watchdog`].

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fermata_proto::codec;
use fermata_proto::command::Command;
use fermata_proto::common::Payloads;
use fermata_proto::enums::QueryResultType;
use fermata_proto::event::HistoryEvent;
use fermata_proto::failure::Failure;
use fermata_proto::protocol::Message;
use fermata_proto::query::{WorkflowQuery, WorkflowQueryResult};
use fermata_proto::service::PollWorkflowTaskQueueResponse;
use tokio::sync::oneshot;

use super::metrics::CacheSize;
use super::registry::Registry;
use super::watchdog::{NoAnswer, Watched};
use crate::error::panic_message;
use crate::interceptor::Headers;
use crate::machine::{
    LocalActivityEnd, LocalActivityTask, Machine, RunName, Sequence, TaskFailure,
};

/// Tasks that wait for a lane.
const QUEUE_MAX: usize = 1_024;

/// Code that takes longer than this blocks all runs of its lane, and probably waits for something outside.
const SLOW: Duration = Duration::from_secs(1);

/// What a lane says to a workflow task.
pub(crate) enum Outcome {
    Completed {
        commands: Vec<Command>,
        /// About updates.
        messages: Vec<Message>,
        query_results: BTreeMap<String, WorkflowQueryResult>,
        /// Local activities are still running: the run needs another workflow task at once.
        goes_on: bool,
        /// That the run was started with.
        headers: Headers,
    },
    /// The task waits for local activities; their ends go to [`Lanes::go_on`].
    Local(LocalWork),
    /// To a direct query.
    Answered(Result<Option<Payloads>, Box<Failure>>),
    Failed(TaskFailure),
    /// The run is not in memory: the task is wanted again, with the whole history.
    NeedsHistory(Box<PollWorkflowTaskQueueResponse>),
    /// Another task of the run has come since: nobody waits for this one.
    Superseded,
}

/// Local activities that a run wants to have run, or stopped.
pub(crate) struct LocalWork {
    pub start: Vec<LocalActivityTask>,
    pub cancel: Vec<Sequence>,
    /// The task holds commands that others wait for.
    pub is_urgent: bool,
    pub task_timeout: Option<Duration>,
}

enum Job {
    Task {
        task: Box<PollWorkflowTaskQueueResponse>,
        answer: oneshot::Sender<Outcome>,
    },
    /// More for a task that waits for local activities.
    GoOn {
        run_id: String,
        started_event_id: i64,
        ends: Vec<LocalActivityEnd>,
        /// The task ends now, whatever still runs.
        is_last: bool,
        answer: oneshot::Sender<Outcome>,
    },
    /// The engine did not take what this run asked for: what is in memory is not what is in history.
    Forget { run_id: String },
    /// History knows nothing of the workflow task that this event started.
    Rewind {
        run_id: String,
        started_event_id: i64,
    },
}

impl Job {
    fn run_id(&self) -> &str {
        match self {
            Self::Task { task, .. } => run_id(task),
            Self::GoOn { run_id, .. } | Self::Forget { run_id } | Self::Rewind { run_id, .. } => {
                run_id
            }
        }
    }
}

/// All lanes of a worker. They end when this is dropped.
pub(crate) struct Lanes {
    lanes: Vec<Watched<Job>>,
}

impl Lanes {
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        registry: &Arc<Registry>,
        namespace: &str,
        threads: usize,
        cache: CacheBounds,
    ) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let lanes = (0..threads)
            .map(|index| {
                let (registry, namespace) = (registry.clone(), namespace.to_owned());
                let cache = cache.share(threads);
                let name = format!("fermata-workflows-{index}");
                Watched::start(name, QUEUE_MAX, move |seat| {
                    // Made on the thread: runs must not leave the one that they were made on.
                    let mut lane = Lane {
                        registry: registry.clone(),
                        namespace: namespace.clone(),
                        cache: Cache::new(cache.clone()),
                        busy: HashMap::new(),
                        pulse: seat.pulse(),
                    };
                    seat.serve(|job| lane.on_job(job));
                })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { lanes })
    }

    /// Works on a task. None if the lane is gone.
    pub async fn work(&self, task: Box<PollWorkflowTaskQueueResponse>) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Task { task, answer }, answered).await
    }

    /// Goes on with a task that waits for local activities. None if the lane is gone.
    pub async fn go_on(
        &self,
        run_id: &str,
        started_event_id: i64,
        ends: Vec<LocalActivityEnd>,
        is_last: bool,
    ) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        let job = Job::GoOn {
            run_id: run_id.to_owned(),
            started_event_id,
            ends,
            is_last,
            answer,
        };
        self.ask(job, answered).await
    }

    async fn ask(&self, job: Job, answered: oneshot::Receiver<Outcome>) -> Option<Outcome> {
        let lane = self.lane(job.run_id());
        let run_id = job.run_id().to_owned();
        match lane.ask(run_id, job, answered).await {
            Ok(outcome) => Some(outcome),
            Err(NoAnswer::Stuck { seconds }) => {
                Some(Outcome::Failed(TaskFailure::Deadlock { seconds }))
            }
            Err(NoAnswer::Gone) => None,
        }
    }

    pub async fn forget(&self, run_id: &str) {
        let job = Job::Forget {
            run_id: run_id.to_owned(),
        };
        self.lane(run_id).tell(job).await;
    }

    /// See [`Machine::rewind`].
    pub async fn rewind(&self, run_id: &str, started_event_id: i64) {
        let job = Job::Rewind {
            run_id: run_id.to_owned(),
            started_event_id,
        };
        self.lane(run_id).tell(job).await;
    }

    fn lane(&self, run_id: &str) -> &Watched<Job> {
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

/// A run whose workflow task waits for local activities.
struct Busy {
    machine: Machine,
    started_event_id: i64,
    queries: BTreeMap<String, WorkflowQuery>,
    /// The task has been completed, and the run's next one is on its way.
    is_between_tasks: bool,
}

struct Lane {
    registry: Arc<Registry>,
    namespace: String,
    cache: Cache,
    /// As many as there are slots for workflow tasks at most.
    busy: HashMap<String, Busy>,
    pulse: Arc<AtomicU64>,
}

impl Lane {
    fn on_job(&mut self, job: Job) {
        match job {
            Job::Task { task, answer } => {
                let began = Instant::now();
                let workflow_type = task.workflow_type.clone();
                let outcome = self.guarded(|lane| lane.on_task(task));
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
            Job::GoOn {
                run_id,
                started_event_id,
                ends,
                is_last,
                answer,
            } => {
                let outcome =
                    self.guarded(|lane| lane.on_go_on(run_id, started_event_id, ends, is_last));
                let _ = answer.send(outcome);
            }
            Job::Forget { run_id } => {
                self.guarded(|lane| {
                    lane.busy.remove(&run_id);
                    lane.cache.forget(&run_id);
                    Outcome::Superseded
                });
            }
            Job::Rewind {
                run_id,
                started_event_id,
            } => {
                if let Some(cached) = self.cache.runs.get_mut(&run_id) {
                    cached.machine.rewind(started_event_id);
                }
            }
        }
    }

    /// Code of users also runs when what it holds is dropped: a panic there must not end the thread.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|panic| {
            Outcome::Failed(TaskFailure::Panic(panic_message(&*panic).to_owned()))
        })
    }

    fn on_task(&mut self, mut task: Box<PollWorkflowTaskQueueResponse>) -> Outcome {
        let mut events = task.history.take().unwrap_or_default().events;
        if let Some(answer) = self.ask_busy(&task, &events) {
            return Outcome::Answered(answer);
        }
        let mut machine = match self.machine(&task, &mut events) {
            Ok(Some(machine)) => machine,
            Ok(None) => return Outcome::NeedsHistory(task),
            Err(failure) => return Outcome::Failed(failure),
        };
        self.cache.grow(run_id(&task), &events);
        let worked = machine
            .bring(&task.messages)
            .and_then(|()| machine.feed(&events, task.started_event_id));
        if let Err(failure) = worked {
            return Outcome::Failed(failure);
        }
        if let Some(query) = &task.query {
            let answer = machine.query(query);
            if events.is_empty() {
                self.cache.put(run_id(&task).to_owned(), machine);
            } else {
                self.cache.forget(run_id(&task));
            }
            return Outcome::Answered(answer);
        }
        let run_id = run_id(&task).to_owned();
        let busy = Busy {
            machine,
            started_event_id: task.started_event_id,
            queries: task.queries,
            is_between_tasks: false,
        };
        self.end_or_wait(run_id, busy, false)
    }

    /// Takes ends of local activities.
    fn on_go_on(
        &mut self,
        run_id: String,
        started_event_id: i64,
        ends: Vec<LocalActivityEnd>,
        is_last: bool,
    ) -> Outcome {
        let is_same = self
            .busy
            .get(&run_id)
            .is_some_and(|busy| busy.started_event_id == started_event_id);
        let Some(mut busy) = is_same.then(|| self.busy.remove(&run_id)).flatten() else {
            return Outcome::Superseded;
        };
        if let Err(failure) = busy.machine.end_local_activities(ends) {
            return Outcome::Failed(failure);
        }
        self.end_or_wait(run_id, busy, is_last)
    }

    /// Completes the task, unless it waits for local activities.
    fn end_or_wait(&mut self, run_id: String, mut busy: Busy, is_last: bool) -> Outcome {
        let machine = &mut busy.machine;
        let waits = machine.waits_for_local_activities();
        if waits && !is_last {
            let work = LocalWork {
                start: machine.local_activities_to_start(),
                cancel: machine.local_activities_to_cancel(),
                is_urgent: machine.has_urgent_commands(),
                task_timeout: machine.task_timeout(),
            };
            self.busy.insert(run_id, busy);
            return Outcome::Local(work);
        }
        let query_results = std::mem::take(&mut busy.queries)
            .into_iter()
            .map(|(query_id, query)| (query_id, answer(machine, &query)))
            .collect();
        let commands = machine.finish_task();
        let messages = machine.take_messages();
        let headers = machine.headers();
        if waits {
            busy.is_between_tasks = true;
            self.busy.insert(run_id, busy);
        } else if machine.is_closed() {
            self.cache.forget(&run_id);
        } else {
            self.cache.put(run_id, busy.machine);
        }
        Outcome::Completed {
            commands,
            messages,
            query_results,
            goes_on: waits,
            headers,
        }
    }

    /// Answers a direct query to a run in the middle of a workflow task.
    fn ask_busy(
        &self,
        task: &PollWorkflowTaskQueueResponse,
        events: &[HistoryEvent],
    ) -> Option<Result<Option<Payloads>, Box<Failure>>> {
        let query = task.query.as_ref().filter(|_| events.is_empty())?;
        Some(self.busy.get(run_id(task))?.machine.query(query))
    }

    /// The run that `events` go on with, out of the cache. None if it is not there and `events` do not begin at the start.
    fn machine(
        &mut self,
        task: &PollWorkflowTaskQueueResponse,
        events: &mut Vec<HistoryEvent>,
    ) -> Result<Option<Machine>, TaskFailure> {
        if task.query.is_none()
            && let Some(busy) = self.busy.remove(run_id(task))
            && busy.is_between_tasks
        {
            // The run goes on with what it was given in the middle of its local activities.
            events.retain(|event| event.event_id >= busy.machine.next_event_id());
            return Ok(Some(busy.machine));
        }
        let cached = self.cache.take(run_id(task));
        let first = events.first().map(|event| event.event_id);
        if first != Some(1) {
            return Ok(cached.filter(|machine| first.is_none_or(|first| machine.takes_from(first))));
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
        let machine = Machine::new(name, definition.clone())
            .with_converter(self.registry.converter.clone())
            .watched_by(self.pulse.clone());
        Ok(Some(machine))
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

/// How much may be kept in memory, and where it is told how much is.
#[derive(Clone)]
pub(crate) struct CacheBounds {
    pub runs_max: usize,
    pub bytes_max: usize,
    pub size: Arc<CacheSize>,
}

impl CacheBounds {
    /// One lane's part.
    fn share(&self, lanes: usize) -> Self {
        Self {
            runs_max: self.runs_max.div_ceil(lanes),
            bytes_max: self.bytes_max.div_ceil(lanes),
            size: self.size.clone(),
        }
    }
}

/// What a run takes besides what comes of its history.
const RUN_BYTES: usize = 4 << 10;
/// How much larger than in MessagePack a history's arguments and results are in the hands of code, roughly.
const HISTORY_FACTOR: usize = 2;

/// Runs by id, so many and so large at most; the least recently used goes first.
struct Cache {
    bounds: CacheBounds,
    runs: HashMap<String, Cached>,
    /// Run ids by when they were last used.
    used: BTreeMap<u64, String>,
    /// Of runs that are in hand: about how many bytes they take.
    in_hand: HashMap<String, usize>,
    bytes: usize,
    clock: u64,
}

struct Cached {
    machine: Machine,
    used: u64,
    bytes: usize,
}

impl Cache {
    fn new(bounds: CacheBounds) -> Self {
        Self {
            bounds,
            runs: HashMap::new(),
            used: BTreeMap::new(),
            in_hand: HashMap::new(),
            bytes: 0,
            clock: 0,
        }
    }

    /// A run that is in hand takes these events in.
    fn grow(&mut self, run_id: &str, events: &[HistoryEvent]) {
        let is_new = events.first().is_some_and(|event| event.event_id == 1);
        let bytes: usize = events.iter().map(codec::encoded_len).sum();
        let known = self.in_hand.entry(run_id.to_owned()).or_insert(RUN_BYTES);
        if is_new {
            *known = RUN_BYTES;
        }
        *known += HISTORY_FACTOR * bytes;
    }

    fn take(&mut self, run_id: &str) -> Option<Machine> {
        let cached = self.runs.remove(run_id)?;
        self.used.remove(&cached.used);
        self.in_hand.insert(run_id.to_owned(), cached.bytes);
        self.count(-1, -(cached.bytes as isize));
        Some(cached.machine)
    }

    /// The run is over, or not to be kept.
    fn forget(&mut self, run_id: &str) {
        drop(self.take(run_id));
        self.in_hand.remove(run_id);
    }

    fn put(&mut self, run_id: String, machine: Machine) {
        let bytes = self.in_hand.remove(&run_id).unwrap_or(RUN_BYTES);
        if self.bounds.runs_max == 0 || bytes > self.bounds.bytes_max {
            return;
        }
        while (self.runs.len() >= self.bounds.runs_max
            || self.bytes + bytes > self.bounds.bytes_max)
            && let Some((_, oldest)) = self.used.first_key_value()
        {
            let oldest = oldest.clone();
            self.forget(&oldest);
        }
        self.clock += 1;
        let used = self.clock;
        self.used.insert(used, run_id.clone());
        self.count(1, bytes as isize);
        let cached = Cached {
            machine,
            used,
            bytes,
        };
        self.runs.insert(run_id, cached);
    }

    fn count(&mut self, runs: isize, bytes: isize) {
        self.bytes = self.bytes.saturating_add_signed(bytes);
        let size = &self.bounds.size;
        // Wrapping addition of a negative number is subtraction.
        size.runs.fetch_add(runs as usize, Relaxed);
        size.bytes.fetch_add(bytes as usize, Relaxed);
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.count(-(self.runs.len() as isize), -(self.bytes as isize));
    }
}
