//! What callers hear of a decision: answers, handed-out tasks with their history, and the queries that wait for a workflow task.
//!
//! All answers go into the group in the making, and out once everything decided before them is durable.

use std::sync::Arc;

use fermata_core::{Input, Reply, Run, TaskHandout};
use fermata_proto::rpc::*;

use super::owner::Owner;
use super::release::{Answering, Asker, Handout, Within, without_task};
use super::state::RunId;

impl Owner {
    /// What the caller hears: a handed-out task gets its history and the queries that wait for it.
    pub(super) fn answering(
        &mut self,
        reply: Result<Reply, Rejection>,
        input: &Input,
    ) -> Answering {
        let reply = match reply {
            Ok(reply) => reply,
            Err(rejection) => return Answering::Ready(Err(rejection)),
        };
        let (task, within) = match reply {
            Reply::None => return Answering::Ready(Ok(Response::Done)),
            // Its caller may have to wait: taken before.
            Reply::Update(awaited) => {
                return Answering::Ready(awaited.wait.answer(&awaited.status));
            }
            Reply::Response(response) => {
                self.observe_activity(&response, input);
                return Answering::Ready(Ok(response));
            }
            Reply::WorkflowTask(task) => (task, Within::Claim),
            Reply::WorkflowStarted {
                response,
                workflow_task,
            } => (workflow_task, Within::WorkflowStarted(response)),
            Reply::WorkflowTaskCompleted {
                response,
                workflow_task: Some(task),
            } => (task, Within::WorkflowTaskCompleted(response)),
            Reply::WorkflowTaskCompleted {
                response,
                workflow_task: None,
            } => return Answering::Ready(without_task(*response)),
            Reply::ActivityCompleted {
                workflow_task: Some(task),
            } => (task, Within::ActivityCompleted),
            Reply::ActivityCompleted {
                workflow_task: None,
            } => {
                return Answering::Ready(Ok(
                    Response::RespondActivityTaskCompleted(Box::default()),
                ));
            }
        };
        self.handout(*task, within)
    }

    /// Gives a started workflow task the queries that wait for it, and its history as of now.
    pub(super) fn handout(&mut self, mut task: TaskHandout, within: Within) -> Answering {
        let address = self.run_address(&task.run_id);
        let Some(loaded) = self.state.runs.get_mut(task.run_id.as_str()) else {
            let words = format!("run {} is not in memory", task.run_id);
            return Answering::Ready(Err(Rejection::new(RejectionKind::Internal, words)));
        };
        if task.response.query.is_none() {
            task.response.queries = loaded.queries.attach();
            if let (Some(scheduled), Some(started)) =
                (task.response.scheduled_time, task.response.started_time)
            {
                self.shared
                    .metrics
                    .schedule_to_start
                    .with_label_values(&["workflow"])
                    .observe(started.since(scheduled).as_secs_f64());
            }
        }
        let history =
            loaded
                .history
                .snapshot(&address, task.history_from, loaded.run.next_event_id);
        Answering::Handout(Box::new(Handout {
            task,
            history,
            within,
        }))
    }

    fn observe_activity(&self, response: &Response, input: &Input) {
        if let Response::ActivityTask(task) = response
            && matches!(input, Input::Request(Request::ClaimActivityTask(_)))
            && let (Some(scheduled), Some(started)) =
                (task.current_attempt_scheduled_time, task.started_time)
        {
            self.shared
                .metrics
                .schedule_to_start
                .with_label_values(&["activity"])
                .observe(started.since(scheduled).as_secs_f64());
        }
    }

    /// Everything that a run's queries have to know of a decision.
    pub(super) fn on_queries(
        &mut self,
        settled: &[(RunId, Option<Arc<Run>>)],
        input: &Input,
        is_accepted: bool,
    ) {
        let bytes_max = self.shared.options.limits.blob_bytes_max;
        for (run_id, before) in settled {
            let Some(loaded) = self.state.runs.get_mut(run_id) else {
                continue;
            };
            if loaded.queries.is_empty() {
                continue;
            }
            match input {
                Input::Request(Request::RespondWorkflowTaskCompleted(request)) if is_accepted => {
                    let answers = loaded.queries.complete(&request.query_results, bytes_max);
                    for (query_id, answer) in answers {
                        self.answer_query(&query_id, super::waiting::query_answer(answer));
                    }
                }
                _ => {
                    let started = |run: &Run| {
                        run.workflow_task
                            .as_ref()
                            .filter(|task| task.is_started())
                            .map(|task| (task.started_event_id, task.started_time))
                    };
                    let was_started = before.as_deref().and_then(started);
                    if was_started.is_some() && started(&loaded.run) != was_started {
                        loaded.queries.task_ended();
                    }
                }
            }
        }
    }

    /// Sends out the queries of a run that no longer wait for a workflow task.
    pub(super) fn settle_queries(&mut self, run_id: &RunId) {
        let Some(loaded) = self.state.runs.get_mut(run_id) else {
            return;
        };
        if loaded.queries.is_empty() {
            return;
        }
        let key = loaded.key;
        for effect in loaded.queries.settle(&loaded.run.clone()) {
            self.on_effect(key, effect);
        }
    }

    /// The asker of a query hears its answer, unless it has stopped waiting.
    pub(super) fn answer_query(&mut self, query_id: &str, answer: Answer) {
        if let Some((asker, _)) = self.waiting.take_query(query_id) {
            self.answer(asker, Answering::Ready(answer));
        }
    }

    /// Puts an answer into the group: it goes out once everything decided before it is durable.
    pub(super) fn answer(&mut self, asker: Asker, answering: Answering) {
        self.group.released.answers.push((asker, answering));
    }
}
