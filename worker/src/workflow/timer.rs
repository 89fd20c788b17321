//! Waiting for time to pass.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::FusedFuture;

use super::activity_call::result_of;
use super::context::WorkflowContext;
use crate::converter::Converter;
use crate::error::{WorkflowError, WorkflowResult};
use crate::machine::Step;

/// A timer that runs, durably. Dropping it cancels it.
pub struct Timer {
    /// None if the workflow was cancelled before.
    step: Option<Step>,
    is_done: bool,
}

impl Timer {
    pub(super) fn start(ctx: &WorkflowContext, length: Duration) -> Self {
        let step = (!ctx.is_cancelled_for_steps()).then(|| {
            let sequence = ctx.shared.state().start_timer(length, ctx.scope);
            Step::new(ctx.shared.clone(), sequence)
        });
        Self {
            step,
            is_done: false,
        }
    }

    /// Cancels it: the future gives a cancellation.
    pub fn cancel(&self) {
        if let Some(step) = &self.step {
            step.shared().state().cancel_timer(step.sequence());
        }
    }
}

impl Future for Timer {
    type Output = WorkflowResult<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WorkflowResult<()>> {
        let result = match &mut self.step {
            // A timer gives nothing: there is nothing to convert.
            Some(step) => Pin::new(step)
                .poll(cx)
                .map(|outcome| result_of(outcome, &Converter::default())),
            None => Poll::Ready(Err(WorkflowError::cancelled("the workflow is cancelled"))),
        };
        self.is_done = result.is_ready();
        result
    }
}

impl FusedFuture for Timer {
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(step) = self.step.as_ref().filter(|_| !self.is_done) {
            let mut state = step.shared().state();
            // A run that leaves the cache drops all its futures: its timers go on.
            if !state.is_torn_down {
                state.cancel_timer(step.sequence());
            }
        }
    }
}
