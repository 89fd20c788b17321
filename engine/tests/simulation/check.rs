//! What must hold: of what is stored at any moment, and of everything in the end.

use std::collections::{BTreeMap, BTreeSet};

use fermata_core::Run;
use fermata_engine::record::{self, Checkpoint, CurrentRun, HistoryChunk, RunRecord};
use fermata_proto::codec;
use fermata_proto::enums::WorkflowExecutionStatus as Status;
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes as A};
use fermata_proto::ids::{Partition, StreamSequence, WorkflowId};
use fermata_proto::rpc::{Request, Response};
use fermata_proto::service::DescribeWorkflowExecutionRequest;
use fermata_proto::subjects;
use fermata_proto::visibility::VisibilityRecord;

use crate::client::read_history;
use crate::invariants::check_run;
use crate::truth::{TrueRun, Truth};
use crate::world::{World, execution};

/// Counts runs that lists show as they once were.
pub const STALE_LISTS: &str = "runs that lists show as they were before";

/// What an owner that took over now would go on from, held against the whole log.
pub fn storage(world: &World) -> Vec<Truth> {
    (0..world.partitions)
        .map(|partition| partition_storage(world, Partition(partition)))
        .collect()
}

fn partition_storage(world: &World, partition: Partition) -> Truth {
    let (log, first) = world.broker.whole_log(partition);
    let truth = Truth::of(partition, &log);
    for one in truth.runs.values() {
        check_run(&one.run, &one.events);
        invariant_request_ids_are_used_once(one);
        invariant_activities_end_once(one);
    }
    let stored = Stored::of(partition, world.broker.state_records(partition));
    assert!(
        first <= stored.checkpoint.applied.next(),
        "the log of {partition} begins at {first}; the checkpoint holds it up to {}",
        stored.checkpoint.applied
    );
    invariant_checkpoint_and_log_give_every_run(&truth, &stored);
    invariant_chunks_hold_the_history(&truth, &stored);
    invariant_the_current_run_is_known(world, &truth, &stored);
    truth
}

/// A partition's state store, read back.
struct Stored {
    checkpoint: Checkpoint,
    runs: BTreeMap<String, RunRecord>,
    chunks: BTreeMap<(String, u32), HistoryChunk>,
    current: BTreeMap<String, CurrentRun>,
}

impl Stored {
    fn of(partition: Partition, records: Vec<(String, bytes::Bytes)>) -> Self {
        let mut stored = Self {
            checkpoint: Checkpoint::default(),
            runs: BTreeMap::new(),
            chunks: BTreeMap::new(),
            current: BTreeMap::new(),
        };
        let prefix = format!("fm.state.{partition}.");
        for (subject, bytes) in records {
            let tokens: Vec<&str> = subject
                .strip_prefix(&prefix)
                .expect("subjects of the partition")
                .split('.')
                .collect();
            match tokens[..] {
                ["checkpoint"] => stored.checkpoint = record::unseal(&bytes).unwrap(),
                ["run" | "closed", run_id] => {
                    let record: RunRecord = record::unseal(&bytes).unwrap();
                    assert_eq!(record.run.run_id, run_id);
                    let goes_on = record.run.is_open() || !record.run.outbox.is_empty();
                    assert_eq!(goes_on, tokens[0] == "run", "{subject} holds {record:?}");
                    let before = stored.runs.insert(run_id.to_owned(), record);
                    assert!(before.is_none(), "run {run_id} has two records");
                }
                ["hist", run_id, chunk] => {
                    let chunk = (run_id.to_owned(), chunk.parse().unwrap());
                    stored.chunks.insert(chunk, record::unseal(&bytes).unwrap());
                }
                ["id", hash] => {
                    let current = record::unseal(&bytes).unwrap();
                    stored.current.insert(hash.to_owned(), current);
                }
                _ => panic!("a record under {subject}"),
            }
        }
        stored
    }
}

