//! What is due and what becomes of it: times of the spec and of backfills go into the buffer, and from there to the outbox.
//!
//! One decision takes a bounded number of times and starts; when there are more, the schedule wakes up again at once.

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::common::{Payload, SearchAttributes, WorkflowExecution};
use fermata_proto::enums::ScheduleOverlapPolicy as Policy;
use fermata_proto::rpc::{Request, RequestCancelWorkflow, TerminateWorkflow};
use fermata_proto::schedule::*;
use fermata_proto::service::{
    RequestCancelWorkflowExecutionRequest, StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
};
use fermata_proto::time::Timestamp;
use fermata_proto::{codec, schedule as wire};

use super::spec::Compiled;
use super::state::{Backfill, Buffered, LastOutcome, Progress, Running, Starting};
use super::{identity, kept, overlap};
use crate::change::Fact;
use crate::decision::Effect;
use crate::run::Run;
use crate::transaction::Transaction;

/// Actions that may wait; further ones are dropped and counted. Temporal's default.
const BUFFER_MAX: usize = 1_000;
/// Times of the spec that one decision looks at.
const TIMES_MAX: usize = 1_000;
/// Times that one decision takes from backfills.
const BACKFILLED_MAX: usize = 10;
/// Starts on their way at the same time.
const STARTING_MAX: usize = 10;
/// Bytes of starts on their way, but for a single one that is larger.
const STARTING_BYTES_MAX: usize = 1 << 20;

/// The schedule while a decision changes it.
pub(super) struct Acting<'t, 'a> {
    pub tx: &'t mut Transaction<'a>,
    pub progress: Progress,
}

impl<'t, 'a> Acting<'t, 'a> {
    pub(super) fn of(tx: &'t mut Transaction<'a>) -> Self {
        let progress = (*kept(tx.run()).progress).clone();
        Self { tx, progress }
    }

    /// Does all that is due, writes the state down and says when to look again.
    pub(super) fn finish(mut self) {
        let now = self.tx.ctx.now;
        // A spec that was checked when it came in is one.
        let compiled = Compiled::of(&kept(self.tx.run()).defined.spec).ok();
        let mut more = false;
        if let Some(compiled) = &compiled {
            more |= self.take_due(compiled);
            more |= self.take_backfills(compiled);
        }
        self.drain();
        self.progress.wake_at = if more {
            Some(now)
        } else {
            self.next_time(compiled.as_ref())
        };
        let run = self.tx.run();
        if *kept(run).progress != self.progress {
            let run_id = run.run_id.clone();
            self.tx
                .fact(Fact::ScheduleProgress(Box::new(self.progress)));
            self.tx.effect(Effect::PublishVisibility { run_id });
        }
    }

    /// When the spec has its next action, if that would be taken.
    fn next_time(&self, compiled: Option<&Compiled>) -> Option<Timestamp> {
        if !may_act(&self.progress.state) {
            return None;
        }
        let next = compiled?.next(&seed(self.tx.run()), self.progress.done_until)?;
        Some(next.actual)
    }

    /// Puts the spec's times up to now into the buffer; true if there are more than one decision takes.
    fn take_due(&mut self, compiled: &Compiled) -> bool {
        let now = self.tx.ctx.now.max(self.progress.done_until);
        if !may_act(&self.progress.state) {
            // What is not taken now will not be caught up with.
            self.progress.done_until = now;
            return false;
        }
        let seed = seed(self.tx.run());
        let window = catchup_window(&kept(self.tx.run()).defined.policies);
        let overlap_policy = Policy::Unspecified;
        for _ in 0..TIMES_MAX {
            let next = compiled.next(&seed, self.progress.done_until);
            let Some(next) = next.filter(|next| next.actual <= now) else {
                self.progress.done_until = now;
                return false;
            };
            self.progress.done_until = next.actual;
            if now.since(next.actual) > window {
                self.progress.missed_catchup_window += 1;
                continue;
            }
            self.add(Buffered {
                nominal: next.nominal,
                actual: next.actual,
                overlap_policy,
                manual: false,
            });
        }
        true
    }

