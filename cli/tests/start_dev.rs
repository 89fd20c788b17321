//! `fermata server start-dev`, as the SDKs start it and end it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fermata_test_support::{fermata_binary, free_port, nats_server_program, wait_for};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

struct Server {
    child: Child,
    http: String,
}

impl Server {
    /// Starts one whose temporary folder comes to lie in `folder`, and waits until it says that it is ready.
    fn start(folder: &Path, args: &[&str]) -> Self {
        let port = free_port().to_string();
        let mut child = Command::new(fermata_binary())
            .args(["server", "start-dev", "--headless", "--port", &port])
            .args(args)
            .env("TMPDIR", folder)
            .env("FERMATA_NATS_SERVER", nats_server_program())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let http = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.trim().strip_prefix("HTTP   ")?.to_owned()));
        Self {
            child,
            http: http.expect("the address of HTTP"),
        }
    }

    fn get(&self, path: &str) -> Value {
        let mut answer = ureq::get(format!("{}{path}", self.http)).call().unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The temporary folders of servers in `folder`.
fn left(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with("fermata-dev-"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_no_broker_and_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let data = left(folder.path());
    assert_eq!(data.len(), 1);
    let record = folder.path().join(&data[0]).join("nats-server.json");
    let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    let port = record["port"].as_u64().unwrap();
    let answers = || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok();
    assert!(answers());

    server.child.kill().unwrap();
    server.child.wait().unwrap();
    wait_for("end of broker and folder", SOON, async || {
        (left(folder.path()).is_empty() && !answers()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_there_when_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = free_port().to_string();
    let server = Server::start(
        folder.path(),
        &[
            "--namespace=own",
            "--search-attribute=Colour=Keyword",
            "--metrics-port",
            &metrics,
            "--dynamic-config-value=limit.blobSize.error=4096",
            "--dynamic-config-value=history.noSuchThing=1",
            "--ui-port=1",
        ],
    );
    let own = server.get("/api/v1/namespaces/own");
    assert_eq!(own["namespaceInfo"]["limits"]["blobSizeLimitError"], "4096");
    let attributes = server.get("/api/v1/namespaces/own/search-attributes");
    assert_eq!(
        attributes["customAttributes"]["Colour"],
        "INDEXED_VALUE_TYPE_KEYWORD"
    );
    server.get("/api/v1/namespaces/default");

    let pages = format!("http://127.0.0.1:{metrics}/metrics");
    let mut text = ureq::get(pages).call().unwrap();
    let text = text.body_mut().read_to_string().unwrap();
    assert!(text.contains("fermata_api_requests_total"), "{text}");
    let told = fs::read_to_string(folder.path().join("stderr")).unwrap();
    assert!(told.contains("history.noSuchThing"), "{told}");
    assert!(told.contains("--ui-port"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("kept");
    let args = [
        "--db-filename",
        database.to_str().unwrap(),
        "--namespace=own",
    ];
    let first = Server::start(folder.path(), &args);
    let before = first.get("/api/v1/namespaces/own");
    drop(first);
    let second = Server::start(folder.path(), &args);
    let after = second.get("/api/v1/namespaces/own");
    assert_eq!(before["namespaceInfo"]["id"], after["namespaceInfo"]["id"]);
    assert!(left(folder.path()).is_empty());
    // In good order, so that its broker ends with it.
    let id = rustix::process::Pid::from_child(&second.child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    wait_for("end of the broker", SOON, async || {
        (!database.join("nats-server.json").exists()).then_some(())
    })
    .await;
}
