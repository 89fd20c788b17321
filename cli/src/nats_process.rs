//! The nats-server that `fermata dev` runs for itself, durable as Fermata needs it: every acknowledged write is fsynced.
//!
//! It belongs to the data folder: if an earlier `dev` was killed, its nats-server still runs and is taken over, since two on
//! one store would damage it. A temporary one ends with its process, however that ends. It listens on 127.0.0.1 only.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

const READY_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(25);
/// Above what a workflow's largest message needs; Fermata refuses to run on a broker that takes less than 4 MiB.
const MAX_PAYLOAD: &str = "8MB";
/// Go's soft memory limit: without one the broker's memory grows with what it has written; near it, a broker does little but
/// collect garbage.
const MEMORY_LIMIT: &str = "2GiB";

/// A running nats-server, ended by [`NatsProcess::end`].
pub struct NatsProcess {
    pid: Pid,
    /// None if it was started by an earlier process.
    child: Option<Child>,
    port: u16,
    record: PathBuf,
}

/// How long a nats-server is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// Until it is ended: what was acknowledged is there for the next process.
    Beyond,
    /// As long as this process; its data too.
    NotLonger,
}

/// Runs a nats-server (0) with a configuration (1) until standard input ends, then removes the folder (2).
const KEEPER: &str = r#"
"$0" -c "$1" </dev/null &
server=$!
cat >/dev/null
kill "$server"
wait "$server"
rm -rf "$2"
"#;

/// What is kept in the data folder of the nats-server that runs on it.
#[derive(Serialize, Deserialize)]
struct Record {
    pid: i32,
    port: u16,
}

