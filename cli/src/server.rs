//! `fermata server`: the roles one asks for, on a running NATS; `fermata server start-dev` is a development server.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::bail;

use crate::serve::{self, Roles, Serve};
use crate::settings::Settings;
use crate::start_dev;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
    /// What this process does: api, engine, or both with a comma between
    #[arg(
        long,
        env = "FERMATA_ROLES",
        default_value = "api,engine",
        value_delimiter = ','
    )]
    roles: Vec<String>,
    /// URLs of NATS servers with commas between
    #[arg(long, env = "FERMATA_NATS", default_value = "nats://127.0.0.1:4222")]
    nats: String,
}

#[derive(clap::Subcommand)]
enum Command {
    /// A development server by the flags of Temporal's, for its SDKs' test environments.
    StartDev(Box<start_dev::Args>),
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Command::StartDev(args)) = args.command {
        return start_dev::run(*args);
    }
    let settings = args.settings.with_file()?;
    serve::init(&settings)?;
    serve::run(Serve {
        roles: roles(&args.roles)?,
        ip: settings.ip_or(Ipv4Addr::UNSPECIFIED),
        partitions: settings.partitions.unwrap_or(16),
        ..Serve::new(args.nats, settings)
    })
}

fn roles(names: &[String]) -> anyhow::Result<Roles> {
    let mut roles = Roles {
        api: false,
        engine: false,
    };
    for name in names {
        match name.trim() {
            "api" => roles.api = true,
            "engine" => roles.engine = true,
            other => bail!("role {other:?} is unknown: there are api and engine"),
        }
    }
    Ok(roles)
}
