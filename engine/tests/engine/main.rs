//! The engine over a simulated broker, seen as its clients and workers see it.

mod faults;
mod mutations;
mod paths;
mod reading;
mod resets;
mod updating;
mod verifying;
mod world;
