//! The workers of `examples/nats-workers`, with the packages that they need in a folder below `target`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fermata_test_support::{Process, wait_for};
use tempfile::TempDir;

const READY_MAX: Duration = Duration::from_secs(30);
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Seconds that a package manager may take.
const INSTALL_MAX: &str = "240";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::Python, Self::Node];

    /// As the workers name themselves.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    fn example(self) -> PathBuf {
        Path::new(ROOT)
            .join("examples/nats-workers")
            .join(self.name())
    }

    /// The program with its worker, installed if need be.
    fn command(self) -> Command {
        // Tests of one process take turns; what is installed stays for the next run.
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        let target = Path::new(ROOT)
            .join("target/nats-workers")
            .join(self.name());
        std::fs::create_dir_all(&target).expect("the target folder is writable");
        let wanted = match self {
            Self::Python => "requirements.txt",
            Self::Node => "package.json",
        };
        let wanted = std::fs::read(self.example().join(wanted)).expect("the example has it");
        let installed = target.join("installed");
        if std::fs::read(&installed).ok().as_ref() != Some(&wanted) {
            match self {
                Self::Python => {
                    run(Command::new("python3").args(["-m", "venv"]).arg(&target));
                    run(Command::new(target.join("bin/python"))
                        .args([
                            "-m",
                            "pip",
                            "install",
                            "--quiet",
                            "--disable-pip-version-check",
                            "-r",
                        ])
                        .arg(self.example().join("requirements.txt")));
                }
                Self::Node => {
                    std::fs::write(target.join("package.json"), &wanted)
                        .expect("the target folder is writable");
                    run(Command::new("npm")
                        .args(["install", "--silent", "--no-audit", "--no-fund"])
                        .current_dir(&target));
                }
            }
            std::fs::write(&installed, &wanted).expect("the target folder is writable");
        }
        match self {
            Self::Python => {
                let mut command = Command::new(target.join("bin/python"));
                command
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .arg(self.example().join("worker.py"));
                command
            }
            Self::Node => {
                // Node looks for packages beside the file.
                for file in ["worker.mjs", "activities.mjs"] {
                    let copied = target.join(format!("{file}.{}", std::process::id()));
                    std::fs::copy(self.example().join(file), &copied)
                        .and_then(|_| std::fs::rename(&copied, target.join(file)))
                        .expect("the target folder is writable");
                }
                let mut command = Command::new("node");
                command.arg(target.join("worker.mjs"));
                command
            }
        }
    }
}

fn run(command: &mut Command) {
    let mut bounded = Command::new("timeout");
    bounded.arg(INSTALL_MAX).arg(command.get_program());
    bounded.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        bounded.current_dir(folder);
    }
    let output = bounded.output().expect("timeout is a program everywhere");
    assert!(
        output.status.success(),
        "{command:?} (these tests need Python 3 with venv, Node.js 18 or later, npm, and PyPI and npm's registry once): {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A running worker.
pub struct ForeignWorker {
    pub process: Option<Process>,
    folder: TempDir,
}

impl ForeignWorker {
    /// Starts one and does not wait.
    pub fn spawn(language: Language, nats_url: &str, queue: &str, namespace: &str) -> Self {
        let folder = tempfile::tempdir().expect("the temp folder is writable");
        let mut command = language.command();
        command
            .env("NATS_URL", nats_url)
            .env("TASK_QUEUE", queue)
            .env("NAMESPACE", namespace);
        let process = Process::spawn(&mut command, &folder.path().join("log"), folder.path());
        Self {
            process: Some(process),
            folder,
        }
    }

    /// Starts one and waits until it takes tasks.
    pub async fn start(language: Language, nats_url: &str, queue: &str) -> Self {
        let mut worker = Self::spawn(language, nats_url, queue, "default");
        let log = wait_for("worker that takes tasks", READY_MAX, async || {
            let ended = worker
                .process
                .as_mut()
                .is_some_and(|process| process.ended().is_some());
            let log = worker.log();
            (ended || log.contains("ready")).then_some(log)
        })
        .await;
        assert!(
            log.starts_with("ready"),
            "{language:?} did not start:\n{log}"
        );
        worker
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits for its own end; gives whether that was a success.
    pub async fn ended(&mut self) -> bool {
        let process = self.process.as_mut().expect("it was started");
        wait_for("end of a worker", READY_MAX, async || process.ended())
            .await
            .success()
    }

    /// Waits until it has printed this.
    pub async fn wait_for_log(&self, text: &str) {
        wait_for(text, READY_MAX, async || {
            self.log().contains(text).then_some(())
        })
        .await;
    }
}
