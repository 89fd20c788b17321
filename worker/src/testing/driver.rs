//! Works on the tasks of a [`World`], and moves its clock when there is nothing else to do.
//!
//! One round: all workflow tasks, then all activity tasks; real activities are waited for, and meanwhile the virtual clock
//! goes no faster than the real one; only then the clock jumps to whatever is next, a deadline of the world or an entry of the agenda (a step of the test,
//! a mocked activity that ends). Equal tests give equal histories, but for the order in which real activities end.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use fermata_core::Reply;
use fermata_proto::common::{Payloads, WorkflowExecution};
use fermata_proto::enums::IndexedValueType;
use fermata_proto::event::HistoryEventAttributes;
use fermata_proto::rpc::{CompleteActivity, RejectionKind, Request};
use fermata_proto::service::{RespondWorkflowTaskCompletedRequestCapabilities as Capabilities, *};
use fermata_proto::time::Timestamp;
use futures::future::{FutureExt, LocalBoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};

use super::environment::{TestEnd, TestEnvironment, TestRun, TestStep};
use super::running::RunningWorkflow;
use super::world::{IDENTITY, NAMESPACE, WorkflowTask, World};
use crate::activity::{ActivityContext, CancelReason};
use crate::error::{
    ActivityError, ActivityErrorKind, ApplicationError, WorkflowError, panic_message,
};
use crate::history::WorkflowHistory;
use crate::machine::{LocalActivityEnd, LocalActivityResult, LocalActivityTask, Machine, RunName};
use crate::retry;
use crate::worker::Registry;

/// More than any test means to have.
const WORKFLOW_TASKS_MAX: usize = 100_000;

type Attempt = Result<Option<Payloads>, ActivityError>;

/// An attempt that was worked on: whose, and how it ended; none if it took longer than it may.
struct Done {
    workflow_id: String,
    task_token: Bytes,
    ended: Option<Attempt>,
    /// What a real one told last of how far it was.
    last_heartbeat_details: Option<Payloads>,
    timeout: Option<Duration>,
}

enum Due {
    Step(TestStep),
    Done(Box<Done>),
}

/// A real activity that runs.
struct Real {
    run_id: String,
    activity_id: String,
    ctx: ActivityContext,
}

pub(super) struct Driver<'a> {
    environment: &'a TestEnvironment,
    registry: Registry,
    world: World,
    machines: BTreeMap<String, Machine>,
    agenda: BTreeMap<(Timestamp, usize), Due>,
    entries: usize,
    working: FuturesUnordered<LocalBoxFuture<'a, Done>>,
    real: Vec<Real>,
    inputs: BTreeMap<String, Vec<Option<Payloads>>>,
    began: Timestamp,
    workflow_id: String,
    /// The runs of the workflow under test, in order.
    chain: Vec<String>,
}

impl<'a> Driver<'a> {
    pub fn new(
        environment: &'a TestEnvironment,
        registry: Registry,
        search_attributes: BTreeMap<String, IndexedValueType>,
    ) -> Self {
        let world = World::new(search_attributes);
        Self {
            environment,
            registry,
            began: world.now,
            world,
            machines: BTreeMap::new(),
            agenda: BTreeMap::new(),
            entries: 0,
            working: FuturesUnordered::new(),
            real: Vec::new(),
            inputs: BTreeMap::new(),
            workflow_id: String::new(),
            chain: Vec::new(),
        }
    }

    pub async fn run(
        &mut self,
        request: StartWorkflowExecutionRequest,
        steps: Vec<(Duration, TestStep)>,
        follows: bool,
    ) -> Result<Option<Payloads>, TestEnd> {
        self.workflow_id.clone_from(&request.workflow_id);
        for (delay, step) in steps {
            self.put(self.began + delay, Due::Step(step));
        }
        let workflow_id = request.workflow_id.clone();
        let start = Request::StartWorkflowExecution(Box::new(request));
        self.request(&workflow_id, start)?;
        let first = self.world.current(&workflow_id);
        self.chain.extend(first.map(|run| run.run_id.clone()));
        let mut tasks = 0;
        loop {
            while let Some(task) = self.world.take_workflow_task() {
                tasks += 1;
                if tasks > WORKFLOW_TASKS_MAX {
                    return Err(TestEnd::Endless { tasks });
                }
                self.on_workflow_task(task).await?;
            }
            while let Some(task) = self.world.take_activity_task() {
                self.on_activity_task(*task)?;
            }
            if let Some(ended) = self.ended(follows) {
                self.check_replays()?;
                return ended;
            }
            self.tell_cancelled();
            match self.next_done().await {
                Some(done) => self.on_done(done)?,
                None => self.jump()?,
            }
        }
    }

