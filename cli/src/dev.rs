//! `fermata dev`: all roles in one process, on a nats-server of its own.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::nats_process::NatsProcess;
use crate::serve::{self, Serve};
use crate::settings::Settings;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Folder of everything that lasts; a restart on the same folder goes on
    #[arg(long, env = "FERMATA_DATA", default_value = "fermata-data")]
    data: PathBuf,
    /// URL of a running NATS to use instead of starting one
    #[arg(long, env = "FERMATA_NATS", conflicts_with = "nats_port")]
    nats: Option<String>,
    /// Port of the nats-server that is started; 0 for a free one
    #[arg(long, env = "FERMATA_NATS_PORT", default_value_t = 4222)]
    nats_port: u16,
    /// The nats-server program [default: the one on PATH]
    #[arg(long, env = "FERMATA_NATS_SERVER")]
    nats_server: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.settings.with_file()?;
    serve::init(&settings)?;
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("make the data folder {}", args.data.display()))?;
    let nats = match &args.nats {
        Some(_) => None,
        None => Some(NatsProcess::start(
            args.nats_server.as_deref(),
            &args.data,
            args.nats_port,
        )?),
    };
    let url = match (&args.nats, &nats) {
        (Some(url), _) => url.clone(),
        (None, Some(process)) => process.url(),
        (None, None) => unreachable!("one of the two was just chosen"),
    };
    let outcome = serve::run(Serve {
        ip: settings.ip_or(Ipv4Addr::LOCALHOST),
        partitions: settings.partitions.unwrap_or(4),
        data: Some(args.data),
        ..Serve::new(url, settings)
    });
    if let Some(process) = nats {
        process.end();
    }
    outcome
}
