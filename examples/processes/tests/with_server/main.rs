//! The commands of the examples page, as a reader types them, against a `fermata dev` on a real nats-server.
//!
//! `RECORD_HISTORIES=1 cargo test -p fermata-examples --test with_server` writes down the histories that
//! `tests/without_server/replay.rs` replays: when the code of a workflow has changed for good, and the old runs are gone.

mod stories;

use std::process::Stdio;
use std::time::Duration;

use fermata_test_support::{Fermata, NatsServer};
use fermata_worker::Client;
use tokio::process::{Child, Command};

/// Far more than any story takes.
const STORY_MAX: Duration = Duration::from_secs(60);

struct Stage {
    pub client: Client,
    // Before the broker, which it must not see go.
    _fermata: Fermata,
    nats: NatsServer,
}

impl Stage {
    async fn start() -> Self {
        let nats = NatsServer::start().await;
        let fermata = Fermata::dev_on(&nats.url()).start().await;
        let client = Client::connect(nats.url()).await.unwrap();
        Self {
            client,
            _fermata: fermata,
            nats,
        }
    }

    fn spawn(&self, program: &str, args: &[&str]) -> Child {
        Command::new(program)
            .args(args)
            .args(["--nats", &self.nats.url()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("start {program}: {error}"))
    }

    /// What the program says until its end, which must be a good one.
    async fn play(&self, program: &str, args: &[&str]) -> String {
        told(self.spawn(program, args)).await
    }

    async fn record(&self, workflow_id: &str, name: &str) {
        if std::env::var_os("RECORD_HISTORIES").is_some() {
            let file = format!("{}/tests/histories/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let handle = self.client.workflow::<()>(workflow_id);
            let history = handle.history().await.unwrap();
            std::fs::write(file, history.to_json() + "\n").unwrap();
        }
    }
}

async fn told(child: Child) -> String {
    let output = tokio::time::timeout(STORY_MAX, child.wait_with_output())
        .await
        .expect("an end in time")
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}:\n{text}\n{errors}",
        output.status
    );
    text
}
