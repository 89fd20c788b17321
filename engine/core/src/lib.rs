//! The rules of durable execution: decide and apply, with no I/O, no clock and no randomness
