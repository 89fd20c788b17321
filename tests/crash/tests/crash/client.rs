//! A client that repeats what is not acknowledged, always with the same request id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::HistoryEventFilterType;
use fermata_proto::event::HistoryEvent;
use fermata_proto::ids::{NamespaceId, WorkflowId};
use fermata_proto::rpc::{Rejection, RejectionKind, Request, Response};
use fermata_proto::service::GetWorkflowExecutionHistoryRequest;
use fermata_transport::{Options, Transport};
use serde_json::Value;
use tokio::time::Instant;

use crate::ClosedRun;
use crate::work::ELSEWHERE;

pub const DEFAULT: &str = "default";
/// One try; short, so that many are cut off by a kill and sent again.
const TRY_MAX: Duration = Duration::from_secs(3);
/// One wait for the end of a run.
const POLL_MAX: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
const CONNECT_MAX: Duration = Duration::from_secs(30);
const PAGE_SIZE: i32 = 1_000;

pub struct Client {
    transport: Transport,
    deadline: Instant,
    /// Workflows that were started and have not ended.
    pub in_flight: Arc<AtomicUsize>,
    repeats: AtomicUsize,
}

impl Client {
    /// Connects; calls are repeated until `deadline`.
    pub async fn connect(nats_url: &str, deadline: Instant) -> Self {
        let transport = Transport::connect(&Options {
            servers: nats_url.to_owned(),
            name: "crash-test".to_owned(),
            wait: CONNECT_MAX,
        })
        .await
        .expect("the deployment is there");
        Self {
            transport,
            deadline,
            in_flight: Arc::default(),
            repeats: AtomicUsize::new(0),
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Calls that were sent more than once by this client; the transport below repeats more.
    pub fn repeats(&self) -> usize {
        self.repeats.load(Relaxed)
    }

    /// Sends `request` until it is answered.
    ///
    /// # Errors
    /// The refusal, if it is one that repeating cannot change, or the last one before the deadline.
    pub async fn ask(
        &self,
        namespace: &str,
        workflow_id: &str,
        request: Request,
    ) -> Result<Response, Rejection> {
        self.ask_for(TRY_MAX, namespace, workflow_id, request).await
    }

    async fn ask_for(
        &self,
        wait: Duration,
        namespace: &str,
        workflow_id: &str,
        request: Request,
    ) -> Result<Response, Rejection> {
        let namespace_id = self.namespace_id(namespace);
        let workflow_id = WorkflowId::from(workflow_id);
        loop {
            let answer = self
                .transport
                .call(&namespace_id, &workflow_id, wait, request.clone())
                .await;
            match answer {
                Err(rejection)
                    if matches!(
                        rejection.kind,
                        RejectionKind::Unavailable
                            | RejectionKind::DeadlineExceeded
                            | RejectionKind::ResourceExhausted
                    ) && Instant::now() < self.deadline =>
                {
                    self.repeats.fetch_add(1, Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    fn namespace_id(&self, name: &str) -> NamespaceId {
        let record = self.transport.namespaces().by_name(name);
        record.expect("both namespaces are known").id.clone()
    }

    /// Waits for the end of a run: its last event.
    ///
    /// # Errors
    /// In words, if it has not ended at the deadline.
    pub async fn close_event(
        &self,
        namespace: &str,
        workflow_id: &str,
        run_id: &str,
    ) -> Result<HistoryEvent, String> {
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: namespace.to_owned(),
            execution: Some(execution(workflow_id, run_id)),
            wait_new_event: true,
            history_event_filter_type: HistoryEventFilterType::CloseEvent,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        loop {
            let poll = Request::GetWorkflowExecutionHistory(Box::new(request.clone()));
            let answer = self.ask_for(POLL_MAX, namespace, workflow_id, poll).await;
            let page = match answer {
                Ok(Response::GetWorkflowExecutionHistory(page)) => page,
                other => return Err(format!("wait for {workflow_id} {run_id}: {other:?}")),
            };
            let mut events = page.history.unwrap_or_default().events;
            if let Some(event) = events.pop() {
                return Ok(event);
            }
            if Instant::now() >= self.deadline {
                return Err(self.stuck(namespace, workflow_id, run_id).await);
            }
            request.next_page_token = page.next_page_token;
        }
    }

    /// How far a run came that has not ended.
    async fn stuck(&self, namespace: &str, workflow_id: &str, run_id: &str) -> String {
        let history = match self.history(namespace, workflow_id, run_id).await {
            Ok(events) => {
                let from = events.len().saturating_sub(6);
                format!("{:#?}", &events[from..])
            }
            Err(problem) => problem,
        };
        format!("{workflow_id} {run_id} has not ended; the last events are {history}")
    }

    /// All events of a run; of the current one if `run_id` is empty.
    ///
    /// # Errors
    /// In words.
    pub async fn history(
        &self,
        namespace: &str,
        workflow_id: &str,
        run_id: &str,
    ) -> Result<Vec<HistoryEvent>, String> {
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: namespace.to_owned(),
            execution: Some(execution(workflow_id, run_id)),
            maximum_page_size: PAGE_SIZE,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let mut events = Vec::new();
        loop {
            let read = Request::GetWorkflowExecutionHistory(Box::new(request.clone()));
            let page = match self.ask(namespace, workflow_id, read).await {
                Ok(Response::GetWorkflowExecutionHistory(page)) => page,
                other => return Err(format!("read {workflow_id} {run_id}: {other:?}")),
            };
            events.extend(page.history.unwrap_or_default().events);
            if page.next_page_token.is_empty() {
                return Ok(events);
            }
            request.next_page_token = page.next_page_token;
        }
    }
}

pub fn execution(workflow_id: &str, run_id: &str) -> WorkflowExecution {
    WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    }
}

/// All runs that the REST api at `address` lists, by run id: the workflow id and the status in Temporal's words.
pub async fn listed(address: &str) -> Option<BTreeMap<String, (String, String)>> {
    let mut runs = BTreeMap::new();
    for namespace in [DEFAULT, ELSEWHERE] {
        let mut token = String::new();
        loop {
            let url = format!("http://{address}/api/v1/namespaces/{namespace}/workflows");
            let parameter = token.clone();
            let page: Value = tokio::task::spawn_blocking(move || {
                let call = ureq::get(&url)
                    .query("pageSize", "1000")
                    .query("nextPageToken", &parameter);
                call.call()?.body_mut().read_json()
            })
            .await
            .ok()?
            .ok()?;
            for run in page["executions"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let execution = &run["execution"];
                runs.insert(
                    text(&execution["runId"]),
                    (text(&execution["workflowId"]), text(&run["status"])),
                );
            }
            token = page["nextPageToken"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if token.is_empty() {
                break;
            }
        }
    }
    Some(runs)
}

/// Where a list and the histories do not agree.
pub fn differences(
    listed: &BTreeMap<String, (String, String)>,
    runs: &BTreeMap<String, ClosedRun>,
) -> Option<Vec<String>> {
    let mut differences = Vec::new();
    for (run_id, run) in runs {
        let status = format!("{:?}", run.status);
        match listed.get(run_id) {
            None => differences.push(format!("{} {run_id} is missing", run.workflow_id)),
            Some((_, listed))
                if listed.replace('_', "").to_lowercase()
                    != format!("workflowexecutionstatus{}", status.to_lowercase()) =>
            {
                differences.push(format!(
                    "{} {run_id} is {listed}, not {status}",
                    run.workflow_id
                ));
            }
            Some(_) => {}
        }
    }
    for (run_id, (workflow_id, status)) in listed {
        if !runs.contains_key(run_id) {
            differences.push(format!("{workflow_id} {run_id} ({status}) is one too many"));
        }
    }
    Some(differences)
}