impl NatsProcess {
    /// Starts one on a new folder. Both are gone when this process is, also after `kill -9`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_temporary(program: Option<&Path>) -> anyhow::Result<Self> {
        let program = find(program)?;
        let data = tempfile::Builder::new()
            .prefix("fermata-dev-")
            .tempdir()
            .context("make a folder for what is thrown away at the end")?
            .keep();
        let data = fs::canonicalize(data).context("find the data folder")?;
        let port = free_port()?;
        Self::launch(&program, &data, port, Lasts::NotLonger)
    }

    /// Starts one on `data`, or takes over the one that runs there. `port` 0 means a free one.
    ///
    /// # Errors
    /// If there is no nats-server program, the port is taken, or it does not get ready.
    pub fn start(program: Option<&Path>, data: &Path, port: u16) -> anyhow::Result<Self> {
        let data = fs::canonicalize(data).context("find the data folder")?;
        let record = data.join("nats-server.json");
        if let Some(running) = Self::running(&data, &record) {
            return Ok(running);
        }
        let program = find(program)?;
        let port = if port == 0 { free_port()? } else { port };
        if TcpStream::connect(address(port)).is_ok() {
            bail!(
                "start nats-server on port {port}: something listens there already; give --nats-port another, \
                 or --nats its URL if it is a NATS to use"
            );
        }
        Self::launch(&program, &data, port, Lasts::Beyond)
    }

    fn launch(program: &Path, data: &Path, port: u16, lasts: Lasts) -> anyhow::Result<Self> {
        let config = data.join("nats-server.conf");
        fs::write(&config, configuration(data, port, lasts))
            .with_context(|| format!("write {}", config.display()))?;
        let log_path = data.join("nats-server.log");
        let log =
            fs::File::create(&log_path).with_context(|| format!("write {}", log_path.display()))?;
        let mut command = match lasts {
            Lasts::Beyond => {
                let mut command = Command::new(program);
                command.arg("-c").arg(&config).stdin(Stdio::null());
                command
            }
            Lasts::NotLonger => {
                let mut command = Command::new("/bin/sh");
                command
                    .args(["-c", KEEPER])
                    .arg(program)
                    .arg(&config)
                    .arg(data);
                // Held open by this process; its end closes it, however it comes.
                command.stdin(Stdio::piped());
                command
            }
        };
        let child = command
            .env("GOMEMLIMIT", MEMORY_LIMIT)
            .stdout(log.try_clone().context("share the log file")?)
            .stderr(log)
            // Ctrl-C is for Fermata, which ends its broker last.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let record = data.join("nats-server.json");
        let pid = Pid::from_child(&child);
        let entry = Record {
            pid: pid.as_raw_nonzero().get(),
            port,
        };
        fs::write(&record, serde_json::to_vec(&entry)?)
            .with_context(|| format!("write {}", record.display()))?;
        let mut process = Self {
            pid,
            child: Some(child),
            port,
            record,
        };
        process.wait_until_ready(data, &log_path)?;
        Ok(process)
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Asks it to stop, waits, and kills it if it does not.
    pub fn end(mut self) {
        match self.child.as_mut().and_then(|child| child.stdin.take()) {
            Some(held) => drop(held),
            None => {
                let _ = kill_process(self.pid, Signal::TERM);
            }
        }
        let end = Instant::now() + END_MAX;
        while self.is_running() {
            if Instant::now() > end {
                self.kill();
            }
            std::thread::sleep(POLL);
        }
        let _ = fs::remove_file(&self.record);
    }

    fn kill(&self) {
        let _ = match self.child {
            // A group of its own: with it goes whoever keeps it.
            Some(_) => kill_process_group(self.pid, Signal::KILL),
            None => kill_process(self.pid, Signal::KILL),
        };
    }

    fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => rustix::process::test_kill_process(self.pid).is_ok(),
        }
    }

    /// The one that an earlier process left: alive, and the server of this folder.
    fn running(data: &Path, record: &Path) -> Option<Self> {
        let entry: Record = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
        let pid = Pid::from_raw(entry.pid)?;
        rustix::process::test_kill_process(pid).ok()?;
        is_server_of(data, entry.port).then(|| Self {
            pid,
            child: None,
            port: entry.port,
            record: record.to_owned(),
        })
    }

    fn wait_until_ready(&mut self, data: &Path, log: &Path) -> anyhow::Result<()> {
        let end = Instant::now() + READY_MAX;
        while !is_server_of(data, self.port) {
            if !self.is_running() || Instant::now() > end {
                let text = fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(10)..].join("\n");
                self.kill();
                bail!(
                    "start nats-server on port {}: it did not get ready:\n{last}",
                    self.port
                );
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

fn configuration(data: &Path, port: u16, lasts: Lasts) -> String {
    let store = serde_json::to_string(&data.join("jetstream")).unwrap_or_default();
    let name = server_name(data);
    // What ends with the process needs no disk that remembers.
    let sync = match lasts {
        Lasts::Beyond => "  sync_interval: always\n",
        Lasts::NotLonger => "",
    };
    format!(
        "# Written by `fermata dev` at each start.\n\
         server_name: {name}\n\
         listen: \"127.0.0.1:{port}\"\n\
         max_payload: {MAX_PAYLOAD}\n\
         max_pending: 256MB\n\
         write_deadline: \"30s\"\n\
         jetstream {{\n  store_dir: {store}\n{sync}}}\n"
    )
}

/// Tells the server of one folder from any other.
fn server_name(data: &Path) -> String {
    let id = uuid::Uuid::new_v5(
        &uuid::Uuid::NAMESPACE_URL,
        data.as_os_str().as_encoded_bytes(),
    );
    format!("fermata-dev-{}", id.simple())
}

/// Asks whoever listens on `port` for its name: NATS tells it first of all.
fn is_server_of(data: &Path, port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address(port), Duration::from_secs(1)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let mut greeting = Vec::new();
    let mut part = [0; 1_024];
    while !greeting.contains(&b'\n') && greeting.len() < 65_536 {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => greeting.extend_from_slice(&part[..length]),
        }
    }
    String::from_utf8_lossy(&greeting).contains(&server_name(data))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(address(0)).context("find a free port for nats-server")?;
    Ok(listener.local_addr()?.port())
}

/// The given program, or `nats-server` on PATH.
fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(program) = given {
        if program.is_file() {
            return Ok(program.to_owned());
        }
        bail!("start nats-server: {} is no program", program.display());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("nats-server"))
        .find(|candidate| candidate.is_file())
        .context(
            "start nats-server: there is none on PATH; install NATS 2.12 or newer (https://nats.io), name the program by \
             --nats-server, or give --nats the URL of a running one",
        )
}