/// The record of each run, with the log behind the checkpoint, gives byte for byte what the whole log gives.
fn invariant_checkpoint_and_log_give_every_run(truth: &Truth, stored: &Stored) {
    let applied = stored.checkpoint.applied;
    for run_id in stored.runs.keys() {
        assert!(truth.runs.contains_key(run_id), "run {run_id} is in no log");
    }
    for (run_id, one) in &truth.runs {
        let record = stored.runs.get(run_id);
        let (mut run, known) = match record {
            Some(record) => (record.run.clone(), record.applied),
            None => {
                let run = Run::new(
                    one.run.namespace_id.clone(),
                    one.run.workflow_id.clone(),
                    run_id.clone(),
                );
                (run, StreamSequence(0))
            }
        };
        for (sequence, transition) in &one.transitions {
            // As a takeover does: what the checkpoint covers is not read any more.
            if *sequence > applied && *sequence > known {
                assert!(
                    record.is_some() || run.next_event_id > 1 || transition.creates,
                    "run {run_id} has no record and does not begin in the log behind {applied}"
                );
                run.apply(transition);
            }
        }
        assert_eq!(
            codec::encode(&run),
            codec::encode(&one.run),
            "run {run_id}, from its record {known:?} and the log behind {applied}, is\n{run:?}\nand by the whole log\n{:?}",
            one.run
        );
    }
}

/// The chunks that a run's record counts hold its events from the first, without a hole.
fn invariant_chunks_hold_the_history(truth: &Truth, stored: &Stored) {
    for (run_id, record) in &stored.runs {
        let events: Vec<_> = (0..record.chunks)
            .flat_map(|chunk| {
                let key = (run_id.clone(), chunk);
                let found = stored.chunks.get(&key);
                let chunk = found.unwrap_or_else(|| panic!("{key:?} is missing"));
                chunk.batches.iter().flat_map(|batch| batch.iter().cloned())
            })
            .take_while(|event| event.event_id < record.run.next_event_id)
            .collect();
        let count = usize::try_from(record.run.next_event_id - 1).unwrap();
        assert_eq!(
            events,
            truth.runs[run_id].events[..count],
            "stored history of run {run_id}"
        );
    }
}

/// The record of a workflow's current run is right, unless the log behind the checkpoint tells of a change.
fn invariant_the_current_run_is_known(world: &World, truth: &Truth, stored: &Stored) {
    for (workflow_id, run_id) in &truth.current {
        let one = &truth.runs[run_id];
        if one.turned_at > stored.checkpoint.applied {
            continue;
        }
        let id = WorkflowId::from(workflow_id.as_str());
        let subject = subjects::current_run(truth.partition, &world.namespace, &id);
        let hash = subject.rsplit('.').next().unwrap();
        let current = stored
            .current
            .get(hash)
            .unwrap_or_else(|| panic!("the current run of {workflow_id} is not known"));
        assert_eq!(
            (&current.run_id, current.is_open),
            (run_id, one.run.is_open()),
            "the current run of {workflow_id}"
        );
    }
}

fn invariant_request_ids_are_used_once(one: &TrueRun) {
    let mut used = BTreeSet::new();
    for event in &one.events {
        if let Some(A::WorkflowExecutionSignaled(a)) = &event.attributes
            && !a.request_id.is_empty()
        {
            assert!(
                used.insert(&a.request_id),
                "signal {} is twice in run {}",
                a.request_id,
                one.run.run_id
            );
        }
    }
}

/// Every activity, timer and child that was begun ends at most once.
fn invariant_activities_end_once(one: &TrueRun) {
    let mut ended = BTreeSet::new();
    for event in &one.events {
        let begun = match event.attributes.as_ref().unwrap() {
            A::ActivityTaskCompleted(a) => a.scheduled_event_id,
            A::ActivityTaskFailed(a) => a.scheduled_event_id,
            A::ActivityTaskTimedOut(a) => a.scheduled_event_id,
            A::ActivityTaskCanceled(a) => a.scheduled_event_id,
            A::TimerFired(a) => a.started_event_id,
            A::TimerCanceled(a) => a.started_event_id,
            A::ChildWorkflowExecutionCompleted(a) => a.initiated_event_id,
            A::ChildWorkflowExecutionFailed(a) => a.initiated_event_id,
            A::ChildWorkflowExecutionCanceled(a) => a.initiated_event_id,
            A::ChildWorkflowExecutionTerminated(a) => a.initiated_event_id,
            A::ChildWorkflowExecutionTimedOut(a) => a.initiated_event_id,
            A::ExternalWorkflowExecutionSignaled(a) => a.initiated_event_id,
            A::SignalExternalWorkflowExecutionFailed(a) => a.initiated_event_id,
            _ => continue,
        };
        assert!(
            ended.insert(begun),
            "what began with event {begun} of run {} ends twice",
            one.run.run_id
        );
    }
}

