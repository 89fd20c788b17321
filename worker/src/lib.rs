//! Fermata's Rust SDK: workflows and activities as plain async functions, the worker that runs them, and a client.
//!
//! ```no_run
//! use std::time::Duration;
//! use fermata_worker::*;
//!
//! async fn greet(ctx: WorkflowContext, name: String) -> WorkflowResult<String> {
//!     let greeting = ctx.activity(compose, name).start_to_close(Duration::from_secs(10)).await?;
//!     ctx.sleep(Duration::from_secs(60)).await?;
//!     Ok(greeting)
//! }
//!
//! async fn compose(_ctx: ActivityContext, name: String) -> ActivityResult<String> {
//!     Ok(format!("Hello {name}"))
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("nats://127.0.0.1:4222").await?;
//! let worker = Worker::new(&client, "greetings").workflow(greet).activity(compose);
//! tokio::spawn(worker.run());
//! let handle = client.start(greet, "Ada".to_owned()).queue("greetings").id("greet-ada").await?;
//! println!("{}", handle.result().await?);
//! # Ok(())
//! # }
//! ```
//!
//! Where to read: `machine` is the deterministic half, without I/O; `workflow` is what workflow code calls;
//! `activity` what activity code calls; `worker` polls, runs and answers; `client` starts and asks.
//!
//! Deliberately absent: anything that the engine decides. Everything here goes through the requests of
//! `fermata_proto::rpc`.

mod activity;
mod client;
mod codec;
mod connection;
mod converter;
mod error;
mod history;
mod interceptor;
mod machine;
mod name;
mod payload;
mod retry;
mod setters;
#[cfg(feature = "testing")]
pub mod testing;
mod worker;
mod workflow;

pub use activity::{ActivityContext, ActivityInfo, ActivityToken, CancelReason};
pub use client::{
    ActivityHandle, Client, ClientError, ClientOptions, ResultError, SignalWithStartCall,
    StartCall, UpdateCall, UpdateError, UpdateHandle, UpdateStage, UpdateWithStartCall,
    WorkflowHandle,
};
pub use codec::{CodecError, CodecFailure, PayloadCodec};
pub use converter::{ConverterFailure, DataConverter, FromValue, ToValue};
pub use error::{ActivityError, ActivityResult, ApplicationError, WorkflowError, WorkflowResult};
pub use history::WorkflowHistory;
pub use interceptor::{
    AttemptOutcome, ClientCall, Headers, Interceptor, PropagateHeaders, WorkflowTaskInfo,
};
pub use machine::{ActivityCancellation, ChildCancellation, NonDeterminism, TaskFailure};
#[cfg(feature = "testing")]
pub use testing::{HistoryError, ReplayError, Replayer, TestEnvironment};

pub use name::{
    Activity, ByBlockingFunction, ByFunction, ByHandle, ByText, IntoActivity, IntoWorkflow,
    Workflow,
};
pub use payload::{PayloadError, Value, from_payload, from_payloads, to_payload, to_payloads};
pub use worker::{RegisteredTwice, ResourceTargets, Shutdown, Worker, WorkerError, WorkerOptions};
pub use workflow::{
    ActivityCall, ActivityFuture, CancellationScope, Cancelled, ChildCall, ChildFuture,
    ContinueAsNew, ExternalWorkflow, LocalActivityCall, LocalActivityFuture, Saga, SagaError,
    Signals, Spawned, StartedChild, Timer, UpdateRegistration, WaitUntil, WorkflowContext,
    WorkflowInfo,
};

pub use fermata_proto::common::{Payload, Payloads, RetryPolicy};
pub use fermata_proto::enums::{
    ParentClosePolicy, RetryState, TimeoutType, WorkflowExecutionStatus, WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
};
pub use fermata_proto::failure::{Failure, FailureFailureInfo};
pub use fermata_proto::time::Timestamp;
/// Waits for the first of several futures, looking at them in the order in which they stand: safe in workflows.
pub use futures::select_biased as select;
