//! For tests of workflow code: a [`TestEnvironment`] that needs no server, and a [`Replayer`] for recorded histories.
//!
//! In the crate's feature `testing`; enable it for `dev-dependencies` only.

mod driver;
mod environment;
mod history_json;
mod replayer;
mod running;
mod world;

pub use environment::{TestEnd, TestEnvironment, TestRun, TestWorkflow};
pub use history_json::HistoryError;
pub use replayer::{ReplayError, Replayer};
pub use running::RunningWorkflow;