/// Everything, once all is over and quiet.
pub async fn end(world: &World) -> u64 {
    let truths = storage(world);
    let mut ended = 0;
    for truth in &truths {
        for one in truth.runs.values() {
            assert!(!one.run.is_open(), "this run has not ended: {:?}", one.run);
            assert!(
                one.run.outbox.is_empty(),
                "this run has not sent everything: {:?}",
                one.run
            );
            ended += 1;
        }
    }
    let all = All::of(&truths);
    invariant_starts_are_there_once(world, &all);
    invariant_signals_are_there_once(world, &all);
    invariant_signals_of_workflows_are_there_once(&all);
    invariant_cancel_requests_are_there(world, &all);
    invariant_workflows_end_as_planned(world, &all);
    invariant_completed_activities_are_there(world, &all);
    invariant_nobody_waits_for_a_dead_worker(world, &all);
    invariant_children_and_parents_agree(&all);
    invariant_lists_know_every_run(world, &all);
    invariant_what_is_shown_is_the_log(world, &all).await;
    ended
}

/// All runs of all partitions, by workflow in order of their starts.
struct All<'a> {
    runs: BTreeMap<&'a str, &'a TrueRun>,
    chains: BTreeMap<&'a str, Vec<&'a TrueRun>>,
}

impl<'a> All<'a> {
    fn of(truths: &'a [Truth]) -> Self {
        let mut all = Self {
            runs: BTreeMap::new(),
            chains: BTreeMap::new(),
        };
        for one in truths.iter().flat_map(|truth| truth.runs.values()) {
            all.runs.insert(&one.run.run_id, one);
            all.chains
                .entry(&one.run.workflow_id.0)
                .or_default()
                .push(one);
        }
        for chain in all.chains.values_mut() {
            chain.sort_by_key(|one| one.transitions[0].0);
        }
        all
    }

    fn events(&self, workflow_id: &str) -> impl Iterator<Item = &'a HistoryEvent> {
        let chain = self.chains.get(workflow_id).cloned().unwrap_or_default();
        chain
            .into_iter()
            .flat_map(|one| one.events.iter().map(|event| &**event))
    }
}

/// Each acknowledged start is one chain of runs, and there are no others.
fn invariant_starts_are_there_once(world: &World, all: &All<'_>) {
    let book = world.book();
    let acknowledged: BTreeSet<&String> = book.starts.values().collect();
    assert_eq!(acknowledged.len(), book.starts.len(), "{:?}", book.starts);
    let begun: BTreeSet<&String> = all
        .runs
        .values()
        .filter(|one| {
            one.run.started.continued_execution_run_id.is_empty()
                && one.run.started.parent_workflow_execution.is_none()
        })
        .map(|one| &one.run.run_id)
        .collect();
    for run_id in begun.symmetric_difference(&acknowledged) {
        let run = all.runs.get(run_id.as_str()).map(|one| &one.run);
        // A repeat of a start may reach the next run of the chain, which knows nothing of its request id, once that is closed.
        let may_repeat = run.is_some_and(|run| book.plans[&run.workflow_id.0].continues());
        assert!(
            may_repeat,
            "run {run_id} was not started as clients were told: {run:?}"
        );
    }
}

/// A repeat of a request may reach the next run of a chain, which knows nothing of its request id: there, at least once.
fn invariant_signals_are_there_once(world: &World, all: &All<'_>) {
    let book = world.book();
    let mut found: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for workflow_id in all.chains.keys() {
        for event in all.events(workflow_id) {
            if let Some(A::WorkflowExecutionSignaled(a)) = &event.attributes
                && a.external_workflow_execution.is_none()
            {
                *found.entry((workflow_id, &a.request_id)).or_default() += 1;
            }
        }
    }
    for (workflow_id, request_id) in &book.signals {
        let times = found
            .remove(&(workflow_id.as_str(), request_id.as_str()))
            .unwrap_or(0);
        let continues = book.plans[workflow_id].continues();
        assert!(
            times == 1 || (times > 1 && continues),
            "the acknowledged signal {request_id} is {times} times in the history of {workflow_id}"
        );
    }
    for ((workflow_id, request_id), times) in found {
        let key = (workflow_id.to_owned(), request_id.to_owned());
        assert!(
            book.refused_signals.contains(&key) && times == 1,
            "signal {request_id} of {workflow_id} was sent by nobody, {times} times"
        );
    }
}

