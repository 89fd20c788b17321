//! What the core's tests share: a world in memory that plays the owner of every partition.

// Each test program uses a part.
#![allow(dead_code)]

pub mod client;
pub mod invariants;
pub mod updates;
pub mod world;