    /// Puts times of backfills into the buffer while it has room; true if some of them could go on.
    fn take_backfills(&mut self, compiled: &Compiled) -> bool {
        let seed = seed(self.tx.run());
        for _ in 0..BACKFILLED_MAX {
            let Some(backfill) = self.progress.backfills.front_mut() else {
                return false;
            };
            if self.progress.buffer.len() >= BUFFER_MAX / 2 {
                // Goes on when an action has ended.
                return false;
            }
            let next = compiled
                .next(&seed, backfill.after)
                .filter(|next| next.actual <= backfill.end);
            let Some(next) = next else {
                self.progress.backfills.pop_front();
                continue;
            };
            backfill.after = next.actual;
            let overlap_policy = backfill.overlap_policy;
            self.add(Buffered {
                nominal: next.nominal,
                actual: next.actual,
                overlap_policy,
                manual: true,
            });
        }
        !self.progress.backfills.is_empty()
    }

    pub(super) fn add(&mut self, start: Buffered) {
        if self.progress.buffer.len() >= BUFFER_MAX {
            self.progress.buffer_dropped += 1;
        } else {
            self.progress.buffer.push_back(start);
        }
    }

    pub(super) fn add_backfill(&mut self, backfill: &BackfillRequest) {
        let start = backfill.start_time.unwrap_or_default();
        self.progress.backfills.push_back(Backfill {
            // The first moment of the range counts.
            after: start - Duration::from_millis(1),
            end: backfill.end_time.unwrap_or_default(),
            overlap_policy: backfill.overlap_policy,
        });
    }

    /// Starts what may start, and stops what has to make place.
    fn drain(&mut self) {
        let defined = kept(self.tx.run()).defined.clone();
        let Some(ScheduleAction {
            action: Some(ScheduleActionAction::StartWorkflow(action)),
        }) = &defined.action
        else {
            self.progress.buffer.clear();
            return;
        };
        let bytes = codec::encoded_len(action).max(1);
        let at_once = (STARTING_BYTES_MAX / bytes).clamp(1, STARTING_MAX);
        loop {
            let progress = &self.progress;
            let is_running =
                !progress.running.is_empty() || progress.starting.iter().any(|one| one.is_watched);
            let room = at_once.saturating_sub(progress.starting.len());
            let sorted = overlap::sort(
                &progress.buffer,
                is_running || room == 0,
                defined.policies.overlap_policy,
                room,
            );
            if room == 0 {
                // All wait until an answer comes: nothing is decided about them yet.
                return;
            }
            self.progress.buffer = sorted.waiting;
            self.progress.overlap_skipped += sorted.skipped;
            let mut again = false;
            let overlapping = sorted.overlapping.into_iter().map(|start| (start, false));
            let alone = sorted.alone.into_iter().map(|start| (start, true));
            for (start, is_watched) in overlapping.chain(alone) {
                if self.take(&start) {
                    self.start(action, &start, is_watched);
                } else {
                    // The next one may be one of those that are always taken.
                    again = true;
                }
            }
            self.stop(sorted.cancels, sorted.terminates);
            if !again {
                return;
            }
        }
    }

    /// Whether an action may be taken; counts it.
    fn take(&mut self, start: &Buffered) -> bool {
        let state = &mut self.progress.state;
        if start.manual {
            return true;
        }
        if !may_act(state) {
            return false;
        }
        if state.limited_actions {
            state.remaining_actions -= 1;
            self.progress.conflict_token += 1;
        }
        true
    }

