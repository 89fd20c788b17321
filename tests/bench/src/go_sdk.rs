//! Workflows on a worker of Temporal's Go SDK, through the gRPC door: `tests/bench/temporal-go`, built with `go` once.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::deployment::Deployment;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/temporal-go");

#[derive(Deserialize)]
struct Measured {
    activities_per_second: f64,
}

/// Builds the program; nothing if there is no `go` here.
///
/// # Errors
/// If it does not build.
pub async fn build() -> anyhow::Result<Option<PathBuf>> {
    let program = std::env::current_dir()?.join("target/bench/temporal-go");
    let mut command = Command::new("go");
    command
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(SOURCES));
    match command.status().await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        status => {
            let status = status.context("run go")?;
            ensure!(status.success(), "{SOURCES} does not build: {status}");
            Ok(Some(program))
        }
    }
}

/// Activities per second with 400 workflows of `steps` activities in flight.
pub async fn rate(
    program: &Path,
    deployment: &Deployment,
    steps: u32,
    window: Duration,
) -> anyhow::Result<f64> {
    let output = Command::new(program)
        .arg("-address")
        .arg(deployment.fermata.grpc_address())
        .arg("-steps")
        .arg(steps.to_string())
        .arg("-window")
        .arg(format!("{}ms", window.as_millis()))
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("run the Go worker")?;
    ensure!(
        output.status.success(),
        "the Go worker ended with {}",
        output.status
    );
    let measured: Measured =
        serde_json::from_slice(&output.stdout).context("read the Go worker's figures")?;
    Ok(measured.activities_per_second)
}
