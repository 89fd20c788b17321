//! Handlers of updates, as workflow code registers them.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use fermata_proto::common::Payloads;
use fermata_proto::failure::Failure;
use futures::future::{FutureExt, LocalBoxFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::WorkflowContext;
use crate::error::{ApplicationError, WorkflowError, WorkflowResult};
use crate::machine::{Ended, UpdateHandler};

type Validator<A> = Rc<RefCell<Option<Box<dyn Fn(&A) -> WorkflowResult<()>>>>>;

/// What [`WorkflowContext::on_update`] gives; dropping it changes nothing.
pub struct UpdateRegistration<A> {
    validator: Validator<A>,
}

impl<A> UpdateRegistration<A> {
    /// Asks `validator` before an update is accepted. It only looks: it must not change state and cannot take steps. What it
    /// refuses leaves no trace in history; the caller gets its error. It is not asked again in replays.
    pub fn validator<E: Into<WorkflowError>>(
        self,
        validator: impl Fn(&A) -> Result<(), E> + 'static,
    ) {
        let validator = Box::new(move |argument: &A| validator(argument).map_err(Into::into));
        let before = self.validator.borrow_mut().replace(validator);
        drop(before);
    }
}

struct Typed<A, F> {
    validator: Validator<A>,
    handler: Rc<F>,
}

impl<A, R, F, Fut> UpdateHandler for Typed<A, F>
where
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
    F: Fn(WorkflowContext, A) -> Fut + 'static,
    Fut: Future<Output = WorkflowResult<R>> + 'static,
{
    fn begin(
        &self,
        ctx: WorkflowContext,
        arguments: Option<&Payloads>,
        validates: bool,
    ) -> Result<LocalBoxFuture<'static, Ended>, Box<Failure>> {
        let converter = ctx.converter().clone();
        let argument: A = converter
            .read_payloads(arguments)
            .map_err(super::context::unreadable)?;
        if validates && let Some(validator) = &*self.validator.borrow() {
            validator(&argument).map_err(refusal)?;
        }
        let handler = self.handler.clone();
        Ok(async move {
            let result = handler(ctx, argument).await?;
            converter
                .to_payloads(&result)
                .map_err(|error| WorkflowError::task_failed_by(&error))
        }
        .boxed_local())
    }
}

/// What a caller hears of a validator's error.
fn refusal(error: WorkflowError) -> Box<Failure> {
    match error {
        WorkflowError::Failed(failure) | WorkflowError::Cancelled(failure) => failure,
        error @ (WorkflowError::TaskFailed(_) | WorkflowError::ContinueAsNew(_)) => {
            let error = ApplicationError::new(error.message()).with_type("UpdateRefused");
            Box::new(error.into_failure())
        }
    }
}

impl WorkflowContext {
    /// Takes updates of this name: `handler` runs beside the rest of the code with the whole context, and what it gives is
    /// the caller's answer; its error fails the update, not the workflow. It begins when a workflow task starts, before the
    /// code that waits goes on; an update that came before the handler was registered begins when the code waits next.
    ///
    /// Register handlers before the first await: an update without a handler is refused when the task that brought it ends. A
    /// workflow that ends leaves the callers of running handlers with a failure, see [`Self::all_handlers_finished`].
    ///
    /// ```
    /// # use fermata_worker::*;
    /// async fn cart(ctx: WorkflowContext, (): ()) -> WorkflowResult<u32> {
    ///     let total = std::rc::Rc::new(std::cell::Cell::new(0));
    ///     let sum = total.clone();
    ///     ctx.on_update("add", move |_ctx, amount: u32| {
    ///         let sum = sum.clone();
    ///         async move {
    ///             sum.set(sum.get() + amount);
    ///             Ok(sum.get())
    ///         }
    ///     })
    ///     .validator(|amount| match amount {
    ///         0 => Err(ApplicationError::new("add something")),
    ///         _ => Ok(()),
    ///     });
    ///     ctx.wait_until(|| total.get() >= 100 && ctx.all_handlers_finished()).await?;
    ///     Ok(total.get())
    /// }
    /// ```
    pub fn on_update<A, R, F, Fut>(
        &self,
        name: impl Into<String>,
        handler: F,
    ) -> UpdateRegistration<A>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(WorkflowContext, A) -> Fut + 'static,
        Fut: Future<Output = WorkflowResult<R>> + 'static,
    {
        let validator = Validator::default();
        let handler = Rc::new(Typed {
            validator: validator.clone(),
            handler: Rc::new(handler),
        });
        let mut state = self.shared.state();
        let before = state.updates.handlers.insert(name.into(), handler);
        drop(state);
        // Whatever the one before held may reach for the state when it goes.
        drop(before);
        UpdateRegistration { validator }
    }

    /// Whether no handler of an update is running: what to wait for before the workflow ends or continues as new. Handlers of
    /// signals have always finished; what they spawn is the code's own to wait for.
    pub fn all_handlers_finished(&self) -> bool {
        self.shared.state().updates.running.is_empty()
    }

    /// The id of the update whose handler this context was made for; none elsewhere.
    pub fn update_id(&self) -> Option<&str> {
        self.update_id.as_deref()
    }
}
