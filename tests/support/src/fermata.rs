//! A Fermata process for one test.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Process, tail};
use crate::{free_port, nats_server_program, wait_for};

const READY_MAX: Duration = Duration::from_secs(60);

/// The `fermata` binary of this build: `FERMATA_BIN`, or else built here, into the target folder that the test is in.
///
/// # Panics
/// If it does not build.
pub fn fermata_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = env::var_os("FERMATA_BIN") {
            return PathBuf::from(given);
        }
        let test = env::current_exe().expect("a test knows its own path");
        // .../target/debug/deps/name-hash, or .../target/debug/name for a tool
        let profile = test
            .ancestors()
            .skip(1)
            .find(|folder| !folder.ends_with("deps"))
            .expect("a test binary lies in a profile folder");
        let target = profile
            .parent()
            .expect("a profile folder lies in a target folder");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // The whole workspace, so that features come out as in `cargo test --workspace` and nothing is built twice.
        command
            .args(["build", "--quiet", "--workspace", "--bin", "fermata"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .env("CARGO_TARGET_DIR", target);
        if profile.ends_with("release") {
            command.arg("--release");
        }
        let status = command
            .status()
            .unwrap_or_else(|error| panic!("run cargo: {error}"));
        assert!(status.success(), "fermata does not build");
        profile.join("fermata")
    })
}

/// What to start as a [`Fermata`].
#[derive(Debug, Clone)]
pub struct FermataOptions {
    program: Option<PathBuf>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl FermataOptions {
    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Another binary than [`fermata_binary`].
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Starts it and waits until `/readyz` says yes.
    ///
    /// # Panics
    /// If it ends first, or takes longer than a minute.
    pub async fn start(self) -> Fermata {
        let mut fermata = self.spawn();
        fermata.wait_until_ready().await;
        fermata
    }

    /// Starts it and does not wait.
    pub fn spawn(self) -> Fermata {
        let folder = tempfile::Builder::new()
            .prefix("fermata-test-")
            .tempdir()
            .expect("the temp folder is writable");
        let mut fermata = Fermata {
            process: None,
            folder,
            options: self,
            grpc_port: free_port(),
            http_port: free_port(),
        };
        fermata.start_again();
        fermata
    }
}

/// A running `fermata dev` or `fermata server`, with ports and a folder of its own, ended and removed on drop.
pub struct Fermata {
    process: Option<Process>,
    folder: TempDir,
    options: FermataOptions,
    grpc_port: u16,
    http_port: u16,
}

impl Fermata {
    /// `fermata dev` with a nats-server of its own, on a folder that stays over [`Self::restart`].
    pub fn dev() -> FermataOptions {
        Self::options("dev").arg("--nats-port").arg("0")
    }

    /// `fermata dev` on a running NATS.
    pub fn dev_on(nats_url: &str) -> FermataOptions {
        Self::options("dev").arg("--nats").arg(nats_url)
    }

    /// `fermata server` with these roles (`api`, `engine`, or both with a comma between) on a running NATS.
    pub fn server(roles: &str, nats_url: &str) -> FermataOptions {
        Self::options("server")
            .arg("--roles")
            .arg(roles)
            .arg("--nats")
            .arg(nats_url)
    }

    fn options(subcommand: &str) -> FermataOptions {
        FermataOptions {
            program: None,
            args: vec![subcommand.into()],
            env: Vec::new(),
        }
    }

    /// Where Temporal gRPC is served: `127.0.0.1:<port>`.
    pub fn grpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc_port)
    }

    /// Where REST, health and metrics are served: `127.0.0.1:<port>`.
    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http_port)
    }

    /// The process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// How it ended, if it ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::ended)
    }

    /// `kill -9`. Its folder stays for [`Self::restart`]; a nats-server that `dev` started goes on running.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and waits for the end. Gives nothing if it was not running.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        self.process.take().map(Process::terminate)
    }

    /// Starts it again on the same ports and folder, after [`Self::terminate`] if it still runs, and waits until it is
    /// ready.
    ///
    /// # Panics
    /// As [`FermataOptions::start`].
    pub async fn restart(&mut self) {
        self.terminate();
        self.start_again();
        self.wait_until_ready().await;
    }

    /// Freezes it (SIGSTOP), as a long pause of the machine would.
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

    /// Waits until `/readyz` says yes.
    ///
    /// # Panics
    /// If it ends first, or takes longer than a minute; with the end of its log.
    pub async fn wait_until_ready(&mut self) {
        let log = self.log_path();
        let http = self.http_address();
        let process = self.process.as_mut().expect("a process was started");
        let ended = tokio::time::timeout(
            READY_MAX,
            wait_for("answer from /readyz", READY_MAX * 2, async || {
                if let Some(status) = process.ended() {
                    return Some(Some(status));
                }
                (http_status(&http, "/readyz").await? == 200).then_some(None)
            }),
        )
        .await;
        match ended {
            Ok(None) => {}
            Ok(Some(status)) => panic!("fermata ended at start with {status}:\n{}", tail(&log)),
            Err(_) => panic!("fermata is not ready after {READY_MAX:?}:\n{}", tail(&log)),
        }
    }

    /// What it has written to standard output and error so far, over all restarts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("fermata.log")
    }

    /// Starts it on the same ports and folder, after [`Self::kill`] or its own end, and does not wait.
    pub fn start_again(&mut self) {
        let program = self.options.program.as_deref();
        let mut command = Command::new(program.unwrap_or_else(|| fermata_binary()));
        command
            .args(&self.options.args)
            .args(["--ip", "127.0.0.1"])
            .args(["--port", &self.grpc_port.to_string()])
            .args(["--http-port", &self.http_port.to_string()])
            .envs(self.options.env.iter().map(|(name, value)| (name, value)))
            .env("FERMATA_NATS_SERVER", nats_server_program());
        if self.options.args[0] == "dev" {
            command.arg("--data").arg(self.folder.path().join("data"));
        }
        self.process = Some(Process::spawn(
            &mut command,
            &self.log_path(),
            self.folder.path(),
        ));
    }
}

impl Drop for Fermata {
    fn drop(&mut self) {
        // After `kill`, the nats-server of `dev` is still there and would lose its folder under its feet: only a
        // Fermata that ends in good order ends it. Its command line names our folder, which nobody else's does.
        self.terminate();
        let folder = self.folder.path().as_os_str().as_encoded_bytes();
        let Ok(processes) = fs::read_dir("/proc") else {
            return;
        };
        for process in processes.flatten() {
            let Some(pid) = process
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let is_ours = command.windows(folder.len()).any(|part| part == folder);
            if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| is_ours) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// The status of a GET, or nothing if there is no answer.
async fn http_status(address: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let line = String::from_utf8_lossy(&answer);
    line.split(' ').nth(1)?.parse().ok()
}
