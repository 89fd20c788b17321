//! How rules write: changes are applied to a scratch copy as they are made, so that a later rule of the same decision sees
//! them, and the whole is kept or dropped at once.

use std::sync::Arc;

use fermata_proto::event::{HistoryEvent, HistoryEventAttributes};

use crate::change::{Change, Fact, Transition};
use crate::context::Context;
use crate::decision::Effect;
use crate::run::{BufferedEvent, OutboxEntry, Run};
use crate::{limits, workflow_task};

/// The transition of one run in the making.
pub struct Transaction<'a> {
    pub ctx: &'a Context<'a>,
    run: Run,
    creates: bool,
    changes: Vec<Change>,
    effects: Vec<Effect>,
    wants_task: bool,
    /// A workflow task that is asked for is scheduled when all that is due has happened.
    defers_task: bool,
    /// A speculative workflow task stays one, whatever this transition changes.
    keeps_speculative: bool,
    /// Outbox entries from here on are of this transition.
    first_outbox_id: u64,
}

impl<'a> Transaction<'a> {
    /// Goes on with a run.
    pub fn of(run: &Run, ctx: &'a Context<'a>) -> Self {
        Self {
            ctx,
            run: run.clone(),
            creates: false,
            changes: Vec::new(),
            effects: Vec::new(),
            wants_task: false,
            defers_task: false,
            keeps_speculative: false,
            first_outbox_id: run.next_outbox_id,
        }
    }

    /// Begins a new run; its first event must be WorkflowExecutionStarted.
    pub fn create(run: Run, ctx: &'a Context<'a>) -> Self {
        Self {
            creates: true,
            ..Self::of(&run, ctx)
        }
    }

    /// The state with every change so far.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Writes an event now, under the next id, which is returned.
    pub fn event(&mut self, attributes: impl Into<HistoryEventAttributes>) -> i64 {
        self.write(HistoryEvent {
            attributes: Some(attributes.into()),
            ..HistoryEvent::default()
        })
    }

    /// Writes an event that carries more than attributes (links, user metadata); id and, unless given, time are set here.
    pub fn write(&mut self, mut event: HistoryEvent) -> i64 {
        self.settle_speculative();
        event.event_id = self.run.next_event_id;
        event.event_time.get_or_insert(self.ctx.now);
        let event_id = event.event_id;
        self.change(Change::Event(Arc::new(event)));
        event_id
    }

    /// Writes an event of another run as it stands; its id must be the next one.
    pub fn copy(&mut self, event: Arc<HistoryEvent>) {
        self.change(Change::Event(event));
    }

    /// The events written so far.
    pub fn events(&self) -> impl Iterator<Item = &Arc<HistoryEvent>> {
        self.changes.iter().filter_map(|change| match change {
            Change::Event(event) => Some(event),
            Change::Fact(_) => None,
        })
    }

    /// Writes an event from outside the worker: now, or, while a workflow task is started, into the buffer.
    pub fn write_or_buffer(&mut self, mut event: HistoryEvent) -> Option<i64> {
        self.settle_speculative();
        if self
            .run
            .workflow_task
            .as_ref()
            .is_some_and(|task| task.is_started())
        {
            event.event_time.get_or_insert(self.ctx.now);
            self.fact(Fact::Buffered(Box::new(BufferedEvent { event })));
            None
        } else {
            Some(self.write(event))
        }
    }

    pub fn fact(&mut self, fact: Fact) {
        self.settle_speculative();
        self.change(Change::Fact(fact));
    }

    pub fn effect(&mut self, effect: Effect) {
        let is_repeat =
            matches!(effect, Effect::PublishVisibility { .. }) && self.effects.contains(&effect);
        if let Effect::UpdateMoved { update_id, .. } = &effect {
            self.effects.retain(|earlier| {
                !matches!(earlier, Effect::UpdateMoved { update_id: moved, .. } if moved == update_id)
            });
        }
        if !is_repeat {
            self.effects.push(effect);
        }
    }

    /// Puts a request to another workflow into the outbox.
    pub fn send(
        &mut self,
        namespace_id: fermata_proto::ids::NamespaceId,
        workflow_id: fermata_proto::ids::WorkflowId,
        request: fermata_proto::rpc::Request,
    ) {
        let id = self.run.next_outbox_id;
        self.fact(Fact::Outbox(Box::new(OutboxEntry {
            id,
            namespace_id,
            workflow_id,
            request,
        })));
        self.effect(Effect::Deliver {
            run_id: self.run.run_id.clone(),
            outbox_id: id,
        });
    }

    /// This transition is about the speculative workflow task or the updates that it brings: the task stays speculative.
    pub(crate) fn keep_speculative(&mut self) {
        self.keeps_speculative = true;
    }

    /// Anything else that changes the run makes a speculative workflow task a real one first: its events come before all others.
    fn settle_speculative(&mut self) {
        let is_speculative = |run: &Run| {
            run.workflow_task
                .as_ref()
                .is_some_and(|task| task.speculative)
        };
        if !self.keeps_speculative && is_speculative(&self.run) {
            workflow_task::make_real(self, "");
        }
    }

    /// Whether an event of this transition calls for a workflow task.
    pub(crate) fn wants_task(&self) -> bool {
        self.wants_task
    }

    pub(crate) fn defers_task(&self) -> bool {
        self.defers_task
    }

    pub(crate) fn set_defers_task(&mut self, defers: bool) {
        self.defers_task = defers;
    }

    /// Asks for a workflow task when the completion in progress is done.
    pub(crate) fn want_task(&mut self) {
        self.wants_task = true;
    }

    /// Takes back the dispatch of the workflow task that this transition scheduled; false if it scheduled none.
    pub(crate) fn take_dispatch(&mut self) -> bool {
        let before = self.effects.len();
        self.effects
            .retain(|effect| !matches!(effect, Effect::DispatchWorkflowTask { .. }));
        self.effects.len() < before
    }

    /// Takes back every request to other workflows that this transition made.
    pub(crate) fn drop_new_outbox(&mut self) {
        let new: Vec<u64> = self
            .run
            .outbox
            .range(self.first_outbox_id..)
            .map(|(id, _)| *id)
            .collect();
        for outbox_id in new {
            self.fact(Fact::OutboxDone { outbox_id });
            self.effects.retain(|effect| {
                !matches!(effect, Effect::Deliver { outbox_id: id, .. } if *id == outbox_id)
            });
        }
    }

    fn change(&mut self, change: Change) {
        self.run.apply_change(&change);
        self.changes.push(change);
    }

    /// The transition with the state after it, or nothing if nothing changed.
    pub fn finish(mut self) -> Option<(Transition, Run, Vec<Effect>)> {
        if self.changes.is_empty() {
            return None;
        }
        limits::enforce(&mut self);
        self.run.transitions += 1;
        let transition = Transition {
            namespace_id: self.run.namespace_id.clone(),
            workflow_id: self.run.workflow_id.clone(),
            run_id: self.run.run_id.clone(),
            creates: self.creates,
            changes: self.changes,
        };
        Some((transition, self.run, self.effects))
    }
}
