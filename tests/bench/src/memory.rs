//! Memory of an engine that holds many idle workflows.

use std::time::Duration;

use anyhow::Context;

use crate::deployment::Deployment;
use crate::load;

/// Memory is looked at this often until it has stopped to fall.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
const LOOKS_MAX: usize = 24;
/// A smaller change than this is none, in megabytes.
const CHANGE_MIN_MB: f64 = 5.0;

/// Opens `count` workflows that wait; megabytes of resident memory of the engine's process when checkpoints have written
/// them all and idle runs have left memory.
pub async fn idle(deployment: &Deployment, count: u64) -> anyhow::Result<f64> {
    load::open(deployment, "idle", count).await?;
    let pid = deployment.fermata.id().context("the engine runs")?;
    let mut before = resident_mb(pid)?;
    let mut steady = 0;
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(LOOK_PERIOD).await;
        let now = resident_mb(pid)?;
        steady = if (before - now).abs() < CHANGE_MIN_MB {
            steady + 1
        } else {
            0
        };
        before = now;
        if steady == 4 {
            break;
        }
    }
    Ok(before)
}

pub fn resident_mb(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kilobytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("the status of a process has VmRSS")?
        .parse()?;
    Ok(kilobytes / 1_000.0)
}
