//! The operator's commands, as a person types them, on a real deployment.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fermata_proto::presence::WorkerRecord;
use fermata_test_support::{Fermata, NatsServer, fermata_binary, wait_for};
use fermata_transport::{Options, Transport};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

struct Deployment {
    fermata: Fermata,
    // Last: the server ends after those who use it.
    nats: NatsServer,
}

impl Deployment {
    async fn start() -> Self {
        let nats = NatsServer::start().await;
        let fermata = Fermata::dev_on(&nats.url()).start().await;
        Self { fermata, nats }
    }

    fn command(&self, words: &str) -> Command {
        let address = self.fermata.http_address();
        let (_, port) = address.rsplit_once(':').unwrap();
        let mut command = Command::new(fermata_binary());
        command
            .args(words.split_whitespace())
            .env("FERMATA_NATS", self.nats.url())
            .env("FERMATA_HTTP_PORT", port)
            .env("FERMATA_ADDRESS", format!("http://{address}"));
        command
    }

    fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// Its output, if it went well.
    fn text(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{words} --output json"))).unwrap()
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_a_deployment_does() {
    let deployment = Deployment::start().await;
    assert_eq!(deployment.text("health"), "ready\n");
    deployment.text("workflow start --type Order --task-queue orders --workflow-id order-1");

    let cluster = deployment.json("operator cluster");
    assert_eq!(cluster["partitions"], 4);
    assert_eq!(cluster["engines"].as_array().unwrap().len(), 1);
    assert!(cluster["storageBytes"].as_u64().unwrap() > 0);

    let answer = deployment.json("operator partitions");
    let partitions = answer["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 4);
    for partition in partitions {
        assert_eq!(partition["owner"], cluster["engines"][0]["id"]);
        assert_eq!(partition["answers"], true, "{partition}");
    }

    let queues = deployment.json("operator task-queues");
    assert_eq!(queues["taskQueues"].as_array().unwrap().len(), 1);
    let queue = &queues["taskQueues"][0];
    assert_eq!(
        (&queue["taskQueue"], &queue["kind"], &queue["waiting"]),
        (&"orders".into(), &"workflow".into(), &1.into())
    );
    let table = deployment.text("operator task-queues");
    assert!(table.contains("no worker asks for these"), "{table}");
    let workers = deployment.text("operator workers --task-queue orders");
    assert!(workers.contains("no worker announces itself"), "{workers}");
    assert!(
        workers.contains("no poller of the queue is known"),
        "{workers}"
    );

    // As Rust workers do it.
    let options = Options {
        servers: deployment.nats.url(),
        ..Options::default()
    };
    let transport = Transport::connect(&options).await.unwrap();
    let namespace = transport.namespaces().by_name("default").unwrap();
    let record = WorkerRecord {
        id: "w-1".to_owned(),
        identity: "packer@host".to_owned(),
        namespace_id: namespace.id.to_string(),
        task_queue: "orders".to_owned(),
        ttl_ms: 1_000,
        takes_activities: true,
    };
    transport.announce_worker(&record).await.unwrap();
    let workers = deployment.json("operator workers");
    let worker = &workers["workers"][0];
    assert_eq!(
        (
            &worker["identity"],
            &worker["namespace"],
            &worker["taskQueue"]
        ),
        (&"packer@host".into(), &"default".into(), &"orders".into())
    );
    assert_eq!(worker["lostAfterSeconds"], 1.0);
    let silent = worker["silentSeconds"].as_f64().unwrap();
    assert!((0.0..SOON.as_secs_f64()).contains(&silent), "{worker}");
    assert!(workers.get("pollers").is_none());
    wait_for("a worker that is lost", SOON, async || {
        let table = deployment.text("operator workers");
        (table.contains("packer@host") && table.contains(": lost")).then_some(())
    })
    .await;
    let others = deployment.json("operator workers --task-queue elsewhere");
    assert_eq!(others["workers"], serde_json::json!([]));
    assert_eq!(others["pollers"], serde_json::json!([]));
    transport.retire_worker("w-1").await.unwrap();
    let none = deployment.text("operator workers");
    assert!(none.contains("no worker announces itself"), "{none}");

    let report = deployment.json("operator verify");
    assert_eq!(report["problems"], 0, "{report}");
    let counted: u64 = report["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partition| {
            partition["transitions"].as_u64().unwrap() + partition["openRuns"].as_u64().unwrap()
        })
        .sum();
    // In the log, or already in the state store.
    assert!(counted >= 1, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_a_damaged_record_and_fails() {
    let deployment = Deployment::start().await;
    let jetstream = async_nats::jetstream::new(deployment.nats.client().await);
    let subject = "fm.state.2.run.00000000-0000-0000-0000-000000000000";
    let stored = jetstream.publish(subject, "no record of ours".into());
    stored.await.unwrap().await.unwrap();

    let output = deployment.run("operator verify --partition 2");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.contains(subject), "{table}");
    assert!(table.contains("checksum"), "{table}");
    deployment.text("operator verify --partition 1");
    let refused = deployment.run("operator verify --partition 9");
    assert!(told(&refused).contains("the partitions 0 to 3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_an_engine_shows_and_so_does_a_nats_without_fermata() {
    let mut deployment = Deployment::start().await;
    deployment.fermata.kill();
    let output = deployment.run("operator partitions");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no: "));
    let unready = deployment.run("health");
    assert_eq!(unready.status.code(), Some(1));

    let empty = NatsServer::start().await;
    let output = deployment
        .command("operator cluster --nats")
        .arg(empty.url())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(told(&output).contains("has no Fermata yet"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_timeline_grows_until_the_run_ends() {
    let deployment = Deployment::start().await;
    deployment.text("workflow start --type Order --task-queue orders --workflow-id order-1");
    let mut follower = deployment
        .command("workflow show --workflow-id order-1 --follow")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || lines.next().map(Result::unwrap).unwrap_or_default();
    assert!(next().contains("workflow Order started"));
    deployment.text("workflow signal --workflow-id order-1 --name news --input 7");
    assert!(next().contains("signal news: 7"));
    deployment.text("workflow terminate --workflow-id order-1");
    assert!(next().contains("workflow execution terminated"));
    assert_eq!(next(), "");
    assert!(follower.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_workflow_is_gone() {
    let deployment = Deployment::start().await;
    deployment.text("workflow start --type Order --task-queue orders --workflow-id order-1");
    assert_eq!(
        deployment.text("workflow delete --workflow-id order-1"),
        "deleted: order-1\n"
    );
    wait_for("the workflow to be gone", SOON, async || {
        let output = deployment.run("workflow describe --workflow-id order-1");
        told(&output).contains("not found").then_some(())
    })
    .await;
    let again = deployment.run("workflow delete --workflow-id order-1");
    assert!(told(&again).contains("not found"), "{again:?}");
}

#[test]
fn every_shell_gets_completions_that_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(fermata_binary())
            .args(["completions", shell])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert!(text.contains("task-queues") && text.contains("terminate"));
    }
}
