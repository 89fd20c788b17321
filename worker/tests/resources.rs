//! Slots by what the machine has left, with a process that takes its memory away.

mod deployment;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use deployment::Deployment;
use fermata_test_support::wait_for;
use fermata_worker::*;

const SOON: Duration = Duration::from_secs(60);
/// Of the machine's memory: what the worker may see taken beyond today's use, and what is taken. Others on the machine come and
/// go meanwhile, so both are far apart.
const HEADROOM: f64 = 0.08;
const TAKEN: f64 = 0.16;

static RUNNING: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);

async fn work(_ctx: ActivityContext, (): ()) -> ActivityResult<()> {
    MOST.fetch_max(RUNNING.fetch_add(1, SeqCst) + 1, SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    RUNNING.fetch_sub(1, SeqCst);
    ENDED.fetch_add(1, SeqCst);
    Ok(())
}

async fn many(ctx: WorkflowContext, count: usize) -> WorkflowResult<()> {
    let call = || ctx.activity(work, ()).start_to_close(SOON).start();
    let running: Vec<_> = (0..count).map(|_| call()).collect();
    for activity in running {
        activity.await?;
    }
    Ok(())
}

/// Total bytes of memory, and the share that is in use: of the container if it is limited, else of the machine.
fn memory() -> (f64, f64) {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: &str| read(path)?.trim().parse::<f64>().ok();
    if let Some(max) = number("/sys/fs/cgroup/memory.max") {
        let current = number("/sys/fs/cgroup/memory.current").unwrap();
        return (max, current / max);
    }
    let meminfo = read("/proc/meminfo").unwrap();
    let kilobytes = |name: &str| -> f64 {
        let line = meminfo.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let total = kilobytes("MemTotal:");
    (total * 1024.0, 1.0 - kilobytes("MemAvailable:") / total)
}

/// Holds memory until it is dropped.
struct Hog(Child);

impl Hog {
    fn start(bytes: u64) -> Self {
        let code = format!("import sys, time\nheld = b'x' * {bytes}\ntime.sleep(600)");
        let child = Command::new("python3")
            .args(["-c", &code])
            .stdin(Stdio::null())
            .spawn();
        Self(child.expect("python3 is there"))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // It may have been killed by the system, for the memory that it takes.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_no_more_than_its_minimum_while_the_machine_is_full() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let (total, used) = memory();
    let target = used + HEADROOM;
    let hog = Hog::start((total * TAKEN) as u64);
    wait_for("a machine that is full", SOON, async || {
        (memory().1 > target + HEADROOM / 4.0).then_some(())
    })
    .await;
    let options = WorkerOptions {
        // Each poll that waits may bring a task: one, so that the minimum is exact.
        activity_pollers: 1,
        resource_targets: Some(ResourceTargets {
            cpu: 1.0,
            memory: target,
            slots_min: 1,
        }),
        ..WorkerOptions::default()
    };
    let worker = Worker::new(client, "full")
        .options(options)
        .workflow(many)
        .activity(work);
    let shutdown = worker.shutdown();
    let running = tokio::spawn(worker.run());
    // The first sample has been taken by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let handle = client.start(many, 60).queue("full").await.unwrap();
    wait_for("some activities that have ended", SOON, async || {
        (ENDED.load(SeqCst) >= 5).then_some(())
    })
    .await;
    assert_eq!(MOST.load(SeqCst), 1, "the machine is full");
    drop(hog);
    tokio::time::timeout(SOON, handle.result())
        .await
        .unwrap()
        .unwrap();
    assert!(MOST.load(SeqCst) >= 4, "{} at once", MOST.load(SeqCst));
    shutdown.begin();
    running.await.unwrap().unwrap();
}
