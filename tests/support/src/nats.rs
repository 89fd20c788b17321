//! A real nats-server for one test.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, tail};
use crate::{free_port, wait_for};

/// Go's soft limit. Far above what tests need: a server near its limit does little but collect garbage.
const MEMORY_LIMIT: &str = "3GiB";
const START_MAX: Duration = Duration::from_secs(30);
/// Another process may take the port between [`free_port`] and the server's bind.
const PORT_ATTEMPTS_MAX: usize = 5;

/// The nats-server to run: what `scripts/nats-server` finds or fetches.
///
/// # Panics
/// If there is none; the message is the script's.
pub fn nats_server_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = env::var_os("FERMATA_NATS_SERVER") {
            return PathBuf::from(given);
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/nats-server");
        let output = Command::new(script)
            .output()
            .unwrap_or_else(|error| panic!("run {script}: {error}"));
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}

/// Settings of a [`NatsServer`]; the defaults are those that Fermata asks for in production.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    jetstream: bool,
    max_payload_bytes: u64,
    denied: Option<String>,
    user: Option<(String, String)>,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            jetstream: true,
            max_payload_bytes: 8 << 20,
            denied: None,
            user: None,
        }
    }
}

impl NatsOptions {
    /// Limits messages to `bytes` instead of 8 MiB.
    #[must_use]
    pub fn max_payload_bytes(mut self, bytes: u64) -> Self {
        self.max_payload_bytes = bytes;
        self
    }

    /// Drops what anybody publishes there: acknowledgements that get lost, say.
    #[must_use]
    pub fn deny_publish(mut self, subjects: &str) -> Self {
        self.denied = Some(subjects.to_owned());
        self
    }

    /// Lets in nobody but this user; [`NatsServer::client`] says who it is.
    #[must_use]
    pub fn only_user(mut self, user: &str, password: &str) -> Self {
        self.user = Some((user.to_owned(), password.to_owned()));
        self
    }

    async fn connect(&self, url: &str) -> Result<async_nats::Client, async_nats::ConnectError> {
        let mut options = async_nats::ConnectOptions::new();
        if let Some((user, password)) = &self.user {
            options = options.user_and_password(user.clone(), password.clone());
        }
        options.connect(url).await
    }

    /// A server without JetStream.
    #[must_use]
    pub fn without_jetstream(mut self) -> Self {
        self.jetstream = false;
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(self) -> NatsServer {
        let folder = tempfile::Builder::new()
            .prefix("fermata-nats-")
            .tempdir()
            .expect("the temp folder is writable");
        let mut server = NatsServer {
            port: free_port(),
            folder,
            options: self,
            process: None,
        };
        for _ in 1..PORT_ATTEMPTS_MAX {
            if server.try_start().await {
                return server;
            }
            server.port = free_port();
        }
        server.start_again().await;
        server
    }
}

/// A running nats-server with a store of its own, ended and removed on drop.
pub struct NatsServer {
    // Before `folder`: the server ends before its store goes.
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    options: NatsOptions,
}

impl NatsServer {
    /// JetStream on files, fsync before every acknowledgement, messages up to 8 MiB.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start() -> Self {
        NatsOptions::default().start().await
    }

    /// To start one with other settings.
    pub fn options() -> NatsOptions {
        NatsOptions::default()
    }

    /// `nats://127.0.0.1:<port>`; stays the same over [`Self::restart`].
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A new connection.
    ///
    /// # Panics
    /// If it cannot be made.
    pub async fn client(&self) -> async_nats::Client {
        let url = self.url();
        self.options
            .connect(&url)
            .await
            .unwrap_or_else(|error| panic!("connect to {url}: {error}"))
    }

    /// Ends it in good order (SIGTERM). The store stays for [`Self::restart`].
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.terminate();
        }
    }

    /// Ends it with SIGKILL. The store stays for [`Self::restart`].
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it on the same port and store, after [`Self::stop`] if it still runs, and waits until it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn restart(&mut self) {
        self.stop();
        self.start_again().await;
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing is answered.
    pub fn pause(&self) {
        if let Some(process) = &self.process {
            process.pause();
        }
    }

    /// Ends a [`Self::pause`].
    pub fn resume(&self) {
        if let Some(process) = &self.process {
            process.resume();
        }
    }

    /// Ends [`NatsOptions::deny_publish`] with the next start.
    pub fn allow_publish(&mut self) {
        self.options.denied = None;
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("nats-server.log")
    }

    async fn start_again(&mut self) {
        assert!(
            self.try_start().await,
            "nats-server ended at start:\n{}",
            tail(&self.log_path())
        );
    }

    /// False if the process ended by itself, most likely for want of its port.
    async fn try_start(&mut self) -> bool {
        let config = self.folder.path().join("nats-server.conf");
        fs::write(&config, self.configuration()).expect("the temp folder is writable");
        let log = self.log_path();
        let mut command = Command::new(nats_server_program());
        command
            .arg("--config")
            .arg(&config)
            .env("GOMEMLIMIT", MEMORY_LIMIT);
        let mut process = Process::spawn(&mut command, &log, self.folder.path());
        let url = self.url();
        let options = &self.options;
        let jetstream = options.jetstream;
        let up = wait_for("answer from nats-server", START_MAX, async || {
            if process.ended().is_some() {
                return Some(false);
            }
            let client = options.connect(&url).await.ok()?;
            if jetstream {
                let context = async_nats::jetstream::new(client);
                context.query_account().await.ok()?;
            }
            Some(true)
        })
        .await;
        self.process = up.then_some(process);
        up
    }

    fn configuration(&self) -> String {
        let port = self.port;
        let max_payload = self.options.max_payload_bytes;
        let mut text = format!(
            "server_name: fermata-test-{port}\nhost: 127.0.0.1\nport: {port}\nmax_payload: {max_payload}\n"
        );
        if let Some(denied) = &self.options.denied {
            let permissions = format!(r#"{{ publish: {{ allow: [">"], deny: [{denied:?}] }} }}"#);
            text += &format!(
                "authorization {{\n  users: [{{ user: anybody, password: anybody, permissions: {permissions} }}]\n}}\nno_auth_user: anybody\n"
            );
        }
        if let Some((user, password)) = &self.options.user {
            text += &format!(
                "authorization {{\n  users: [{{ user: {user:?}, password: {password:?} }}]\n}}\n"
            );
        }
        if self.options.jetstream {
            let store = self.folder.path().join("store");
            text += &format!(
                "jetstream {{\n  store_dir: {store:?}\n  sync_interval: always\n  max_memory_store: 1GB\n}}\n"
            );
        }
        text
    }
}
