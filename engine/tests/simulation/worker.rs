//! Simulated workers: they poll, claim and answer by the [model](crate::model), and sometimes die, dawdle or repeat themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::common::*;
use fermata_proto::enums::{QueryResultType, TaskQueueKind, WorkflowTaskFailedCause};
use fermata_proto::event::HistoryEvent;
use fermata_proto::presence::WorkerRecord;
use fermata_proto::query::WorkflowQueryResult;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::subjects::TaskKind;
use fermata_proto::taskqueue::{StickyExecutionAttributes, TaskQueue};
use futures::StreamExt;
use tokio::time::Instant;

use crate::model::{self, QUEUE};
use crate::world::World;

const STICKY_SCHEDULE_TO_START: Duration = Duration::from_secs(2);

/// Workers of activities announce themselves for so long.
const WORKER_TTL: Duration = Duration::from_secs(2);
/// Within this another one has what a dead worker held, whatever faults there are meanwhile.
const HANDOVER_MAX: Duration = Duration::from_secs(180);

/// Something that workers do only while there are faults goes wrong in one of so many cases.
const MISHAP: f64 = 0.03;

/// Works on workflow tasks until it is dropped.
pub async fn workflow_worker(world: Arc<World>, name: String, is_sticky: bool) {
    let mut lives = 0;
    loop {
        lives += 1;
        let worker = WorkflowWorker {
            world: world.clone(),
            sticky: is_sticky.then(|| format!("{name}-{lives}")),
            identity: name.clone(),
            claims: 0,
            cache: BTreeMap::new(),
        };
        worker.run().await;
        world.count("workers restarted");
    }
}

struct WorkflowWorker {
    world: Arc<World>,
    /// Its own queue, of this life.
    sticky: Option<String>,
    identity: String,
    claims: u64,
    /// Histories of the runs that it knows.
    cache: BTreeMap<String, Vec<HistoryEvent>>,
}

impl WorkflowWorker {
    /// Until it dies of a mishap.
    async fn run(mut self) {
        let world = self.world.clone();
        let mut own = self.sticky.as_ref().map_or_else(
            || futures::stream::pending().boxed(),
            |sticky| world.broker.listen_sticky(&world.namespace, sticky),
        );
        while !world.mishap(0.005) {
            // Both arms lose nothing when dropped.
            let (task, queue) = tokio::select! {
                biased;
                Some(task) = own.next() => (task, self.sticky.clone().unwrap_or_default()),
                task = world.broker.poll_task(TaskKind::Workflow, &world.namespace, QUEUE) => {
                    (task, QUEUE.to_owned())
                }
            };
            self.claims += 1;
            let claim_id = format!("{}-{:?}-{}", self.identity, self.sticky, self.claims);
            let workflow_id = task.workflow_id.0.clone();
            let claim = claim(task, &queue, &self.identity, claim_id, "");
            let request = Request::ClaimWorkflowTask(Box::new(claim));
            if let Ok(Response::WorkflowTask(task)) = world.call(&workflow_id, request).await {
                let mut next = Some(*task);
                while let Some(task) = next {
                    next = self.on_task(task).await;
                }
            }
        }
    }

    /// Answers one task; gives the one that came with the answer.
    async fn on_task(
        &mut self,
        task: PollWorkflowTaskQueueResponse,
    ) -> Option<PollWorkflowTaskQueueResponse> {
        let world = self.world.clone();
        let execution = task.workflow_execution.clone().unwrap();
        if world.mishap(MISHAP) {
            world.count("workflow tasks forgotten");
            return None;
        }
        world.sleep_up_to(60).await;
        let Some(history) = self.history(&task).await else {
            self.cache.remove(&execution.run_id);
            if task.query.is_some() {
                return None;
            }
            world.count("sticky caches reset");
            let request = ResetStickyTaskQueueRequest {
                execution: Some(execution.clone()),
                ..ResetStickyTaskQueueRequest::default()
            };
            let request = Request::ResetStickyTaskQueue(Box::new(request));
            // NOT_FOUND if the run has ended meanwhile.
            let _ = world.call(&execution.workflow_id, request).await;
            self.fail(&task).await;
            return None;
        };
        if task.query.is_some() {
            self.answer_query(&task, &history).await;
            return None;
        }
        if world.mishap(MISHAP) {
            self.fail(&task).await;
            return None;
        }
        let result = WorkflowQueryResult {
            result_type: QueryResultType::Answered,
            answer: Some(signals_payload(&history)),
            ..WorkflowQueryResult::default()
        };
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            commands: model::commands(&execution.workflow_id, &history),
            identity: self.identity.clone(),
            sticky_attributes: self.sticky.clone().map(|sticky| StickyExecutionAttributes {
                worker_task_queue: Some(TaskQueue {
                    name: sticky,
                    kind: TaskQueueKind::Sticky,
                    normal_name: QUEUE.to_owned(),
                }),
                schedule_to_start_timeout: Some(STICKY_SCHEDULE_TO_START),
            }),
            return_new_workflow_task: true,
            query_results: task
                .queries
                .keys()
                .map(|query_id| (query_id.clone(), result.clone()))
                .collect(),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        let request = Request::RespondWorkflowTaskCompleted(Box::new(request));
        let answer = world.call(&execution.workflow_id, request.clone()).await;
        if world.mishap(MISHAP) {
            world.count("answers repeated by workers");
            let _ = world.call(&execution.workflow_id, request).await;
            self.cache.remove(&execution.run_id);
            return None;
        }
        match answer {
            Ok(Response::RespondWorkflowTaskCompleted(response)) => {
                self.cache.insert(execution.run_id, history);
                response.workflow_task.map(|task| *Box::new(task))
            }
            Ok(other) => panic!("{other:?}"),
            // An earlier try was heard, the task has timed out, or new events came in between.
            Err(_) => {
                self.cache.remove(&execution.run_id);
                None
            }
        }
    }

