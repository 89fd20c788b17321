//! `fermata`: the one binary. `dev` and `server` run a deployment, `workflow` talks to one over REST, `operator` looks at one over NATS.
//!
//! Deliberately absent: logic. Each command parses, calls a library and prints.

mod completions;
mod dev;
mod health;
mod logging;
mod nats_process;
mod operator;
mod serve;
mod server;
mod settings;
mod start_dev;
mod workflow;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Gives memory back after a burst, which the system's allocator does not, and is faster with many small pieces.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Durable execution on NATS JetStream.
#[derive(Parser)]
#[command(name = "fermata", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process, with a nats-server of its own unless one is given.
    Dev(dev::Args),
    /// Run the api, an engine replica, or both, on a running NATS.
    Server(server::Args),
    /// Start, look at and steer workflows.
    Workflow(workflow::Args),
    /// Look at a deployment from below, and verify what is stored.
    Operator(operator::Args),
    /// Say whether the server process on this machine is ready; for health checks of containers.
    Health(health::Args),
    /// Print what a shell needs to complete these commands.
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Dev(args) => dev::run(args),
        Command::Server(args) => server::run(args),
        Command::Workflow(args) => workflow::run(args),
        Command::Operator(args) => operator::run(args),
        Command::Health(args) => health::run(&args),
        Command::Completions(args) => Ok(completions::run(&args, Cli::command())),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // The whole chain: what was attempted, then why it failed.
            eprintln!("fermata: {error:#}");
            ExitCode::FAILURE
        }
    }
}
