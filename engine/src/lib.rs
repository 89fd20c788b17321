//! Partition owners: log, checkpoint, timers, dispatch and membership over NATS JetStream