    /// All events up to the task's; nothing if this worker lacks what the task builds on.
    async fn history(&self, task: &PollWorkflowTaskQueueResponse) -> Option<Vec<HistoryEvent>> {
        let execution = task.workflow_execution.clone().unwrap();
        let mut new = task.history.clone().unwrap_or_default().events;
        let mut token = task.next_page_token.clone();
        while !token.is_empty() {
            let request = GetWorkflowExecutionHistoryRequest {
                execution: Some(execution.clone()),
                next_page_token: token,
                ..GetWorkflowExecutionHistoryRequest::default()
            };
            let request = Request::GetWorkflowExecutionHistory(Box::new(request));
            let answer = self.world.call(&execution.workflow_id, request).await;
            let Ok(Response::GetWorkflowExecutionHistory(page)) = answer else {
                panic!("a page of history was answered by {answer:?}");
            };
            new.extend(page.history.unwrap_or_default().events);
            token = page.next_page_token;
        }
        let mut history = match new.first() {
            Some(event) if event.event_id == 1 => Vec::new(),
            _ => self.cache.get(&execution.run_id)?.clone(),
        };
        if let Some(first) = new.first() {
            // Of a failed attempt there may be events in the cache that were never written.
            history.retain(|event| event.event_id < first.event_id);
        }
        history.extend(new);
        let ids: Vec<i64> = history.iter().map(|event| event.event_id).collect();
        let seen_before = usize::try_from(task.previous_started_event_id).unwrap();
        if !ids.iter().copied().eq(1..=ids.len() as i64) || ids.len() < seen_before {
            assert!(
                self.sticky.is_some(),
                "a worker was handed the events {ids:?} of {execution:?}"
            );
            return None;
        }
        Some(history)
    }

    async fn fail(&self, task: &PollWorkflowTaskQueueResponse) {
        self.world.count("workflow tasks failed");
        let request = RespondWorkflowTaskFailedRequest {
            task_token: task.task_token.clone(),
            cause: WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure,
            failure: Some(model::failure()),
            ..RespondWorkflowTaskFailedRequest::default()
        };
        let workflow_id = task.workflow_execution.clone().unwrap().workflow_id;
        let request = Request::RespondWorkflowTaskFailed(Box::new(request));
        let _ = self.world.call(&workflow_id, request).await;
    }

    async fn answer_query(&self, task: &PollWorkflowTaskQueueResponse, history: &[HistoryEvent]) {
        let request = RespondQueryTaskCompletedRequest {
            task_token: task.task_token.clone(),
            completed_type: QueryResultType::Answered,
            query_result: Some(signals_payload(history)),
            ..RespondQueryTaskCompletedRequest::default()
        };
        let workflow_id = task.workflow_execution.clone().unwrap().workflow_id;
        let request = Request::RespondQueryTaskCompleted(Box::new(request));
        // Its asker may be gone.
        let _ = self.world.call(&workflow_id, request).await;
    }
}

fn claim(
    task: TaskReference,
    queue: &str,
    identity: &str,
    claim_id: String,
    worker_id: &str,
) -> ClaimTask {
    ClaimTask {
        task,
        task_queue: model::queue(queue),
        identity: identity.to_owned(),
        claim_id,
        worker_id: worker_id.to_owned(),
        ..ClaimTask::default()
    }
}

fn signals_payload(history: &[HistoryEvent]) -> Payloads {
    let payload = Payload {
        data: codec::encode(&model::signals(history)),
        ..Payload::default()
    };
    Payloads {
        payloads: vec![payload],
    }
}

