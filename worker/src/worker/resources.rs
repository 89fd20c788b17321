//! Slots by what the machine has left: no further task is taken while processors or memory are fuller than their targets.
//!
//! Reads `/proc` (Linux): all of the machine, or of the container's memory if that is limited (cgroup v2). Elsewhere
//! nothing is held back. The fixed numbers of slots stay the upper bounds.

use std::time::Duration;

use tokio::sync::watch;

/// How full the machine may get before the worker takes no further task, as shares from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResourceTargets {
    pub cpu: f64,
    pub memory: f64,
    /// So many tasks are taken in any case, lest a worker starve beside a busy neighbour.
    pub slots_min: usize,
}

impl Default for ResourceTargets {
    fn default() -> Self {
        Self {
            cpu: 0.9,
            memory: 0.8,
            slots_min: 2,
        }
    }
}

const SAMPLE_PERIOD: Duration = Duration::from_millis(200);
/// Between two tasks beyond the minimum: what one costs has to show before the next is taken.
const RAMP: Duration = Duration::from_millis(20);

/// Says whether there is room; cheap to clone.
#[derive(Clone)]
pub(super) struct Room {
    targets: ResourceTargets,
    has_room: watch::Receiver<bool>,
}

impl Room {
    /// Samples until all clones are gone.
    pub fn watch(targets: ResourceTargets) -> Self {
        let (told, has_room) = watch::channel(true);
        tokio::spawn(async move {
            let mut before = None;
            loop {
                tokio::select! {
                    biased;
                    () = told.closed() => return,
                    () = tokio::time::sleep(SAMPLE_PERIOD) => {}
                }
                let times = tokio::fs::read_to_string("/proc/stat")
                    .await
                    .ok()
                    .and_then(|stat| cpu_times(&stat));
                let cpu = match (before, times) {
                    (Some(before), Some(now)) => busy_share(before, now),
                    _ => 0.0,
                };
                before = times;
                let memory = memory_share().await.unwrap_or(0.0);
                told.send_replace(cpu <= targets.cpu && memory <= targets.memory);
            }
        });
        Self { targets, has_room }
    }

    /// Waits until another task beside `running` ones has room. Gives up nothing when dropped.
    pub async fn wait(&mut self, running: impl Fn() -> usize) {
        while running() >= self.targets.slots_min {
            if *self.has_room.borrow_and_update() {
                tokio::time::sleep(RAMP).await;
                return;
            }
            // A task may have ended meanwhile, so not for ever.
            let changed = self.has_room.changed();
            let _ = tokio::time::timeout(SAMPLE_PERIOD, changed).await;
        }
    }
}

/// Ticks of all processors: idle, and altogether.
#[derive(Debug, Clone, Copy, PartialEq)]
struct CpuTimes {
    idle: u64,
    total: u64,
}

/// From the first line of `/proc/stat`.
fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let ticks: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map(|ticks| ticks.parse().ok())
        .collect::<Option<_>>()?;
    // user nice system idle iowait irq softirq steal; what follows is counted in user already.
    Some(CpuTimes {
        idle: ticks.get(3)? + ticks.get(4).unwrap_or(&0),
        total: ticks.iter().take(8).sum(),
    })
}

fn busy_share(before: CpuTimes, now: CpuTimes) -> f64 {
    let total = now.total.saturating_sub(before.total);
    let idle = now.idle.saturating_sub(before.idle);
    if total == 0 {
        return 0.0;
    }
    1.0 - idle.min(total) as f64 / total as f64
}

async fn memory_share() -> Option<f64> {
    let read = tokio::fs::read_to_string;
    if let (Ok(max), Ok(current)) = (
        read("/sys/fs/cgroup/memory.max").await,
        read("/sys/fs/cgroup/memory.current").await,
    ) && let (Ok(max), Ok(current)) = (max.trim().parse::<u64>(), current.trim().parse::<u64>())
        && max > 0
    {
        return Some(current as f64 / max as f64);
    }
    used_share(&read("/proc/meminfo").await.ok()?)
}

/// From `/proc/meminfo`.
fn used_share(meminfo: &str) -> Option<f64> {
    let kilobytes = |name: &str| -> Option<f64> {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let total = kilobytes("MemTotal:")?;
    let available = kilobytes("MemAvailable:")?;
    (total > 0.0).then(|| 1.0 - available / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_from_what_the_kernel_shows() {
        let before = cpu_times("cpu  100 0 100 700 100 0 0 0 5 5\ncpu0 1 2 3 4\n").unwrap();
        let now = cpu_times("cpu  150 0 150 750 150 0 0 0 9 9\n").unwrap();
        assert!((busy_share(before, now) - 0.5).abs() < 1e-9);
        assert_eq!(cpu_times("intr 1 2 3"), None);
        let share = used_share("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n");
        assert!((share.unwrap() - 0.75).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_machine_holds_tasks_back_beyond_the_minimum() {
        let (told, has_room) = watch::channel(false);
        let mut room = Room {
            targets: ResourceTargets::default(),
            has_room,
        };
        room.wait(|| 1).await;
        let waits = tokio::time::timeout(Duration::from_secs(5), room.wait(|| 2)).await;
        assert!(waits.is_err(), "there is no room");
        told.send_replace(true);
        room.wait(|| 2).await;
    }
}
