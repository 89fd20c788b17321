//! `fermata completions`: what a shell needs to complete the other commands.

use std::process::ExitCode;

use clap_complete::Shell;

#[derive(clap::Args)]
pub struct Args {
    /// The shell: source its output, or put it where the shell looks for completions
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &Args, mut command: clap::Command) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "fermata", &mut text);
    // A reader that closed the pipe early is no error.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &text);
    ExitCode::SUCCESS
}
