//! Sagas: what has been done, and how to undo it.

use std::fmt;
use std::future::Future;

use futures::future::{FutureExt, LocalBoxFuture};

use super::context::WorkflowContext;
use crate::error::{WorkflowError, WorkflowResult};

type Compensation = Box<dyn FnOnce(WorkflowContext) -> LocalBoxFuture<'static, WorkflowResult<()>>>;

/// Compensations of steps that have succeeded, to be run in reverse order when a later step fails.
///
/// ```no_run
/// # use std::time::Duration;
/// # use fermata_worker::*;
/// # const NINE: Duration = Duration::from_secs(9);
/// # async fn book(_: ActivityContext, _: String) -> ActivityResult<u64> { Ok(1) }
/// # async fn unbook(_: ActivityContext, _: u64) -> ActivityResult<()> { Ok(()) }
/// async fn journey(ctx: WorkflowContext, stops: Vec<String>) -> WorkflowResult<()> {
///     let mut saga = Saga::new(&ctx);
///     for stop in stops {
///         match ctx.activity(book, stop).start_to_close(NINE).await {
///             Ok(booking) => saga.add("unbook", move |ctx| async move {
///                 ctx.activity(unbook, booking).start_to_close(NINE).await
///             }),
///             Err(error) => return Err(saga.undo(error).await),
///         }
///     }
///     Ok(())
/// }
/// ```
pub struct Saga {
    ctx: WorkflowContext,
    compensations: Vec<(String, Compensation)>,
}

impl Saga {
    /// Compensations run shielded: also when the workflow is cancelled.
    pub fn new(ctx: &WorkflowContext) -> Self {
        Self {
            ctx: ctx.shielded(),
            compensations: Vec::new(),
        }
    }

    /// Says how to undo a step, with a name for errors. Add it when the step has succeeded; or before, if the compensation
    /// does no harm where the step did nothing.
    pub fn add<F>(
        &mut self,
        name: impl Into<String>,
        compensation: impl FnOnce(WorkflowContext) -> F + 'static,
    ) where
        F: Future<Output = WorkflowResult<()>> + 'static,
    {
        let compensation: Compensation = Box::new(move |ctx| compensation(ctx).boxed_local());
        self.compensations.push((name.into(), compensation));
    }

    /// Nothing is to be undone any more.
    pub fn forget(&mut self) {
        self.compensations.clear();
    }

    /// Runs all compensations, the last added first. One that fails does not keep the others from running.
    ///
    /// # Errors
    /// What failed, each by its name.
    pub async fn compensate(&mut self) -> Result<(), SagaError> {
        let mut failures = Vec::new();
        while let Some((name, compensation)) = self.compensations.pop() {
            if let Err(error) = compensation(self.ctx.clone()).await {
                failures.push((name, error));
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(SagaError {
            cause: None,
            failures,
        })
    }

    /// Compensates because of `cause`, and gives what the workflow ends with: `cause` itself, or, if something could not be
    /// undone, a failure that tells both.
    pub async fn undo(&mut self, cause: WorkflowError) -> WorkflowError {
        match self.compensate().await {
            Ok(()) => cause,
            Err(error) => SagaError {
                cause: Some(cause.to_string()),
                ..error
            }
            .into(),
        }
    }
}

/// Compensations that failed: something is left that somebody must look at.
#[derive(Debug, Clone)]
pub struct SagaError {
    /// Why there was something to undo.
    cause: Option<String>,
    failures: Vec<(String, WorkflowError)>,
}

impl SagaError {
    /// The names of the compensations that failed, and why, in the order in which they ran.
    pub fn failures(&self) -> &[(String, WorkflowError)] {
        &self.failures
    }
}

impl fmt::Display for SagaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("undo what was done")?;
        if let Some(cause) = &self.cause {
            write!(f, " because of \"{cause}\"")?;
        }
        for (index, (name, error)) in self.failures.iter().enumerate() {
            let sign = if index == 0 { ':' } else { ';' };
            write!(f, "{sign} {name} failed ({error})")?;
        }
        Ok(())
    }
}

impl std::error::Error for SagaError {}