/// Works on activity tasks until it is dropped, in one life after the other.
pub async fn activity_worker(world: Arc<World>, name: String) {
    let mut lives = 0;
    loop {
        lives += 1;
        let worker_id = format!("{name}-activities-{lives}");
        let record = WorkerRecord {
            id: worker_id.clone(),
            identity: name.clone(),
            namespace_id: world.namespace.to_string(),
            task_queue: QUEUE.to_owned(),
            ttl_ms: WORKER_TTL.as_millis().try_into().unwrap(),
            takes_activities: true,
        };
        world.broker.announce_worker(record);
        let held = until_death(&world, &name, &worker_id).await;
        world.count("workers died");
        // It is silent until its announcement expires.
        tokio::time::sleep(WORKER_TTL).await;
        world.broker.retire_worker(&worker_id);
        let lost_at = Instant::now();
        let key = key(&held);
        world.book().held.insert(key, (held.attempt, lost_at));
        world.sleep_up_to(1_000).await;
    }
}

/// Gives the activity that it held.
async fn until_death(world: &World, name: &str, worker_id: &str) -> PollActivityTaskQueueResponse {
    let mut claims = 0;
    loop {
        let task = world
            .broker
            .poll_task(TaskKind::Activity, &world.namespace, QUEUE)
            .await;
        claims += 1;
        let workflow_id = task.workflow_id.0.clone();
        let claim_id = format!("{worker_id}-{claims}");
        let claim = claim(task, QUEUE, name, claim_id, worker_id);
        let request = Request::ClaimActivityTask(Box::new(claim));
        let Ok(Response::ActivityTask(task)) = world.call(&workflow_id, request).await else {
            continue;
        };
        invariant_what_a_dead_worker_held_goes_to_others_soon(world, &task);
        let is_held = task.start_to_close_timeout == Some(model::HELD_TIMEOUT);
        if is_held && world.mishap(MISHAP) {
            return *task;
        }
        on_activity(world, *task, is_held).await;
    }
}

/// By workflow, run and activity id.
fn key(task: &PollActivityTaskQueueResponse) -> (String, String, String) {
    let execution = task.workflow_execution.clone().unwrap();
    let activity_id = task.activity_id.clone();
    (execution.workflow_id, execution.run_id, activity_id)
}

/// The next attempt of an activity whose worker died comes long before the activity's own time-out.
fn invariant_what_a_dead_worker_held_goes_to_others_soon(
    world: &World,
    task: &PollActivityTaskQueueResponse,
) {
    let mut book = world.book();
    let key = key(task);
    let Some((attempt, lost_at)) = book.held.get(&key).copied() else {
        return;
    };
    assert!(
        task.attempt > attempt,
        "attempt {attempt} of {key:?} was handed out twice"
    );
    let waited = lost_at.elapsed();
    assert!(
        waited < HANDOVER_MAX,
        "attempt {attempt} of {key:?} was given to others after {waited:?} only"
    );
    book.held.remove(&key);
    *book.counts.entry("activities taken over").or_default() += 1;
}

async fn on_activity(world: &World, task: PollActivityTaskQueueResponse, is_held: bool) {
    let execution = task.workflow_execution.clone().unwrap();
    let workflow_id = &execution.workflow_id;
    // Of one that is held only its worker's end would tell.
    if !is_held && world.mishap(MISHAP) {
        world.count("activities forgotten");
        return;
    }
    world.sleep_up_to(100).await;
    if world.chance(0.2) {
        let request = RecordActivityTaskHeartbeatRequest {
            task_token: task.task_token.clone(),
            details: Some(model::bytes_payload(20)),
            ..RecordActivityTaskHeartbeatRequest::default()
        };
        let request = Request::RecordActivityTaskHeartbeat(Box::new(request));
        let _ = world.call(workflow_id, request).await;
        world.sleep_up_to(100).await;
    }
    if task.attempt <= model::failures(task.input.as_ref()) {
        world.count("activities failed");
        let request = RespondActivityTaskFailedRequest {
            task_token: task.task_token,
            failure: Some(model::failure()),
            ..RespondActivityTaskFailedRequest::default()
        };
        let request = Request::RespondActivityTaskFailed(Box::new(request));
        let _ = world.call(workflow_id, request).await;
        return;
    }
    let request = CompleteActivity {
        request: RespondActivityTaskCompletedRequest {
            task_token: task.task_token,
            result: Some(model::bytes_payload(10)),
            ..RespondActivityTaskCompletedRequest::default()
        },
        sticky_queue: None,
    };
    let request = Request::RespondActivityTaskCompleted(Box::new(request));
    let answer = world.call(workflow_id, request.clone()).await;
    if answer.is_ok() {
        let key = (
            workflow_id.clone(),
            execution.run_id.clone(),
            task.activity_id.clone(),
        );
        world.book().activities.insert(key);
    }
    if world.mishap(MISHAP) {
        world.count("answers repeated by workers");
        let again = world.call(workflow_id, request).await;
        assert!(
            again.is_err(),
            "an activity was completed twice: {execution:?} {}",
            task.activity_id
        );
    }
}

/// The signals that a query's answer tells of.
pub fn signals_in(answer: &QueryWorkflowResponse) -> usize {
    let payloads = answer.query_result.as_ref().expect("an answer");
    let data: &Bytes = &payloads.payloads[0].data;
    codec::decode(data).expect("the answer is a number")
}
