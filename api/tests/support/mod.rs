//! A deployment without an engine: a real nats-server, and an owner of every partition that answers as a test says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, kv, stream};
use fermata_api::{Api, ApiOptions};
use fermata_proto::cluster::{CLUSTER_KEY, ClusterRecord};
use fermata_proto::enums::NamespaceState;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::{Answer, Call, Request};
use fermata_proto::visibility::VisibilityRecord;
use fermata_proto::{codec, subjects};
use fermata_test_support::NatsServer;
use fermata_transport::{Options, Transport};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const NAMESPACE_ID: &str = "11111111-1111-1111-1111-111111111111";
const PARTITIONS: u16 = 4;

/// What the owner was asked, and an api replica that asks it.
pub struct World {
    pub api: Api,
    pub http: std::net::SocketAddr,
    pub jetstream: jetstream::Context,
    calls: Arc<Mutex<Vec<Call>>>,
    // Last: the server ends after those who use it.
    pub nats: NatsServer,
}

impl World {
    /// Starts everything; `owner` answers each call.
    pub async fn start(owner: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        let nats = NatsServer::start().await;
        let client = nats.client().await;
        let jetstream = jetstream::new(client.clone());
        set_up(&jetstream).await;
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let mut requests = client.subscribe("fm.rpc.*").await.unwrap();
        let heard = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let call: Call = codec::decode(&message.payload).unwrap();
                let answer = owner(&call);
                heard.lock().unwrap().push(call);
                let reply = message.reply.unwrap();
                client.publish(reply, codec::encode(&answer)).await.unwrap();
            }
        });
        let options = Options {
            servers: nats.url(),
            ..Options::default()
        };
        let transport = Transport::connect(&options).await.unwrap();
        let listener = || TcpListener::bind("127.0.0.1:0");
        let http = listener().await.unwrap();
        let address = http.local_addr().unwrap();
        let options = ApiOptions {
            also_ready: Vec::new(),
            sizes: fermata_api::service::SizeLimits::default(),
            grpc: listener().await.unwrap(),
            http: Some(http),
            pages: None,
            visibility_file: None,
        };
        let api = fermata_api::start(transport, options, &prometheus::Registry::new()).unwrap();
        Self {
            api,
            http: address,
            jetstream,
            calls,
            nats,
        }
    }

    /// The requests that the owner has heard, with the workflow ids they were for.
    pub fn heard(&self) -> Vec<(String, Request)> {
        let calls = self.calls.lock().unwrap();
        let calls = calls.iter();
        calls
            .map(|call| (call.workflow_id.0.clone(), call.request.clone()))
            .collect()
    }

    pub async fn publish_visibility(&self, record: &VisibilityRecord) {
        let run_id = &record.info.execution.as_ref().unwrap().run_id;
        let subject = subjects::visibility(&record.namespace_id, run_id);
        let acknowledged = self.jetstream.publish(subject, codec::encode(record));
        acknowledged.await.unwrap().await.unwrap();
    }

    /// The status and body of a GET.
    pub async fn get(&self, path: &str) -> (u16, serde_json::Value) {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: fermata\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (
            status,
            serde_json::from_str(body).unwrap_or_else(|_| body.into()),
        )
    }
}

/// What an engine makes when it starts on an empty NATS.
async fn set_up(jetstream: &jetstream::Context) {
    let bucket = |name: &str| kv::Config {
        bucket: name.to_owned(),
        ..Default::default()
    };
    let namespace = NamespaceRecord {
        id: NAMESPACE_ID.into(),
        name: "default".to_owned(),
        state: NamespaceState::Registered,
        retention: Duration::from_secs(86_400),
        ..Default::default()
    };
    let namespaces = jetstream
        .create_key_value(bucket(subjects::NAMESPACES_BUCKET))
        .await
        .unwrap();
    namespaces
        .put(NAMESPACE_ID, codec::encode(&namespace))
        .await
        .unwrap();
    let cluster = ClusterRecord {
        id: "cluster".to_owned(),
        partitions: PARTITIONS,
    };
    let clusters = jetstream
        .create_key_value(bucket(subjects::CLUSTER_BUCKET))
        .await
        .unwrap();
    clusters
        .put(CLUSTER_KEY, codec::encode(&cluster))
        .await
        .unwrap();
    for (name, filter, retention) in [
        (
            subjects::TASKS_STREAM,
            subjects::TASKS_SUBJECTS,
            stream::RetentionPolicy::WorkQueue,
        ),
        (
            subjects::VISIBILITY_STREAM,
            subjects::VISIBILITY_SUBJECTS,
            stream::RetentionPolicy::Limits,
        ),
    ] {
        let config = stream::Config {
            name: name.to_owned(),
            subjects: vec![filter.to_owned()],
            retention,
            ..Default::default()
        };
        jetstream.create_stream(config).await.unwrap();
    }
}