    fn start(&mut self, action: &NewWorkflowExecutionInfo, start: &Buffered, is_watched: bool) {
        let ctx = self.tx.ctx;
        let run = self.tx.run();
        let kept = kept(run);
        let schedule_id = &kept.defined.schedule_id;
        let nominal = start.nominal - Duration::from_nanos(u64::from(subsecond(start.nominal)));
        let base = if action.workflow_id.is_empty() {
            schedule_id
        } else {
            &action.workflow_id
        };
        let workflow_id = if kept.defined.policies.keep_original_workflow_id {
            base.clone()
        } else {
            format!("{base}-{}", rfc3339(nominal))
        };
        let mut attributes = action.search_attributes.clone().unwrap_or_default();
        let fields = &mut attributes.indexed_fields;
        fields.insert(
            "TemporalScheduledStartTime".to_owned(),
            search_attribute("Datetime", &rfc3339(nominal)),
        );
        fields.insert(
            "TemporalScheduledById".to_owned(),
            search_attribute("Keyword", schedule_id),
        );
        let request_id = ctx.new_id();
        let LastOutcome { result, failure } = (*kept.last).clone();
        let request = StartWorkflowExecutionRequest {
            namespace: ctx.namespace.name.clone(),
            workflow_id: workflow_id.clone(),
            workflow_type: action.workflow_type.clone(),
            task_queue: action.task_queue.clone(),
            input: action.input.clone(),
            workflow_execution_timeout: action.workflow_execution_timeout,
            workflow_run_timeout: action.workflow_run_timeout,
            workflow_task_timeout: action.workflow_task_timeout,
            identity: identity(&ctx.namespace.name, schedule_id),
            request_id: request_id.clone(),
            workflow_id_reuse_policy: action.workflow_id_reuse_policy,
            retry_policy: action.retry_policy.clone(),
            memo: action.memo.clone(),
            search_attributes: Some(attributes),
            header: action.header.clone(),
            user_metadata: action.user_metadata.clone(),
            versioning_override: action.versioning_override.clone(),
            priority: action.priority.clone(),
            last_completion_result: result,
            continued_failure: failure,
            ..StartWorkflowExecutionRequest::default()
        };
        let watcher = is_watched.then(|| Watcher {
            namespace_id: run.namespace_id.clone(),
            workflow_id: run.workflow_id.clone(),
            run_id: run.run_id.clone(),
            request_id: request_id.clone(),
        });
        let namespace_id = run.namespace_id.clone();
        let scheduled = StartScheduledWorkflow {
            start: request,
            watcher,
        };
        self.tx.send(
            namespace_id,
            workflow_id.clone().into(),
            Request::StartScheduledWorkflow(Box::new(scheduled)),
        );
        self.progress.starting.push(Starting {
            request_id,
            workflow_id,
            scheduled: start.actual,
            is_watched,
        });
    }

    /// Makes place for an action that waits; termination goes before cancellation.
    fn stop(&mut self, cancels: bool, terminates: bool) {
        let ctx = self.tx.ctx;
        let schedule_id = kept(self.tx.run()).defined.schedule_id.clone();
        let identity = identity(&ctx.namespace.name, &schedule_id);
        let namespace = ctx.namespace.name.clone();
        let mut requests = Vec::new();
        for running in &mut self.progress.running {
            let Running {
                execution,
                is_canceled,
                is_terminated,
                ..
            } = running;
            // The last run of the chain, whichever it is by now.
            let target = Some(WorkflowExecution {
                workflow_id: execution.workflow_id.clone(),
                run_id: String::new(),
            });
            let first_execution_run_id = execution.run_id.clone();
            if terminates && !*is_terminated {
                *is_terminated = true;
                let request = TerminateWorkflowExecutionRequest {
                    namespace: namespace.clone(),
                    workflow_execution: target,
                    first_execution_run_id,
                    identity: identity.clone(),
                    reason: "terminated by schedule overlap policy".to_owned(),
                    ..TerminateWorkflowExecutionRequest::default()
                };
                let terminate = TerminateWorkflow {
                    request,
                    sender: None,
                };
                requests.push((
                    execution.workflow_id.clone(),
                    Request::TerminateWorkflowExecution(Box::new(terminate)),
                ));
            } else if cancels && !terminates && !*is_canceled {
                *is_canceled = true;
                let request = RequestCancelWorkflowExecutionRequest {
                    namespace: namespace.clone(),
                    workflow_execution: target,
                    first_execution_run_id,
                    identity: identity.clone(),
                    reason: "cancelled by schedule overlap policy".to_owned(),
                    ..RequestCancelWorkflowExecutionRequest::default()
                };
                let cancel = RequestCancelWorkflow {
                    request,
                    sender: None,
                };
                requests.push((
                    execution.workflow_id.clone(),
                    Request::RequestCancelWorkflowExecution(Box::new(cancel)),
                ));
            }
        }
        for (workflow_id, request) in requests {
            let namespace_id = self.tx.run().namespace_id.clone();
            self.tx.send(namespace_id, workflow_id.into(), request);
        }
    }
}

