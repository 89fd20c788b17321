//! Memory of an engine that holds many idle workflows.

use std::time::Duration;

use anyhow::Context;

use crate::deployment::Deployment;
use crate::load;

/// Longer than the engine takes to write a checkpoint and let idle runs go.
const SETTLE: Duration = Duration::from_secs(10);

/// Opens `count` workflows that wait; megabytes of resident memory of the engine's process afterwards.
pub async fn idle(deployment: &Deployment, count: u64) -> anyhow::Result<f64> {
    load::open(deployment, "idle", count).await?;
    tokio::time::sleep(SETTLE).await;
    resident_mb(deployment.fermata.id().context("the engine runs")?)
}

fn resident_mb(pid: u32) -> anyhow::Result<f64> {
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
