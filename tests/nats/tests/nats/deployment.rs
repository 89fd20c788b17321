//! A Fermata on a nats-server, and ways to look at it.

use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::hello::{Hello, PROTOCOL_VERSION, Welcome, Welcomed};
use fermata_proto::rpc::{Answer, Call, Request};
use fermata_proto::subjects;
use fermata_test_support::{Fermata, NatsServer, wait_for};
use serde_json::Value;

pub const SOON: Duration = Duration::from_secs(60);

pub struct Deployment {
    pub fermata: Fermata,
    pub client: async_nats::Client,
    pub jetstream: jetstream::Context,
    // Last: the server ends after those who use it.
    pub nats: NatsServer,
}

impl Deployment {
    pub async fn start() -> Self {
        Self::start_on(NatsServer::start().await).await
    }

    pub async fn start_on(nats: NatsServer) -> Self {
        let fermata = Fermata::dev_on(&nats.url()).start().await;
        let client = nats.client().await;
        Self {
            fermata,
            jetstream: jetstream::new(client.clone()),
            client,
            nats,
        }
    }

    /// Says hello as a program that knows nothing but the protocol.
    pub async fn hello(&self, hello: &Hello) -> Welcomed {
        let reply = self
            .client
            .request(subjects::HELLO, codec::encode(hello))
            .await
            .unwrap();
        codec::decode(&reply.payload).unwrap()
    }

    pub async fn welcome(&self, task_queue: &str) -> Welcome {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            namespace: "default".to_owned(),
            task_queue: task_queue.to_owned(),
        };
        self.hello(&hello).await.unwrap()
    }

    pub async fn call(&self, welcome: &Welcome, workflow_id: &str, request: Request) -> Answer {
        let call = Call {
            namespace_id: welcome.namespace_id.clone(),
            workflow_id: workflow_id.into(),
            wait_ms: 0,
            request,
        };
        let reply = self
            .client
            .request(subjects::CALL, codec::encode(&call))
            .await
            .unwrap();
        codec::decode(&reply.payload).unwrap()
    }

    /// Publishes to the inbox, as any program would, and waits for JetStream's acknowledgement.
    pub async fn publish(&self, body: impl Into<Bytes>) {
        self.publish_with(async_nats::HeaderMap::new(), body).await;
    }

    pub async fn publish_with(&self, headers: async_nats::HeaderMap, body: impl Into<Bytes>) {
        self.jetstream
            .publish_with_headers("fm.inbox.default", headers, body.into())
            .await
            .unwrap()
            .await
            .unwrap();
    }

    /// GET of the REST API.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let url = format!(
            "http://{}/api/v1/namespaces/default/{path}",
            self.fermata.http_address()
        );
        get(url).await
    }

    /// The types of all events of a workflow's current run.
    pub async fn event_types(&self, workflow_id: &str) -> Vec<String> {
        let events = self.events(workflow_id).await;
        let kind = |event: &Value| event["eventType"].as_str().unwrap_or_default().to_owned();
        events.iter().map(kind).collect()
    }

    pub async fn events(&self, workflow_id: &str) -> Vec<Value> {
        let path = format!("workflows/{workflow_id}/history");
        let history = self.get(&path).await.unwrap_or_default();
        let events = history["history"]["events"].as_array();
        events.cloned().unwrap_or_default()
    }

    /// Waits until a workflow's current run has an event of this type.
    pub async fn wait_for_event(&self, workflow_id: &str, event_type: &str) {
        let what = format!("{event_type} in {workflow_id}");
        wait_for(&what, SOON, async || {
            let types = self.event_types(workflow_id).await;
            types.iter().any(|kind| kind == event_type).then_some(())
        })
        .await;
    }

    /// How many runs there are of workflow ids that begin so.
    pub async fn count(&self, prefix: &str) -> i64 {
        let query = format!("WorkflowId%20STARTS_WITH%20%22{prefix}%22");
        let path = format!("workflow-count?query={query}");
        let counted = self.get(&path).await.unwrap_or_default();
        let count = counted["count"].as_str().map(str::to_owned);
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Messages of the inbox that came to this end, as the metric has it.
    pub async fn inbox_outcomes(&self, outcome: &str) -> f64 {
        inbox_outcomes(&self.fermata, outcome).await
    }

    /// Messages that the inbox still holds.
    pub async fn inbox_length(&self) -> u64 {
        let mut stream = self
            .jetstream
            .get_stream(subjects::INBOX_STREAM)
            .await
            .unwrap();
        stream.info().await.unwrap().state.messages
    }

    pub async fn wait_until_the_inbox_is_empty(&self) {
        wait_for("empty inbox", SOON, async || {
            (self.inbox_length().await == 0).then_some(())
        })
        .await;
    }
}

/// As [`Deployment::inbox_outcomes`], of one process.
pub async fn inbox_outcomes(fermata: &Fermata, outcome: &str) -> f64 {
    let url = format!("http://{}/metrics", fermata.http_address());
    let text = get_text(url).await.unwrap_or_default();
    let label = format!("outcome=\"{outcome}\"");
    let values = text
        .lines()
        .filter(|line| line.starts_with("fermata_inbox_requests_total") && line.contains(&label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

async fn get(url: String) -> Option<Value> {
    serde_json::from_str(&get_text(url).await?).ok()
}

async fn get_text(url: String) -> Option<String> {
    let asked = tokio::task::spawn_blocking(move || {
        let mut response = ureq::get(url).call().ok()?;
        response.body_mut().read_to_string().ok()
    });
    asked.await.ok()?
}
