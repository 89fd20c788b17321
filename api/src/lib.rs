//! REST, Temporal gRPC, visibility and metrics over the engine's RPC
