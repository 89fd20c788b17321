//! Waiting for a cancel request.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::future::FusedFuture;

use crate::machine::Shared;

/// See [`crate::WorkflowContext::cancelled`].
pub struct Cancelled {
    shared: Rc<Shared>,
    is_done: bool,
}

impl Cancelled {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            is_done: false,
        }
    }
}

impl Future for Cancelled {
    type Output = String;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<String> {
        let shared = self.shared.clone();
        let mut state = shared.state();
        if let Some(reason) = state.cancel_requested.clone() {
            state.progress += 1;
            self.is_done = true;
            return Poll::Ready(reason);
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
