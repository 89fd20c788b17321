//! Waiting for a cancel request, and scopes whose steps are cancelled together.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::future::FusedFuture;

use super::context::WorkflowContext;
use crate::machine::{ROOT, SHIELDED, ScopeId, Shared};

/// See [`crate::WorkflowContext::cancelled`].
pub struct Cancelled {
    shared: Rc<Shared>,
    scope: ScopeId,
    is_done: bool,
}

impl Cancelled {
    pub(super) fn new(shared: Rc<Shared>, scope: ScopeId) -> Self {
        Self {
            shared,
            // Who is shielded from the workflow's cancellation may still want to hear of it.
            scope: if scope == SHIELDED { ROOT } else { scope },
            is_done: false,
        }
    }
}

impl Future for Cancelled {
    type Output = String;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<String> {
        let shared = self.shared.clone();
        let mut state = shared.state();
        if state.scopes.is_cancelled(self.scope) {
            state.progress += 1;
            self.is_done = true;
            let reason = state.cancel_requested.clone();
            return Poll::Ready(reason.unwrap_or_default());
        }
        state.cancel_wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

impl FusedFuture for Cancelled {
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

/// A part of a workflow whose steps are cancelled together. It is a [`WorkflowContext`] itself: steps that are begun with it
/// belong to it. Cancelling is for good: steps begun later are cancelled from the start.
///
/// ```no_run
/// # use std::time::Duration;
/// # use fermata_worker::*;
/// # async fn search(_: ActivityContext, _: u8) -> ActivityResult<String> { Ok(String::new()) }
/// async fn first_of_two(ctx: WorkflowContext, (): ()) -> WorkflowResult<String> {
///     let scope = ctx.scope();
///     let call = |mirror| scope.activity(search, mirror).start_to_close(Duration::from_secs(9)).start();
///     let found = futures::future::select_ok([call(1), call(2)]).await?.0;
///     scope.cancel(); // the slower one
///     Ok(found)
/// }
/// ```
pub struct CancellationScope {
    ctx: WorkflowContext,
}

impl CancellationScope {
    pub(super) fn open(within: &WorkflowContext, is_shielded: bool) -> Self {
        let scope = within.shared.state().scopes.open(within.scope, is_shielded);
        Self {
            ctx: within.in_scope(scope),
        }
    }

    /// Cancels all open activities, local activities, timers and children that were begun in it, and the scopes within it
    /// but shielded ones.
    pub fn cancel(&self) {
        self.ctx.shared.state().cancel_scope(self.ctx.scope);
    }

    pub fn is_cancelled(&self) -> bool {
        self.ctx.is_cancelled_for_steps()
    }

    /// A context of this scope, to be moved elsewhere.
    pub fn context(&self) -> WorkflowContext {
        self.ctx.clone()
    }
}

impl Deref for CancellationScope {
    type Target = WorkflowContext;

    fn deref(&self) -> &WorkflowContext {
        &self.ctx
    }
}
