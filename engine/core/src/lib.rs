//! The rules of durable execution: [`decide`] and [`Run::apply`], and nothing else.
//!
//! A request, a completion or a deadline comes in as an [`Input`]; `decide` looks at the mutable state of the addressed
//! run and answers with a [`Decision`]: transitions (history events and facts that history does not show), effects and
//! a reply. The shell makes the transitions durable, keeps the next states and only then performs effects and replies.
//! Replaying the transitions with `apply` gives the same states, byte for byte.
//!
//! Deliberately absent: I/O, clocks, randomness (time and entropy come in by [`Context`]), history itself (the shell
//! keeps it; the core knows its length and hands out ranges), and queries' answers, which are not durable ([`query`]).
//!
//! Where to read: [`run`] (the state), [`change`] (what a transition holds), [`transaction`] (how rules write),
//! [`workflow_task`] (the heart), then one file a concept.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod activity;
mod apply;
mod buffer;
mod cancel;
pub mod change;
mod child_workflow;
mod close;
mod command;
pub mod context;
mod cron;
mod deadlines;
pub mod decide;
pub mod decision;
pub mod describe;
mod external;
pub mod find;
mod limits;
mod marker;
mod multi_operation;
mod priority;
pub mod query;
pub mod reset;
mod retry;
pub mod run;
pub mod schedule;
mod search_attributes;
mod signal;
mod signal_with_start;
mod start;
mod timer;
pub mod transaction;
pub mod update;
mod upsert;
mod validate;
mod visibility;
mod worker_lost;
pub mod workflow_task;

pub use change::{Change, Fact, Transition};
pub use context::{Context, Limits, Namespaces};
pub use decide::decide;
pub use decision::{Decision, Effect, Input, Reply, TaskHandout, View};
pub use query::Queries;
pub use run::Run;
pub use transaction::Transaction;
pub use update::{Awaited, Status, Wait};
