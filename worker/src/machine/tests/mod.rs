//! The machine driven by scripted histories: events in, commands out.

mod cancel;
mod child_workflow;
mod local_activity;
mod nondeterminism;
mod patch;
mod scope;
mod script;
mod signal;
mod steps;
mod update;
