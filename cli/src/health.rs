//! `fermata health`: whether the process on this machine's HTTP port is ready, for a container's health check.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

/// Less than what a container runtime gives a check.
const ANSWER_MAX: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub struct Args {
    /// The HTTP port of the process that is asked
    #[arg(long, env = "FERMATA_HTTP_PORT", default_value_t = 7243)]
    http_port: u16,
}

/// # Errors
/// If nothing answers, or what answers is no Fermata.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let url = format!("http://127.0.0.1:{}/readyz", args.http_port);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_MAX))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent
        .get(&url)
        .call()
        .with_context(|| format!("ask {url}"))?;
    let text = answer
        .body_mut()
        .read_to_string()
        .with_context(|| format!("read the answer of {url}"))?;
    print!("{text}");
    Ok(if answer.status().is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
