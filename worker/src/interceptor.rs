//! What stands around the work of a client and a worker: spans, measurements, headers that go along.
//!
//! Every method does nothing unless it is written. They run inline and must not block. Deliberately absent: changing
//! arguments or results, which is the [`crate::PayloadCodec`]'s.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fermata_proto::common::{Header, Payload};
use fermata_proto::rpc::Request;
use fermata_proto::service::{
    ExecuteMultiOperationRequestOperationOperation as Operation, UpdateWorkflowExecutionRequest,
};
use tracing::Span;

use crate::activity::ActivityInfo;

/// Context that travels with workflows and activities, by name; not encoded by a codec.
pub type Headers = BTreeMap<String, Payload>;

/// What a client sends out with headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCall {
    Start,
    SignalWithStart,
    Signal,
    Query,
    Update,
    /// Of the headers of the workflow that may be started; the update goes as [`Self::Update`].
    UpdateWithStart,
}

/// How an attempt ended, as far as its worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    Completed,
    /// Somebody else completes it.
    Detached,
    Failed,
    Cancelled,
    /// Its time was over before it was.
    TimedOut,
}

/// One workflow task as its worker sees it.
#[derive(Debug, Clone, Default)]
pub struct WorkflowTaskInfo {
    pub workflow_id: String,
    pub run_id: String,
    pub workflow_type: String,
    pub task_queue: String,
    /// From 1.
    pub attempt: i32,
    pub is_query: bool,
}

/// See the module.
pub trait Interceptor: Send + Sync + 'static {
    /// Before a client's request is sent: adds to the headers that go along.
    fn client_headers(&self, _call: ClientCall, _workflow_id: &str, _headers: &mut Headers) {}

    /// The span in which an attempt runs.
    fn activity_span(&self, _info: &ActivityInfo) -> Span {
        Span::none()
    }

    fn activity_ended(&self, _info: &ActivityInfo, _outcome: AttemptOutcome, _took: Duration) {}

    /// The span in which a workflow task is worked on. The code itself runs on another thread, for many workflows.
    fn workflow_task_span(&self, _info: &WorkflowTaskInfo) -> Span {
        Span::none()
    }

    fn workflow_task_ended(&self, _info: &WorkflowTaskInfo, _took: Duration) {}

    /// Headers of what a workflow schedules (activities, children, signals to others): `inherited` are those that it was
    /// started with, `headers` those that its code gave. Must depend on nothing else.
    fn workflow_headers(&self, _inherited: &Headers, _headers: &mut Headers) {}
}

/// Hands headers on by name: a workflow's to its activities and children. What code gives by that name stands.
#[derive(Debug, Clone)]
pub struct PropagateHeaders {
    names: Vec<String>,
}

impl PropagateHeaders {
    pub fn named(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
        }
    }
}

impl Interceptor for PropagateHeaders {
    fn workflow_headers(&self, inherited: &Headers, headers: &mut Headers) {
        for name in &self.names {
            if let Some(value) = inherited.get(name) {
                headers.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

fn header_of(request: &mut UpdateWorkflowExecutionRequest) -> Option<&mut Option<Header>> {
    let input = request.request.as_mut()?.input.as_mut()?;
    Some(&mut input.header)
}

/// All of a client's, the first added outermost.
#[derive(Clone, Default)]
pub(crate) struct Interceptors(pub Vec<std::sync::Arc<dyn Interceptor>>);

impl fmt::Debug for Interceptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} interceptors", self.0.len())
    }
}

impl Interceptors {
    /// Adds headers to a client's request.
    pub fn on_request(&self, workflow_id: &str, request: &mut Request) {
        if self.0.is_empty() {
            return;
        }
        if let Request::ExecuteMultiOperation(request) = request {
            for operation in &mut request.operations {
                let (call, header) = match &mut operation.operation {
                    Some(Operation::StartWorkflow(start)) => {
                        (ClientCall::UpdateWithStart, &mut start.header)
                    }
                    Some(Operation::UpdateWorkflow(update)) => match header_of(update) {
                        Some(header) => (ClientCall::Update, header),
                        None => continue,
                    },
                    None => continue,
                };
                self.on_header(call, workflow_id, header);
            }
            return;
        }
        let (call, header) = match request {
            Request::UpdateWorkflowExecution(request) => match header_of(request) {
                Some(header) => (ClientCall::Update, header),
                None => return,
            },
            Request::StartWorkflowExecution(request) => (ClientCall::Start, &mut request.header),
            Request::SignalWithStartWorkflowExecution(request) => {
                (ClientCall::SignalWithStart, &mut request.header)
            }
            Request::SignalWorkflowExecution(signal) => {
                (ClientCall::Signal, &mut signal.request.header)
            }
            Request::QueryWorkflow(request) => match &mut request.query {
                Some(query) => (ClientCall::Query, &mut query.header),
                None => return,
            },
            _ => return,
        };
        self.on_header(call, workflow_id, header);
    }

    fn on_header(&self, call: ClientCall, workflow_id: &str, header: &mut Option<Header>) {
        let mut fields = header.take().unwrap_or_default().fields;
        for interceptor in &self.0 {
            interceptor.client_headers(call, workflow_id, &mut fields);
        }
        if !fields.is_empty() {
            *header = Some(Header { fields });
        }
    }

    /// All spans, each within the one before.
    pub fn span(&self, of: impl Fn(&dyn Interceptor) -> Span) -> Vec<Span> {
        self.0
            .iter()
            .map(|interceptor| of(&**interceptor))
            .collect()
    }

    pub fn each(&self, tell: impl Fn(&dyn Interceptor)) {
        self.0.iter().for_each(|interceptor| tell(&**interceptor));
    }
}
