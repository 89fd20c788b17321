//! [`WorkflowContext`]: the one thing that workflow code is given.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fermata_proto::command::{
    ModifyWorkflowPropertiesCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes,
};
use fermata_proto::common::{Memo, Payload, SearchAttributes};
use fermata_proto::failure::Failure;
use fermata_proto::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::activity_call::ActivityCall;
use super::cancel::{CancellationScope, Cancelled};
use super::child_call::ChildCall;
use super::continue_as_new::ContinueAsNew;
use super::external::ExternalWorkflow;
use super::info::WorkflowInfo;
use super::local_activity_call::LocalActivityCall;
use super::signals::Signals;
use super::timer::Timer;
use super::wait::WaitUntil;
use crate::converter::Converter;
use crate::error::{ApplicationError, WorkflowError, WorkflowResult, chain};
use crate::machine::{QueryHandler, ROOT, SHIELDED, ScopeId, Shared, SideEffect, SignalHandler};
use crate::name::{IntoActivity, IntoWorkflow};
use crate::payload::{PayloadError, Value, is_null};

/// Everything that workflow code can do beyond computing. Cheap to clone; all clones are of the same run.
#[derive(Clone)]
pub struct WorkflowContext {
    pub(super) shared: Rc<Shared>,
    pub(super) scope: ScopeId,
    pub(super) update_id: Option<Rc<str>>,
}

