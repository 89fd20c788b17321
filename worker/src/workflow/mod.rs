//! What workflow code calls: [`WorkflowContext`], and one file for each thing that it can do.
//!
//! Workflow code must be deterministic: the same history must make it ask for the same steps in the same order. It takes
//! time from [`WorkflowContext::now`], randomness from [`WorkflowContext::random`], and does I/O in activities only.
//! `futures::join!`, `FuturesUnordered` and channels of the `futures` crate work; `futures::select!` picks at random, so
//! take [`crate::select`], which looks at its branches in order. Nothing of tokio works here.

mod activity_call;
mod cancel;
mod child_call;
mod context;
mod continue_as_new;
mod external;
mod info;
mod local_activity_call;
mod saga;
mod signals;
mod timer;
mod updates;
mod wait;

pub(crate) use activity_call::queue;
pub use activity_call::{ActivityCall, ActivityFuture};
pub use cancel::{CancellationScope, Cancelled};
pub use child_call::{ChildCall, ChildFuture, StartedChild};
pub use context::{Spawned, WorkflowContext};
pub use continue_as_new::ContinueAsNew;
pub use external::ExternalWorkflow;
pub use info::WorkflowInfo;
pub use local_activity_call::{LocalActivityCall, LocalActivityFuture};
pub use saga::{Saga, SagaError};
pub use signals::Signals;
pub use timer::Timer;
pub use updates::UpdateRegistration;
pub use wait::WaitUntil;
