//! Rust SDK: workflows, activities, workers and a client over NATS
