//! The machine driven by scripted histories: events in, commands out.

mod cancel;
mod child_workflow;
mod nondeterminism;
mod script;
mod signal;
mod steps;
