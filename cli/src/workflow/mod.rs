//! `fermata workflow`: starts, shows and steers workflows over REST.

mod follow;
pub mod rest;
pub mod table;
mod timeline;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::settings::duration;
use rest::Rest;

#[derive(clap::Args)]
pub struct Args {
    /// Where Fermata's REST API listens
    #[arg(
        long,
        env = "FERMATA_ADDRESS",
        default_value = "http://127.0.0.1:7243",
        global = true
    )]
    address: String,
    #[arg(
        long,
        short,
        env = "FERMATA_NAMESPACE",
        default_value = "default",
        global = true
    )]
    namespace: String,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// Which workflow.
#[derive(clap::Args)]
struct Execution {
    /// The workflow id
    #[arg(long, short)]
    workflow_id: String,
    /// The run id; without it the latest run
    #[arg(long, short)]
    run_id: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Start a workflow
    Start(Start),
    /// Show how a workflow stands
    Describe(Execution),
    /// Show a workflow's history as a timeline
    Show {
        #[command(flatten)]
        execution: Execution,
        /// Go on with what happens until the run ends
        #[arg(long, short)]
        follow: bool,
    },
    /// Wait for a workflow's result and print it
    Result {
        #[command(flatten)]
        execution: Execution,
        /// How long to wait
        #[arg(long, default_value = "1h", value_parser = duration)]
        wait: Duration,
    },
    /// List workflows, the newest first
    List {
        /// A list filter such as `ExecutionStatus = "Running" AND WorkflowType = "ProcessOrder"`
        #[arg(long, short)]
        query: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Send a signal
    Signal {
        #[command(flatten)]
        execution: Execution,
        /// The signal's name
        #[arg(long)]
        name: String,
        /// An argument as JSON; repeat it for more
        #[arg(long, short)]
        input: Vec<String>,
    },
    /// Ask a running or closed workflow
    Query {
        #[command(flatten)]
        execution: Execution,
        /// The query's type
        #[arg(long, value_name = "TYPE")]
        r#type: String,
        /// An argument as JSON; repeat it for more
        #[arg(long, short)]
        input: Vec<String>,
    },
    /// Ask a workflow to cancel itself
    Cancel {
        #[command(flatten)]
        execution: Execution,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// End a workflow at once, without asking it
    Terminate {
        #[command(flatten)]
        execution: Execution,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Remove a workflow with its history; one that runs is terminated first
    Delete(Execution),
}

#[derive(clap::Args)]
struct Start {
    /// The workflow id [default: a UUID]
    #[arg(long, short)]
    workflow_id: Option<String>,
    #[arg(long, value_name = "TYPE")]
    r#type: String,
    #[arg(long, short)]
    task_queue: String,
    /// An argument as JSON; repeat it for more
    #[arg(long, short)]
    input: Vec<String>,
    /// Longest time of all runs together
    #[arg(long, value_parser = duration)]
    execution_timeout: Option<Duration>,
    /// Longest time of one run
    #[arg(long, value_parser = duration)]
    run_timeout: Option<Duration>,
    /// Start again and again by this cron schedule
    #[arg(long, default_value = "")]
    cron: String,
    /// How long to wait before the first workflow task
    #[arg(long, value_parser = duration)]
    start_delay: Option<Duration>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let rest = Rest::new(&args.address, &args.namespace);
    let output = args.output;
    match args.command {
        Command::Start(start) => on_start(&rest, start, output),
        Command::Describe(execution) => {
            let answer = rest.get(
                &["workflows", &execution.workflow_id],
                &[("execution.runId", execution.run_id.as_deref())],
            )?;
            print(output, &answer, table::description);
            Ok(ExitCode::SUCCESS)
        }
        Command::Show {
            execution,
            follow: true,
        } => follow::run(&rest, &execution, output),
        Command::Show { execution, .. } => {
            let history = rest.history(&execution.workflow_id, execution.run_id.as_deref())?;
            print(output, &json!({ "events": history }), |answer| {
                timeline::render(answer["events"].as_array().map_or(&[], Vec::as_slice))
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Result { execution, wait } => on_result(&rest, &execution, wait, output),
        Command::List { query, limit } => {
            let found = rest.list(query.as_deref(), limit)?;
            print(output, &json!({ "executions": found }), |answer| {
                table::executions(answer["executions"].as_array().map_or(&[], Vec::as_slice))
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Signal {
            execution,
            name,
            input,
        } => {
            let body =
                json!({ "workflowExecution": body_of(&execution), "input": inputs(&input)? });
            rest.post(
                &["workflows", &execution.workflow_id, "signal", &name],
                &body,
            )?;
            done(output, "signal sent", &execution)
        }
        Command::Query {
            execution,
            r#type,
            input,
        } => {
            let body = json!({
                "execution": body_of(&execution),
                "query": { "queryArgs": inputs(&input)? },
            });
            let answer = rest.post(
                &["workflows", &execution.workflow_id, "query", &r#type],
                &body,
            )?;
            print(output, &answer, |answer| {
                table::payloads(&answer["queryResult"])
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Cancel { execution, reason } => {
            let body = json!({ "workflowExecution": body_of(&execution), "reason": reason });
            rest.post(&["workflows", &execution.workflow_id, "cancel"], &body)?;
            done(output, "cancel requested", &execution)
        }
        Command::Terminate { execution, reason } => {
            let body = json!({ "workflowExecution": body_of(&execution), "reason": reason });
            rest.post(&["workflows", &execution.workflow_id, "terminate"], &body)?;
            done(output, "terminated", &execution)
        }
        Command::Delete(execution) => {
            let body = json!({ "workflowExecution": body_of(&execution) });
            rest.post(&["workflows", &execution.workflow_id, "delete"], &body)?;
            done(output, "deleted", &execution)
        }
    }
}

fn on_start(rest: &Rest, start: Start, output: Output) -> anyhow::Result<ExitCode> {
    let workflow_id = start
        .workflow_id
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let mut body = json!({
        "workflowType": { "name": start.r#type },
        "taskQueue": { "name": start.task_queue },
        "requestId": uuid::Uuid::new_v4().to_string(),
    });
    let fields = body.as_object_mut().expect("an object was just made");
    if !start.input.is_empty() {
        fields.insert("input".to_owned(), inputs(&start.input)?);
    }
    let seconds = |length: Duration| Value::String(format!("{}s", length.as_secs_f64()));
    let times = [
        ("workflowExecutionTimeout", start.execution_timeout),
        ("workflowRunTimeout", start.run_timeout),
        ("workflowStartDelay", start.start_delay),
    ];
    for (name, length) in times {
        if let Some(length) = length {
            fields.insert(name.to_owned(), seconds(length));
        }
    }
    if !start.cron.is_empty() {
        fields.insert("cronSchedule".to_owned(), start.cron.into());
    }
    let mut answer = rest.post(&["workflows", &workflow_id], &body)?;
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("workflowId".to_owned(), workflow_id.into());
    }
    print(output, &answer, |answer| {
        format!(
            "workflow id  {}\nrun id       {}\n",
            table::text(&answer["workflowId"]),
            table::text(&answer["runId"])
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Prints the result; a workflow that did not complete gives exit code 1, one that still runs 2.
fn on_result(
    rest: &Rest,
    execution: &Execution,
    wait: Duration,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let answer = rest.result(&execution.workflow_id, execution.run_id.as_deref(), wait)?;
    print(output, &answer, |answer| match answer["status"].as_str() {
        Some("COMPLETED") => table::payloads(&answer["result"]),
        _ => format!(
            "{}\n",
            serde_json::to_string_pretty(answer).unwrap_or_default()
        ),
    });
    Ok(match answer["status"].as_str() {
        Some("COMPLETED") => ExitCode::SUCCESS,
        Some("RUNNING") => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    })
}

fn body_of(execution: &Execution) -> Value {
    let mut body = Map::new();
    body.insert(
        "workflowId".to_owned(),
        execution.workflow_id.clone().into(),
    );
    if let Some(run_id) = &execution.run_id {
        body.insert("runId".to_owned(), run_id.clone().into());
    }
    body.into()
}

fn inputs(texts: &[String]) -> anyhow::Result<Value> {
    texts
        .iter()
        .map(|text| {
            serde_json::from_str(text).with_context(|| {
                format!(
                    "read the input {text:?}: it must be JSON (a text needs quotes: '\"text\"')"
                )
            })
        })
        .collect::<anyhow::Result<Vec<Value>>>()
        .map(Value::from)
}

fn done(output: Output, what: &str, execution: &Execution) -> anyhow::Result<ExitCode> {
    match output {
        Output::Table => println!("{what}: {}", execution.workflow_id),
        Output::Json => println!("{{}}"),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn print(output: Output, answer: &Value, table: impl FnOnce(&Value) -> String) {
    let text = match output {
        Output::Table => table(answer),
        Output::Json => format!(
            "{}\n",
            serde_json::to_string_pretty(answer).unwrap_or_default()
        ),
    };
    // A reader that closed the pipe early, such as head, is no error.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}

/// Not empty, and free of what would end the path.
fn checked_id(workflow_id: &str) -> anyhow::Result<()> {
    if workflow_id.is_empty() {
        bail!("the workflow id is empty");
    }
    Ok(())
}