/// What jitter depends on besides the time.
pub(super) fn seed(run: &Run) -> String {
    format!("{}-{}", run.namespace_id, kept(run).defined.schedule_id)
}

/// Whether the schedule acts by itself.
pub(super) fn may_act(state: &wire::ScheduleState) -> bool {
    !state.paused && (!state.limited_actions || state.remaining_actions > 0)
}

/// How late an action may still be taken.
fn catchup_window(policies: &SchedulePolicies) -> Duration {
    const LEAST: Duration = Duration::from_secs(10);
    policies.catchup_window.unwrap_or_default().max(LEAST)
}

fn subsecond(time: Timestamp) -> u32 {
    u32::try_from(time.to_parts().1).unwrap_or(0)
}

/// A whole second as in `2026-01-31T08:00:00Z`.
fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.to_parts().0)
        .map_or_else(|_| String::new(), |time| time.to_string())
}

fn search_attribute(kind: &str, text: &str) -> Payload {
    let metadata = [("encoding", "json/plain"), ("type", kind)];
    let quoted: String = text
        .chars()
        .map(|letter| match letter {
            '"' | '\\' => format!("\\{letter}"),
            control if control.is_control() => format!("\\u{:04x}", u32::from(control)),
            letter => letter.to_string(),
        })
        .collect();
    Payload {
        metadata: metadata
            .map(|(key, value)| (key.to_owned(), value.to_owned().into()))
            .into(),
        data: format!("\"{quoted}\"").into(),
        ..Payload::default()
    }
}

/// The time to wake up has come.
pub(crate) fn on_deadline(tx: &mut Transaction<'_>) {
    let is_due = kept(tx.run())
        .progress
        .wake_at
        .is_some_and(|at| at <= tx.ctx.now);
    if is_due {
        Acting::of(tx).finish();
    }
}

/// The search attributes by which lists show a schedule.
pub(super) fn own_attributes(paused: bool, given: Option<&SearchAttributes>) -> SearchAttributes {
    let mut attributes = given.cloned().unwrap_or_default();
    let fields = &mut attributes.indexed_fields;
    let mut flag = search_attribute("Bool", "");
    flag.data = if paused { "true" } else { "false" }.into();
    fields.insert("TemporalSchedulePaused".to_owned(), flag);
    fields.insert(
        "TemporalNamespaceDivision".to_owned(),
        search_attribute("Keyword", NAMESPACE_DIVISION),
    );
    attributes
}

/// Puts the state of a schedule into the first transition of its run.
pub(super) fn begin(tx: &mut Transaction<'_>, defined: super::state::Defined, progress: Progress) {
    tx.fact(Fact::ScheduleDefined(Box::new(defined)));
    tx.fact(Fact::ScheduleProgress(Box::new(progress)));
}

impl Run {
    pub(crate) fn schedule_mut(&mut self) -> &mut super::state::Kept {
        self.schedule.get_or_insert_default()
    }

    /// Replays what is kept of a schedule.
    pub(crate) fn apply_schedule(&mut self, fact: &Fact) {
        match fact {
            Fact::ScheduleDefined(defined) => {
                self.schedule_mut().defined = Arc::new((**defined).clone());
                self.start_time = defined.create_time;
                self.status = fermata_proto::enums::WorkflowExecutionStatus::Running;
            }
            Fact::ScheduleProgress(progress) => {
                self.schedule_mut().progress = Arc::new((**progress).clone());
            }
            Fact::ScheduleLast(last) => {
                self.schedule_mut().last = Arc::new((**last).clone());
            }
            Fact::ScheduleDeleted { time } => {
                self.status = fermata_proto::enums::WorkflowExecutionStatus::Terminated;
                self.close_time = Some(*time);
                self.deleting = true;
            }
            _ => {}
        }
    }
}