    /// The next real activity that ends; none if none runs, or if what is next on the virtual clock comes before, at the pace
    /// of the real clock.
    async fn next_done(&mut self) -> Option<Done> {
        if self.working.is_empty() {
            return None;
        }
        let Some(next) = self.next_moment() else {
            return self.working.next().await;
        };
        let patience = next.since(self.world.now);
        tokio::time::timeout(patience, self.working.next())
            .await
            .unwrap_or_default()
    }

    fn next_moment(&self) -> Option<Timestamp> {
        let entry = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.world.next_deadline();
        [entry, deadline].into_iter().flatten().min()
    }

    pub fn into_run<R>(mut self, result: Result<R, TestEnd>) -> TestRun<R> {
        let histories = self
            .chain
            .iter()
            .map(|run_id| {
                WorkflowHistory::new(&self.workflow_id, self.world.history(run_id).to_vec())
            })
            .collect();
        TestRun {
            result,
            elapsed: self.world.now.since(self.began),
            histories,
            inputs: self.inputs,
            updates: self.world.updates,
            converter: self.registry.converter,
            workflow_id: self.workflow_id,
            last: self
                .chain
                .last()
                .and_then(|run_id| self.machines.remove(run_id)),
        }
    }

    fn put(&mut self, at: Timestamp, due: Due) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), due);
    }

    fn request(&mut self, workflow_id: &str, request: Request) -> Result<Reply, TestEnd> {
        let reply = self.world.request(workflow_id, request);
        reply.map_err(|source| TestEnd::Refused {
            workflow_id: workflow_id.to_owned(),
            source,
        })
    }

    /// How the workflow under test has ended, if it has.
    fn ended(&mut self, follows: bool) -> Option<Result<Option<Payloads>, TestEnd>> {
        use HistoryEventAttributes as A;
        loop {
            let run_id = self.chain.last()?;
            let event = self.world.runs.get(run_id)?.close_event.clone()?;
            let next = match event.attributes.as_ref()? {
                A::WorkflowExecutionContinuedAsNew(a) if !follows => {
                    return Some(Err(TestEnd::ContinuedAsNew {
                        workflow_type: a.workflow_type.clone().unwrap_or_default().name,
                        input: a.input.clone(),
                    }));
                }
                A::WorkflowExecutionContinuedAsNew(a) => a.new_execution_run_id.clone(),
                A::WorkflowExecutionCompleted(a) => a.new_execution_run_id.clone(),
                A::WorkflowExecutionFailed(a) => a.new_execution_run_id.clone(),
                A::WorkflowExecutionTimedOut(a) => a.new_execution_run_id.clone(),
                _ => String::new(),
            };
            if !next.is_empty() {
                self.chain.push(next);
                continue;
            }
            return Some(match event.attributes.as_ref()? {
                A::WorkflowExecutionCompleted(a) => Ok(a.result.clone()),
                A::WorkflowExecutionFailed(a) => Err(TestEnd::Failed(WorkflowError::Failed(
                    Box::new(a.failure.clone().unwrap_or_default()),
                ))),
                A::WorkflowExecutionCanceled(_) => Err(TestEnd::Cancelled),
                A::WorkflowExecutionTimedOut(_) => Err(TestEnd::TimedOut),
                A::WorkflowExecutionTerminated(a) => Err(TestEnd::Terminated {
                    reason: a.reason.clone(),
                }),
                _ => Err(TestEnd::Stuck),
            });
        }
    }

    /// Lets the clock jump to what is next.
    fn jump(&mut self) -> Result<(), TestEnd> {
        let entry = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let Some(next) = self.next_moment() else {
            return Err(TestEnd::Stuck);
        };
        // At the same moment the test goes first.
        if entry != Some(next) {
            return self.advance(next);
        }
        self.world.now = self.world.now.max(next);
        match self.agenda.pop_first() {
            Some((_, Due::Done(done))) => self.on_done(*done),
            Some((_, Due::Step(step))) => {
                let workflow_id = self.workflow_id.clone();
                step(&mut RunningWorkflow {
                    workflow_id,
                    world: &mut self.world,
                    machines: &self.machines,
                    converter: self.registry.converter.clone(),
                    began: self.began,
                });
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn advance(&mut self, until: Timestamp) -> Result<(), TestEnd> {
        self.world
            .advance(until)
            .map_err(|source| TestEnd::Refused {
                workflow_id: self.workflow_id.clone(),
                source,
            })
    }

    fn machine(
        &self,
        execution: &WorkflowExecution,
        workflow_type: &str,
    ) -> Result<Machine, TestEnd> {
        let definitions = &self.registry.workflows;
        let Some(definition) = definitions.get(workflow_type) else {
            return Err(TestEnd::NotRegistered {
                what: "workflow",
                name: workflow_type.to_owned(),
            });
        };
        let name = RunName {
            namespace: NAMESPACE.to_owned(),
            workflow_id: execution.workflow_id.clone(),
            run_id: execution.run_id.clone(),
        };
        let converter = self.registry.converter.clone();
        Ok(Machine::new(name, definition.clone()).with_converter(converter))
    }

    async fn on_workflow_task(&mut self, task: WorkflowTask) -> Result<(), TestEnd> {
        let WorkflowTask { response, tail } = task;
        let execution = response.workflow_execution.unwrap_or_default();
        let workflow_type = response.workflow_type.unwrap_or_default().name;
        let WorkflowExecution {
            workflow_id,
            run_id,
        } = execution.clone();
        let mut machine = match self.machines.remove(&run_id) {
            Some(machine) => machine,
            None => self.machine(&execution, &workflow_type)?,
        };
        let next = machine.next_event_id();
        let events: Vec<_> = self
            .world
            .history(&run_id)
            .iter()
            .chain(&tail)
            .filter(|event| event.event_id >= next)
            .cloned()
            .collect();
        let failed = |source| TestEnd::TaskFailed {
            workflow_id: workflow_id.clone(),
            source,
        };
        machine.bring(&response.messages).map_err(failed)?;
        machine
            .feed(&events, response.started_event_id)
            .map_err(failed)?;
        let mut elapsed = Duration::ZERO;
        while machine.waits_for_local_activities() {
            let tasks = machine.local_activities_to_start();
            if tasks.is_empty() {
                break;
            }
            for task in &tasks {
                self.note(&task.activity.activity_type, task.activity.input.clone());
            }
            let execution = &execution;
            let runs = tasks
                .into_iter()
                .map(|task| self.local_activity(execution, task));
            let mut ends = Vec::new();
            for end in join_all(runs).await {
                let mut end = end?;
                end.elapsed += elapsed;
                ends.push(end);
            }
            ends.sort_by_key(|end| end.elapsed);
            elapsed = ends.last().map_or(elapsed, |end| end.elapsed);
            machine.end_local_activities(ends).map_err(failed)?;
        }
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: response.task_token,
            commands: machine.finish_task(),
            messages: machine.take_messages(),
            capabilities: Some(Capabilities {
                discard_speculative_workflow_task_with_events: true,
            }),
            identity: IDENTITY.to_owned(),
            namespace: NAMESPACE.to_owned(),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        self.world.now = self.world.now + elapsed;
        let request = Request::RespondWorkflowTaskCompleted(Box::new(request));
        let reply = self.request(&workflow_id, request)?;
        if let Reply::WorkflowTaskCompleted { response: done, .. } = reply
            && done.reset_history_event_id > 0
        {
            machine.rewind(response.started_event_id);
        }
        self.machines.insert(run_id, machine);
        Ok(())
    }

    fn note(&mut self, activity_type: &str, input: Option<Payloads>) {
        let inputs = self.inputs.entry(activity_type.to_owned()).or_default();
        inputs.push(input);
    }

    /// Runs a local activity with its retries; backoffs pass on the virtual clock.
    async fn local_activity(
        &self,
        execution: &WorkflowExecution,
        task: LocalActivityTask,
    ) -> Result<LocalActivityEnd, TestEnd> {
        let LocalActivityTask {
            sequence, activity, ..
        } = task;
        let policy = retry::filled(&activity.retry);
        let mut attempt = activity.attempt.max(1);
        let mut elapsed = Duration::ZERO;
        loop {
            let response = PollActivityTaskQueueResponse {
                workflow_namespace: NAMESPACE.to_owned(),
                workflow_execution: Some(execution.clone()),
                activity_type: Some(fermata_proto::common::ActivityType {
                    name: activity.activity_type.clone(),
                }),
                activity_id: sequence.to_string(),
                attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
                scheduled_time: Some(activity.original_schedule_time),
                started_time: Some(self.world.now + elapsed),
                start_to_close_timeout: activity.start_to_close,
                schedule_to_close_timeout: activity.schedule_to_close,
                input: activity.input.clone(),
                ..PollActivityTaskQueueResponse::default()
            };
            let (_, length, work) = self.attempt(response)?;
            let ended = work.await;
            elapsed += length;
            let result = match ended {
                Some(Ok(result)) => LocalActivityResult::Completed(result),
                Some(Err(ActivityError(ActivityErrorKind::Cancelled(details)))) => {
                    LocalActivityResult::Cancelled(details)
                }
                ended => {
                    let failure = match ended {
                        Some(Err(ActivityError(ActivityErrorKind::Failed(failure)))) => *failure,
                        _ => ApplicationError::new("the activity took too long")
                            .with_type("Timeout")
                            .into_failure(),
                    };
                    let left = activity
                        .schedule_to_close
                        .map(|timeout| timeout.saturating_sub(elapsed));
                    match retry::next(&policy, attempt, &failure, left) {
                        Err(state) => LocalActivityResult::Failed(Box::new(failure), state),
                        Ok(delay) if delay > activity.local_backoff_max => {
                            LocalActivityResult::Backoff(Box::new(failure), delay)
                        }
                        Ok(delay) => {
                            elapsed += delay;
                            attempt += 1;
                            continue;
                        }
                    }
                }
            };
            return Ok(LocalActivityEnd {
                sequence,
                attempt,
                elapsed,
                result,
            });
        }
    }

    fn on_activity_task(&mut self, mut task: PollActivityTaskQueueResponse) -> Result<(), TestEnd> {
        let execution = task.workflow_execution.clone().unwrap_or_default();
        let activity_type = task.activity_type.clone().unwrap_or_default().name;
        let done = Done {
            workflow_id: execution.workflow_id,
            task_token: std::mem::take(&mut task.task_token),
            ended: None,
            last_heartbeat_details: None,
            timeout: task.start_to_close_timeout,
        };
        self.note(&activity_type, task.input.clone());
        let activity_id = task.activity_id.clone();
        let (ctx, length, work) = self.attempt(task)?;
        if let Some(ctx) = ctx {
            let heartbeats = ctx.clone();
            self.real.push(Real {
                run_id: execution.run_id,
                activity_id,
                ctx,
            });
            let work = work.map(move |ended| Done {
                ended,
                last_heartbeat_details: heartbeats.last_details(),
                ..done
            });
            self.working.push(work.boxed_local());
            return Ok(());
        }
        // A mock has its answer at once.
        let ended = work.now_or_never().flatten();
        let at = self.world.now + length;
        self.put(at, Due::Done(Box::new(Done { ended, ..done })));
        Ok(())
    }

    /// One attempt of an activity, how long it takes on the virtual clock, and, of a real one, its context.
    #[allow(clippy::type_complexity)]
    fn attempt(
        &self,
        mut task: PollActivityTaskQueueResponse,
    ) -> Result<
        (
            Option<ActivityContext>,
            Duration,
            LocalBoxFuture<'a, Option<Attempt>>,
        ),
        TestEnd,
    > {
        let name = task.activity_type.clone().unwrap_or_default().name;
        let input = task.input.take();
        if let Some(mock) = self.environment.mocks.get(&name) {
            let ended = mock.code.borrow_mut()(&self.registry.converter, input.as_ref());
            let work = futures::future::ready(Some(ended)).boxed_local();
            return Ok((None, mock.length, work));
        }
        let Some(code) = self.registry.activities.get(&name).cloned() else {
            let what = "activity";
            return Err(TestEnd::NotRegistered { what, name });
        };
        let ctx = ActivityContext::detached(&mut task, self.registry.converter.clone());
        let of_attempt = ctx.clone();
        let work = AssertUnwindSafe(async move { code(of_attempt, input).await })
            .catch_unwind()
            .map(|ended| {
                ended.unwrap_or_else(|panic| {
                    let text = format!("the activity panicked: {}", panic_message(&*panic));
                    Err(ApplicationError::new(text).with_type("Panic").into())
                })
            });
        let timeout = ctx.info().start_to_close_timeout;
        let work = async move {
            match timeout {
                Some(timeout) => tokio::time::timeout(timeout, work).await.ok(),
                None => Some(work.await),
            }
        };
        Ok((Some(ctx), Duration::ZERO, work.boxed_local()))
    }

    /// Tells real activities that their workflow wants them to stop.
    fn tell_cancelled(&mut self) {
        let runs = &self.world.runs;
        self.real.retain(|real| {
            let activity = runs.get(&real.run_id).and_then(|run| {
                let scheduled = run.activity_ids.get(&real.activity_id)?;
                run.activities.get(scheduled)
            });
            let reason = match activity {
                None => CancelReason::Gone,
                Some(activity) if activity.progress.cancel_requested_event_id > 0 => {
                    CancelReason::Requested
                }
                Some(_) => return true,
            };
            real.ctx.cancellation().cancel(reason);
            false
        });
    }

    /// Tells the engine how an attempt ended. That it was over before is no matter.
    fn on_done(&mut self, done: Done) -> Result<(), TestEnd> {
        let Done {
            workflow_id,
            task_token,
            ended,
            last_heartbeat_details,
            timeout,
        } = done;
        let request = match ended {
            None => {
                // It took its time on the real clock: the virtual one catches up, and the engine sees it. What it told
                // meanwhile is there for the next attempt.
                if last_heartbeat_details.is_some() {
                    let request = RecordActivityTaskHeartbeatRequest {
                        task_token,
                        details: last_heartbeat_details,
                        identity: IDENTITY.to_owned(),
                        ..RecordActivityTaskHeartbeatRequest::default()
                    };
                    let request = Request::RecordActivityTaskHeartbeat(Box::new(request));
                    // That the activity is over is no matter.
                    let _ = self.world.request(&workflow_id, request);
                }
                let until = self.world.now + timeout.unwrap_or_default();
                return self.advance(until);
            }
            Some(Ok(result)) => Request::RespondActivityTaskCompleted(Box::new(CompleteActivity {
                request: RespondActivityTaskCompletedRequest {
                    task_token,
                    result,
                    identity: IDENTITY.to_owned(),
                    ..RespondActivityTaskCompletedRequest::default()
                },
                sticky_queue: None,
            })),
            Some(Err(ActivityError(ActivityErrorKind::Cancelled(details)))) => {
                Request::RespondActivityTaskCanceled(Box::new(RespondActivityTaskCanceledRequest {
                    task_token,
                    details,
                    identity: IDENTITY.to_owned(),
                    ..RespondActivityTaskCanceledRequest::default()
                }))
            }
            // Nobody completes one later here: it fails, in these words.
            Some(Err(error)) => {
                Request::RespondActivityTaskFailed(Box::new(RespondActivityTaskFailedRequest {
                    task_token,
                    failure: Some(error.into_failure()),
                    last_heartbeat_details,
                    identity: IDENTITY.to_owned(),
                    ..RespondActivityTaskFailedRequest::default()
                }))
            }
        };
        match self.world.request(&workflow_id, request) {
            Err(source) if source.kind != RejectionKind::NotFound => Err(TestEnd::Refused {
                workflow_id,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Everything that ran must run the same way again.
    fn check_replays(&self) -> Result<(), TestEnd> {
        for run_id in self.machines.keys() {
            let Some(run) = self.world.runs.get(run_id) else {
                continue;
            };
            let execution = WorkflowExecution {
                workflow_id: run.workflow_id.0.clone(),
                run_id: run_id.clone(),
            };
            let workflow_type = run.started.workflow_type.clone().unwrap_or_default().name;
            let replayed = self
                .machine(&execution, &workflow_type)?
                .advance(self.world.history(run_id), 0);
            if let Err(source) = replayed {
                return Err(TestEnd::TaskFailed {
                    workflow_id: execution.workflow_id,
                    source,
                });
            }
        }
        Ok(())
    }
}
