//! Signals as a stream.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{FusedStream, Stream};
use serde::de::DeserializeOwned;

use super::context::WorkflowContext;
use crate::error::{WorkflowError, WorkflowResult, chain};

/// The signals of one name, in order. Never ends. A signal that is no `T` is logged and dropped.
pub struct Signals<T> {
    ctx: WorkflowContext,
    name: Cow<'static, str>,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + 'static> Signals<T> {
    pub(super) fn new(ctx: WorkflowContext, name: Cow<'static, str>) -> Self {
        Self {
            ctx,
            name,
            item: PhantomData,
        }
    }

    /// A signal that has come, without waiting.
    pub fn try_next(&mut self) -> Option<T> {
        loop {
            let input = {
                let mut state = self.ctx.shared.state();
                let input = state.signals.take(&self.name)?;
                state.progress += 1;
                input
            };
            match self.ctx.converter().read_payloads(input.as_ref()) {
                Ok(item) => return Some(item),
                Err(error) => {
                    tracing::warn!(
                        workflow_id = self.ctx.info().workflow_id,
                        signal_name = %self.name,
                        error = %chain(&error),
                        "drop a signal that cannot be read"
                    );
                }
            }
        }
    }

    /// The next signal.
    ///
    /// # Errors
    /// If the workflow is cancelled meanwhile.
    pub async fn wait(&mut self) -> WorkflowResult<T> {
        let mut cancelled = self.ctx.step_cancelled();
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(item)) = Pin::new(&mut *self).poll_next(cx) {
                return Poll::Ready(Ok(item));
            }
            if let Some(cancelled) = &mut cancelled
                && Pin::new(cancelled).poll(cx).is_ready()
            {
                return Poll::Ready(Err(WorkflowError::cancelled("the workflow is cancelled")));
            }
            Poll::Pending
        })
        .await
    }
}

impl<T: DeserializeOwned + 'static> Stream for Signals<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(item) = self.try_next() {
            return Poll::Ready(Some(item));
        }
        let mut state = self.ctx.shared.state();
        let name = self.name.clone().into_owned();
        state.signals.wakers.insert(name, cx.waker().clone());
        Poll::Pending
    }
}

impl<T: DeserializeOwned + 'static> FusedStream for Signals<T> {
    fn is_terminated(&self) -> bool {
        false
    }
}
