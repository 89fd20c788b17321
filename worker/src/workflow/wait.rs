//! Waiting for a condition on the workflow's own state.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::FusedFuture;

use super::context::WorkflowContext;
use crate::error::{WorkflowError, WorkflowResult};

/// See [`WorkflowContext::wait_until`].
pub struct WaitUntil<C> {
    ctx: WorkflowContext,
    condition: C,
    is_done: bool,
}

impl<C> WaitUntil<C> {
    pub(super) fn new(ctx: WorkflowContext, condition: C) -> Self {
        Self {
            ctx,
            condition,
            is_done: false,
        }
    }
}

impl<C: Fn() -> bool> Future for WaitUntil<C> {
    type Output = WorkflowResult<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WorkflowResult<()>> {
        let this = self.get_mut();
        let holds = (this.condition)();
        let result = if holds {
            Ok(())
        } else if this.ctx.is_cancelled_for_steps() {
            Err(WorkflowError::cancelled("the workflow is cancelled"))
        } else {
            let mut state = this.ctx.shared.state();
            state.conditions.push(cx.waker().clone());
            return Poll::Pending;
        };
        this.ctx.shared.state().progress += 1;
        this.is_done = true;
        Poll::Ready(result)
    }
}

/// The condition is only called, never pinned.
impl<C> Unpin for WaitUntil<C> {}

impl<C: Fn() -> bool> FusedFuture for WaitUntil<C> {
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}