/// What a workflow was told of its signal to another is what has happened there.
fn invariant_signals_of_workflows_are_there_once(all: &All<'_>) {
    let mut received: BTreeMap<&str, usize> = BTreeMap::new();
    for workflow_id in all.chains.keys() {
        for event in all.events(workflow_id) {
            if let Some(A::WorkflowExecutionSignaled(a)) = &event.attributes
                && a.external_workflow_execution.is_some()
            {
                *received.entry(&a.request_id).or_default() += 1;
            }
        }
    }
    let continued = all.chains.values().any(|chain| {
        chain
            .iter()
            .any(|one| one.run.status == Status::ContinuedAsNew)
    });
    for (request_id, times) in &received {
        assert!(
            *times == 1 || continued,
            "a workflow's signal {request_id} was received {times} times"
        );
    }
    let told = all
        .runs
        .values()
        .flat_map(|one| &one.events)
        .filter(|event| {
            matches!(
                event.attributes,
                Some(A::ExternalWorkflowExecutionSignaled(_))
            )
        })
        .count();
    assert!(
        told <= received.values().sum::<usize>(),
        "{told} signals of workflows were confirmed; received were {received:?}"
    );
}

/// A cancel request that was acknowledged while the workflow was open is in its history.
fn invariant_cancel_requests_are_there(world: &World, all: &All<'_>) {
    for (workflow_id, acknowledged) in &world.book().cancels {
        let has_it = all.events(workflow_id).any(|event| {
            matches!(
                event.attributes,
                Some(A::WorkflowExecutionCancelRequested(_))
            )
        });
        let closed = all.chains[workflow_id.as_str()]
            .iter()
            .take_while(|one| one.run.start_time <= *acknowledged)
            .last()
            .and_then(|one| one.run.close_time);
        assert!(
            has_it || closed.is_some_and(|closed| closed <= *acknowledged),
            "the cancel request of {workflow_id} is not in its history"
        );
    }
}

fn invariant_workflows_end_as_planned(world: &World, all: &All<'_>) {
    let book = world.book();
    for (workflow_id, plan) in &book.plans {
        let chain = &all.chains[workflow_id.as_str()];
        let last = chain.last().expect("a chain has runs");
        let is_canceled = last.events.iter().any(|event| {
            matches!(
                event.attributes,
                Some(A::WorkflowExecutionCancelRequested(_))
            )
        });
        let expected: &[Status] = if is_canceled {
            &[Status::Canceled, Status::Terminated, Status::TimedOut]
        } else if last.run.status == Status::Terminated {
            assert!(
                book.terminations_asked.contains(workflow_id),
                "nobody has terminated {workflow_id}"
            );
            continue;
        } else {
            &[plan.status()]
        };
        assert!(
            expected.contains(&last.run.status),
            "{workflow_id} ended as {:?}, not {expected:?}",
            last.run.status
        );
    }
    for workflow_id in &book.terminations {
        let is_there = all.chains[workflow_id.as_str()]
            .iter()
            .any(|one| one.run.status == Status::Terminated);
        assert!(is_there, "{workflow_id} was terminated, and is not");
    }
}

/// A completion that was acknowledged is in history, unless the run was ended over it.
fn invariant_completed_activities_are_there(world: &World, all: &All<'_>) {
    for (workflow_id, run_id, activity_id) in &world.book().activities {
        let one = all
            .runs
            .get(run_id.as_str())
            .unwrap_or_else(|| panic!("run {run_id} of {workflow_id} is unknown"));
        let scheduled = one.events.iter().find_map(|event| match &event.attributes {
            Some(A::ActivityTaskScheduled(a)) if a.activity_id == *activity_id => {
                Some(event.event_id)
            }
            _ => None,
        });
        let completed = one.events.iter().any(|event| {
            matches!(&event.attributes, Some(A::ActivityTaskCompleted(a)) if Some(a.scheduled_event_id) == scheduled)
        });
        assert!(
            completed,
            "activity {activity_id} of run {run_id} was completed, and is not: {:?}",
            one.run.status
        );
    }
}

/// What nobody took over from a dead worker was not waited for any more: its attempt is in no history as the one that ended.
fn invariant_nobody_waits_for_a_dead_worker(world: &World, all: &All<'_>) {
    for ((workflow_id, run_id, activity_id), (attempt, _)) in &world.book().held {
        let one = all
            .runs
            .get(run_id.as_str())
            .unwrap_or_else(|| panic!("run {run_id} of {workflow_id} is unknown"));
        let attributes = || {
            one.events
                .iter()
                .filter_map(|event| event.attributes.as_ref())
        };
        let scheduled = one.events.iter().find_map(|event| match &event.attributes {
            Some(A::ActivityTaskScheduled(a)) if a.activity_id == *activity_id => {
                Some(event.event_id)
            }
            _ => None,
        });
        let was_last = attributes().any(|attributes| {
            matches!(attributes, A::ActivityTaskStarted(a)
                if Some(a.scheduled_event_id) == scheduled && a.attempt == *attempt)
        });
        let has_completed = attributes().any(|attributes| {
            matches!(attributes, A::ActivityTaskCompleted(a)
                if Some(a.scheduled_event_id) == scheduled)
        });
        assert!(
            !(was_last && has_completed),
            "attempt {attempt} of activity {activity_id} of run {run_id} completed though its worker died"
        );
    }
}

