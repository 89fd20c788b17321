//! Durable requests: what any NATS client can publish to [`crate::subjects::inbox`] with a plain publish.
//!
//! The MessagePack form is this enum; the JSON form has the same names and Temporal's JSON of the same messages. Which requests
//! there are: those that make sense without an answer. Published and stored: names never change.

use serde::{Deserialize, Serialize};

use crate::service::*;

/// One message of the inbox. The namespace is the subject's; `namespace` fields inside are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InboxRequest {
    StartWorkflowExecution(Box<StartWorkflowExecutionRequest>),
    SignalWorkflowExecution(Box<SignalWorkflowExecutionRequest>),
    SignalWithStartWorkflowExecution(Box<SignalWithStartWorkflowExecutionRequest>),
    RequestCancelWorkflowExecution(Box<RequestCancelWorkflowExecutionRequest>),
}

/// Header: a subject on which the sender hears of a refusal.
pub const REFUSALS_TO_HEADER: &str = "Fermata-Refusals-To";
/// Headers of a refused request in [`crate::subjects::REFUSED_STREAM`]: the sort of refusal and its words, the request id, and
/// where it was published.
pub const REFUSAL_KIND_HEADER: &str = "Fermata-Refusal-Kind";
pub const REFUSAL_HEADER: &str = "Fermata-Refusal";
pub const REQUEST_ID_HEADER: &str = "Fermata-Request-Id";
pub const SUBJECT_HEADER: &str = "Fermata-Subject";