impl WorkflowContext {
    pub(crate) fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            scope: ROOT,
            update_id: None,
        }
    }

    /// For the handler of an update.
    pub(crate) fn of_update(mut self, update_id: &str) -> Self {
        self.update_id = Some(update_id.into());
        self
    }

    pub(crate) fn converter(&self) -> &Converter {
        &self.shared.converter
    }

    pub fn info(&self) -> &WorkflowInfo {
        &self.shared.info
    }

    /// The time at which the current workflow task started; it stands still while the code runs.
    pub fn now(&self) -> Timestamp {
        self.shared.state().now
    }

    /// A random number from 0 up to but not including 1, the same in every replay.
    pub fn random(&self) -> f64 {
        // 53 bits are what a double holds exactly.
        (self.random_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A random number of 64 bits, the same in every replay.
    pub fn random_u64(&self) -> u64 {
        self.shared.state().random().next()
    }

    /// A random UUID (version 4), the same in every replay.
    pub fn uuid(&self) -> uuid::Uuid {
        self.shared.state().random().uuid()
    }

    /// Whether the code repeats what it did before. For logs only: code that acts on it is not deterministic.
    pub fn is_replaying(&self) -> bool {
        self.shared.state().is_replaying
    }

    /// How many events the code has seen.
    pub fn history_length(&self) -> i64 {
        self.shared.state().history_length
    }

    /// Whether history has grown so long that the workflow should continue as new.
    pub fn should_continue_as_new(&self) -> bool {
        self.shared.state().suggest_continue_as_new
    }

    /// Calls an activity: by its function, by an [`crate::Activity`] or by name. One of `start_to_close` and
    /// `schedule_to_close` must be set.
    pub fn activity<A: Value, R: Value, Kind>(
        &self,
        activity: impl IntoActivity<A, R, Kind>,
        argument: A,
    ) -> ActivityCall<R> {
        ActivityCall::new(
            self.clone(),
            &activity.activity_type(),
            self.converter().to_payloads(&argument),
        )
    }

    /// Starts a child workflow: by its function, by a [`crate::Workflow`] or by name.
    pub fn child<A: Value, R: Value, Kind>(
        &self,
        workflow: impl IntoWorkflow<A, R, Kind>,
        argument: A,
    ) -> ChildCall<R> {
        ChildCall::new(
            self.clone(),
            &workflow.workflow_type(),
            self.converter().to_payloads(&argument),
        )
    }

    /// Another workflow, to signal or to cancel.
    pub fn external(&self, workflow_id: impl Into<String>) -> ExternalWorkflow {
        ExternalWorkflow::new(self.clone(), workflow_id.into())
    }

    /// Waits; dropping the timer cancels it.
    pub fn sleep(&self, length: Duration) -> Timer {
        Timer::start(self, length)
    }

    /// The signals of this name, in order, those included that came before. Streams of one name share its signals.
    pub fn signal<T: DeserializeOwned + 'static>(
        &self,
        name: impl Into<Cow<'static, str>>,
    ) -> Signals<T> {
        Signals::new(self.clone(), name.into())
    }

    /// Runs `handler` for each signal of this name, those included that came before. It runs when a workflow task starts,
    /// before the code that waits goes on; use [`Self::spawn`] in it for what takes steps. A signal that is no `T` is
    /// logged and dropped: it must not stop the workflow.
    pub fn on_signal<T: DeserializeOwned + 'static>(
        &self,
        name: impl Into<String>,
        handler: impl Fn(T) + 'static,
    ) {
        let name = name.into();
        let workflow_id = self.info().workflow_id.clone();
        let signal_name = name.clone();
        let converter = self.converter().clone();
        let handler: SignalHandler = Rc::new(move |input| match converter.read_payloads(input) {
            Ok(input) => handler(input),
            Err(error) => {
                tracing::warn!(workflow_id, signal_name, error = %chain(&error), "drop a signal that cannot be read");
            }
        });
        let (earlier, _before) = {
            let mut state = self.shared.state();
            let before = state.signals.handlers.insert(name.clone(), handler.clone());
            (
                state.signals.waiting.remove(&name).unwrap_or_default(),
                before,
            )
        };
        for input in earlier {
            handler(input.as_ref());
        }
    }

    /// Answers queries of this name. The handler only looks: it must not change state and cannot take steps.
    pub fn on_query<A: DeserializeOwned + 'static, R: Serialize + 'static>(
        &self,
        name: impl Into<String>,
        handler: impl Fn(A) -> R + 'static,
    ) {
        let converter = self.converter().clone();
        let handler: QueryHandler = Rc::new(move |arguments| {
            let argument = converter.read_payloads(arguments).map_err(unreadable)?;
            converter
                .to_payloads(&handler(argument))
                .map_err(unreadable)
        });
        let before = self.shared.state().queries.insert(name.into(), handler);
        // Whatever the one before held may reach for the state when it goes.
        drop(before);
    }

    /// Waits until `condition` holds. It is looked at whenever the code has moved; it must only look.
    pub fn wait_until<C: Fn() -> bool>(&self, condition: C) -> WaitUntil<C> {
        WaitUntil::new(self.clone(), condition)
    }

    /// As [`Self::wait_until`], for at most `length`. Gives whether the condition holds.
    ///
    /// # Errors
    /// If the workflow is cancelled meanwhile.
    pub async fn wait_until_timeout(
        &self,
        length: Duration,
        condition: impl Fn() -> bool,
    ) -> WorkflowResult<bool> {
        let mut wait = std::pin::pin!(self.wait_until(condition));
        let mut timer = self.sleep(length);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(waited) = wait.as_mut().poll(cx) {
                return Poll::Ready(waited.map(|()| true));
            }
            Pin::new(&mut timer)
                .poll(cx)
                .map(|slept| slept.map(|()| false))
        })
        .await
    }

    /// Runs `future` beside the code that calls this. It ends with the workflow.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Spawned<T> {
        let slot = Rc::new(RefCell::new(SpawnedSlot {
            value: None,
            waker: None,
        }));
        let filled = slot.clone();
        self.shared.state().spawn(Box::pin(async move {
            let value = future.await;
            let mut slot = filled.borrow_mut();
            slot.value = Some(value);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }));
        Spawned { slot }
    }

    /// Ready when the workflow is asked to cancel, with the reason that was given; in a [`Self::scope`], when that is
    /// cancelled.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled::new(self.shared.clone(), self.scope)
    }

    pub fn is_cancel_requested(&self) -> bool {
        self.shared.state().cancel_requested.is_some()
    }

    /// A context whose steps are not cancelled with the workflow: for what must happen in any case, such as undoing.
    #[must_use]
    pub fn shielded(&self) -> Self {
        self.in_scope(SHIELDED)
    }

    /// A scope within this one: what is begun with it can be cancelled together.
    #[must_use]
    pub fn scope(&self) -> CancellationScope {
        CancellationScope::open(self, false)
    }

    /// As [`Self::scope`], but it does not go down with the workflow or the scope around it: only by itself.
    #[must_use]
    pub fn shielded_scope(&self) -> CancellationScope {
        CancellationScope::open(self, true)
    }

    pub(super) fn in_scope(&self, scope: ScopeId) -> Self {
        Self {
            scope,
            shared: self.shared.clone(),
            update_id: self.update_id.clone(),
        }
    }

    /// Whether this run takes the new way that `id` names: true in runs that come here for the first time, false in the
    /// replay of runs that were here before the code was changed. It is recorded, and says the same for the rest of the
    /// run. See [`Self::deprecate_patch`] for when no run needs the old way any more.
    #[must_use]
    pub fn patched(&self, id: &str) -> bool {
        self.shared.state().patched(id, false)
    }

    /// Takes the place of [`Self::patched`] when the old way is gone from the code: runs that recorded the patch still
    /// replay. When no such run is left either, this call can go too.
    pub fn deprecate_patch(&self, id: &str) {
        // There is one way only: which it would have been does not matter.
        let _ = self.shared.state().patched(id, true);
    }

    /// A value from outside that is quick to get and cannot fail, such as a host name or a setting: taken once, recorded,
    /// and the same in every replay. Whatever can fail or takes time is an activity or a local activity.
    ///
    /// # Errors
    /// If the value has no JSON form, or what was recorded is no `T`; the workflow task fails.
    pub fn side_effect<T: Value>(&self, take: impl FnOnce() -> T) -> WorkflowResult<T> {
        let asked = self.shared.state().side_effect();
        match asked {
            SideEffect::New(id) => {
                let value = take();
                let recorded = self.converter().to_payloads(&value);
                let recorded = recorded.map_err(|error| WorkflowError::task_failed_by(&error))?;
                self.shared.state().record_side_effect(id, recorded);
                Ok(value)
            }
            SideEffect::Recorded(value) => {
                let read = self.converter().read_payloads(value.as_ref());
                read.map_err(|error| WorkflowError::task_failed_by(&error))
            }
            SideEffect::Missing => Err(WorkflowError::task_failed(
                "replay a side effect that history does not hold",
            )),
        }
    }

    /// Calls an activity that this worker runs itself, within the workflow task: without a queue and without events but one
    /// marker, so it takes a fraction of the time. For short steps; one that was under way when the worker died is run
    /// again. One of `start_to_close` and `schedule_to_close` must be set.
    pub fn local_activity<A: Value, R: Value, Kind>(
        &self,
        activity: impl IntoActivity<A, R, Kind>,
        argument: A,
    ) -> LocalActivityCall<R> {
        LocalActivityCall::new(
            self.clone(),
            &activity.activity_type(),
            self.converter().to_payloads(&argument),
        )
    }

    /// What to end the workflow with so that a new run takes its place: `Err(ctx.continue_as_new(&next).into())`.
    pub fn continue_as_new<A: Serialize + 'static>(&self, argument: &A) -> ContinueAsNew {
        ContinueAsNew::new(self.converter().to_payloads(argument))
    }

    /// A field of the memo, as started or as set since.
    ///
    /// # Errors
    /// If it is no `T`.
    pub fn memo<T: DeserializeOwned + 'static>(&self, name: &str) -> WorkflowResult<Option<T>> {
        let payload = self.shared.state().memo.get(name).cloned();
        let value = payload
            .map(|payload| self.converter().read_payload(&payload))
            .transpose();
        value.map_err(|error| WorkflowError::task_failed_by(&error))
    }

    /// Sets a custom search attribute; `None` takes it away.
    ///
    /// # Errors
    /// If `value` has no JSON form.
    pub fn upsert_search_attribute<T: Serialize + 'static>(
        &self,
        name: impl Into<String>,
        value: &T,
    ) -> WorkflowResult<()> {
        // The engine reads search attributes: they stay JSON.
        let field = field(&Converter::default(), name.into(), value)?;
        let mut state = self.shared.state();
        set(&mut state.search_attributes, field.clone());
        let attributes = UpsertWorkflowSearchAttributesCommandAttributes {
            search_attributes: Some(SearchAttributes {
                indexed_fields: [field].into(),
            }),
        };
        let sequence = state.next_sequence();
        state.commands.push(sequence, attributes);
        Ok(())
    }

    /// Sets a field of the memo; `None` takes it away.
    ///
    /// # Errors
    /// If `value` has no JSON form.
    pub fn upsert_memo<T: Serialize + 'static>(
        &self,
        name: impl Into<String>,
        value: &T,
    ) -> WorkflowResult<()> {
        let field = field(self.converter(), name.into(), value)?;
        let mut state = self.shared.state();
        set(&mut state.memo, field.clone());
        let attributes = ModifyWorkflowPropertiesCommandAttributes {
            upserted_memo: Some(Memo {
                fields: [field].into(),
            }),
        };
        let sequence = state.next_sequence();
        state.commands.push(sequence, attributes);
        Ok(())
    }

    /// Ready when steps of this context are cancelled; none if they never are.
    pub(super) fn step_cancelled(&self) -> Option<Cancelled> {
        (self.scope != SHIELDED).then(|| self.cancelled())
    }

    /// Whether a step asked for now is cancelled from the start.
    pub(super) fn is_cancelled_for_steps(&self) -> bool {
        self.shared.state().scopes.is_cancelled(self.scope)
    }
}

/// Why a query has no answer, or an update is refused.
pub(super) fn unreadable(error: PayloadError) -> Box<Failure> {
    let error = ApplicationError::new(chain(&error)).with_type("PayloadError");
    Box::new(error.non_retryable().into_failure())
}

fn field<T: Serialize + 'static>(
    converter: &Converter,
    name: String,
    value: &T,
) -> WorkflowResult<(String, Payload)> {
    let payload = converter.to_payload(value);
    let payload = payload.map_err(|error| WorkflowError::task_failed_by(&error))?;
    Ok((name, payload))
}

/// As the engine does: null takes a field away.
fn set(fields: &mut BTreeMap<String, Payload>, (name, payload): (String, Payload)) {
    if is_null(&payload) {
        fields.remove(&name);
    } else {
        fields.insert(name, payload);
    }
}

struct SpawnedSlot<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// What [`WorkflowContext::spawn`] gives; awaiting it is optional, dropping it changes nothing.
pub struct Spawned<T> {
    slot: Rc<RefCell<SpawnedSlot<T>>>,
}

impl<T> Future for Spawned<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.slot.borrow_mut();
        match slot.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