/// What a parent was told of its child's end is the end of the child's chain of runs.
fn invariant_children_and_parents_agree(all: &All<'_>) {
    for parent in all.runs.values() {
        for event in &parent.events {
            let (child, status) = match event.attributes.as_ref().unwrap() {
                A::ChildWorkflowExecutionCompleted(a) => (&a.workflow_execution, Status::Completed),
                A::ChildWorkflowExecutionFailed(a) => (&a.workflow_execution, Status::Failed),
                A::ChildWorkflowExecutionCanceled(a) => (&a.workflow_execution, Status::Canceled),
                A::ChildWorkflowExecutionTimedOut(a) => (&a.workflow_execution, Status::TimedOut),
                A::ChildWorkflowExecutionTerminated(a) => {
                    (&a.workflow_execution, Status::Terminated)
                }
                _ => continue,
            };
            let child_id = &child.as_ref().expect("a child has a name").workflow_id;
            let last = all.chains[child_id.as_str()].last().unwrap();
            assert_eq!(
                last.run.status, status,
                "{} was told of {child_id}",
                parent.run.run_id
            );
        }
    }
    for child in all.runs.values() {
        let Some(parent) = &child.run.started.parent_workflow_execution else {
            continue;
        };
        let parent = all.runs[parent.run_id.as_str()];
        let knows = parent.events.iter().any(|event| {
            matches!(&event.attributes, Some(A::StartChildWorkflowExecutionInitiated(a)) if a.workflow_id == child.run.workflow_id.0)
        });
        assert!(
            knows,
            "nobody has asked for the child {:?}",
            child.run.workflow_id
        );
    }
}

/// Lists are not fenced as the log and the state store are: an owner that stood still may, when it goes on, publish a state that
/// the next owner has published past. That is counted, and must stay rare; a run that lists do not know of is a failure.
fn invariant_lists_know_every_run(world: &World, all: &All<'_>) {
    let mut shown: BTreeMap<String, VisibilityRecord> = BTreeMap::new();
    for (_, bytes) in world.broker.visibility() {
        let record: VisibilityRecord = codec::decode(&bytes).unwrap();
        let execution = record.info.execution.clone().unwrap_or_default();
        shown.insert(execution.run_id, record);
    }
    for (run_id, one) in &all.runs {
        let Some(mut record) = shown.remove(*run_id) else {
            panic!("lists do not know of run {run_id}");
        };
        let expected = one.run.visibility();
        // What a closed run has still to send is a transition too, which lists do not care for.
        record.info.state_transition_count = expected.info.state_transition_count;
        if record != expected {
            world.count(STALE_LISTS);
        }
    }
    assert!(shown.is_empty(), "lists show {shown:?}");
}

/// A replica that has just taken over shows every run as the log has it.
async fn invariant_what_is_shown_is_the_log(world: &World, all: &All<'_>) {
    for (run_id, one) in &all.runs {
        let workflow_id = &one.run.workflow_id.0;
        let shown = read_history(world, workflow_id, run_id).await;
        assert!(
            shown.iter().eq(one.events.iter().map(|event| &**event)),
            "history of run {run_id} is shown as\n{shown:?}\nand is\n{:?}",
            one.events
        );
        let request = DescribeWorkflowExecutionRequest {
            execution: execution(workflow_id, run_id),
            ..DescribeWorkflowExecutionRequest::default()
        };
        let request = Request::DescribeWorkflowExecution(Box::new(request));
        let answer = world.call(workflow_id, request).await;
        let Ok(Response::DescribeWorkflowExecution(description)) = answer else {
            panic!("run {run_id} was described by {answer:?}");
        };
        let info = description.workflow_execution_info.unwrap_or_default();
        assert_eq!(
            (info.status, info.history_length),
            (one.run.status, one.run.next_event_id - 1),
            "run {run_id} is described"
        );
    }
}
