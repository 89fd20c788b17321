//! A child process that cannot outlive its test.
//!
//! Drop ends it. A test process that is killed, aborts, or keeps the server in a `static` never drops, so beside each
//! child runs a *reaper*: a shell that waits for the end of its standard input, which the kernel closes when the test
//! process is gone, and then ends the child and removes its folder.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take over its orderly end before it is killed.
const TERMINATE_MAX: Duration = Duration::from_secs(20);

/// How long the kernel may take to stop a process's threads.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// `$1` is the process id, `$2` the folder. Deaf to Ctrl-C: the test process hears that too, and its end is what counts.
const REAPER: &str = r#"trap '' INT TERM HUP
read -r _
kill -TERM "$1" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 0.2; done
kill -KILL "$1" 2>/dev/null
rm -rf "$2""#;

/// A running child process with its output in a file.
pub struct Process {
    child: Child,
    reaper: Child,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`. `folder` is removed if the test process dies.
    ///
    /// # Panics
    /// If the log cannot be opened or the program cannot be started.
    pub fn spawn(command: &mut Command, log: &Path, folder: &Path) -> Self {
        let sink = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("open log {}: {error}", log.display()));
        let child = command
            .stdin(Stdio::null())
            .stdout(sink.try_clone().expect("a file handle can be duplicated"))
            .stderr(sink)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", command.get_program().display()));
        let reaper = Command::new("sh")
            .args(["-c", REAPER, "reaper", &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        Self { child, reaper }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("own child can be waited for")
    }

    /// SIGSTOP: it keeps its connections and does nothing. Returns when its last thread stands still, which is a moment after
    /// the signal.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let end = Instant::now() + PAUSE_MAX;
        while !self.stands_still() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the kernel counts every thread as stopped; true where there is no `/proc` to ask.
    fn stands_still(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.id())) else {
            return true;
        };
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // After the name, which may hold anything, in parentheses.
            stat.rsplit_once(") ")
                .is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) -> ExitStatus {
        self.kill_in_place()
    }

    /// SIGTERM, and waits for the end; SIGKILL if that takes too long.
    pub fn terminate(mut self) -> ExitStatus {
        self.terminate_in_place()
    }

    fn signal(&self, signal: Signal) {
        // The child has not been waited for while `self` is alive, so the id cannot have gone to another process. It
        // may have ended by itself; that is for `ended` to tell.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    fn kill_in_place(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().expect("own child can be waited for")
    }

    fn terminate_in_place(&mut self) -> ExitStatus {
        if let Some(status) = self.ended() {
            return status;
        }
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
        let end = Instant::now() + TERMINATE_MAX;
        while Instant::now() < end {
            if let Some(status) = self.ended() {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.kill_in_place()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate_in_place();
        let _ = self.reaper.kill();
        let _ = self.reaper.wait();
    }
}

/// The last lines of a log, for a panic message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
