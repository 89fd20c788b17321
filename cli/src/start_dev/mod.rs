//! `fermata server start-dev`: takes the flags of Temporal's development server, so that whatever starts that one can start
//! Fermata: the SDKs' local test environments above all.
//!
//! Without `--db-filename` everything is thrown away at the end, also after `kill -9`, by which the SDKs end their servers.

mod dynamic_config;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use fermata_api::service::Setup;
use fermata_engine::Limits;
use fermata_proto::enums::IndexedValueType;

use crate::logging::LogFormat;
use crate::nats_process::NatsProcess;
use crate::serve::{self, Serve};
use crate::settings::Settings;

/// As the development server keeps closed workflows.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

#[derive(clap::Args)]
pub struct Args {
    /// Port of the gRPC API
    #[arg(long, short, default_value_t = 7233)]
    port: u16,
    /// Port of REST, health and metrics [default: a free one]
    #[arg(long)]
    http_port: Option<u16>,
    /// Port of /metrics, when it is not to be the HTTP port
    #[arg(long)]
    metrics_port: Option<u16>,
    /// Address to listen on
    #[arg(long, default_value = "localhost")]
    ip: String,
    /// Namespaces to make beside `default`
    #[arg(long, short)]
    namespace: Vec<String>,
    /// Search attributes to make, as Name=Type
    #[arg(long, value_name = "NAME=TYPE")]
    search_attribute: Vec<String>,
    /// Where to keep the data: a folder of this name [default: thrown away at the end]
    #[arg(long, short = 'f')]
    db_filename: Option<PathBuf>,
    /// A setting of the server as KEY=JSON
    #[arg(long, value_name = "KEY=VALUE")]
    dynamic_config_value: Vec<String>,
    #[arg(long, value_enum, default_value_t = LogLevel::Warn)]
    log_level: LogLevel,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
    /// Print the settings to standard error
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    log_config: bool,
    /// The nats-server program [default: the one on PATH]
    #[arg(long, env = "FERMATA_NATS_SERVER")]
    nats_server: Option<PathBuf>,
    #[command(flatten)]
    without_effect: WithoutEffect,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Never,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
    Pretty,
}

/// Flags of Temporal's development server that mean nothing here. Whoever sets one is told.
#[derive(clap::Args)]
#[command(next_help_heading = "Accepted, and without effect")]
struct WithoutEffect {
    /// There is no web UI yet
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    headless: bool,
    #[arg(long)]
    ui_port: Option<u16>,
    #[arg(long)]
    ui_ip: Option<String>,
    #[arg(long)]
    ui_public_path: Option<String>,
    #[arg(long)]
    ui_asset_path: Option<String>,
    #[arg(long)]
    ui_codec_endpoint: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ui_disable_news_fetch: Option<bool>,
    /// There is no SQLite
    #[arg(long)]
    sqlite_pragma: Vec<String>,
    #[arg(long)]
    env: Option<String>,
    #[arg(long)]
    env_file: Option<String>,
    #[arg(long)]
    config_file: Option<String>,
    #[arg(long)]
    profile: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_config_file: Option<bool>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_config_env: Option<bool>,
    #[arg(long, short)]
    output: Option<String>,
    #[arg(long)]
    time_format: Option<String>,
    #[arg(long)]
    color: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_json_shorthand_payloads: Option<bool>,
    #[arg(long)]
    command_timeout: Option<String>,
    #[arg(long)]
    client_connect_timeout: Option<String>,
}

impl WithoutEffect {
    /// The flags that were given and would do something elsewhere.
    fn given(&self) -> Vec<&'static str> {
        let given = [
            ("--ui-port", self.ui_port.is_some()),
            ("--ui-ip", self.ui_ip.is_some()),
            ("--ui-public-path", self.ui_public_path.is_some()),
            ("--ui-asset-path", self.ui_asset_path.is_some()),
            ("--ui-codec-endpoint", self.ui_codec_endpoint.is_some()),
            (
                "--ui-disable-news-fetch",
                self.ui_disable_news_fetch.is_some(),
            ),
            ("--sqlite-pragma", !self.sqlite_pragma.is_empty()),
            ("--env", self.env.is_some()),
            ("--env-file", self.env_file.is_some()),
            ("--config-file", self.config_file.is_some()),
            ("--profile", self.profile.is_some()),
            ("--output", self.output.is_some()),
            ("--time-format", self.time_format.is_some()),
            ("--command-timeout", self.command_timeout.is_some()),
            (
                "--client-connect-timeout",
                self.client_connect_timeout.is_some(),
            ),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(flag, _)| flag).collect()
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.settings()?;
    serve::init(&settings)?;
    let mut limits = Limits::default();
    let mut warnings = dynamic_config::apply(&args.dynamic_config_value, &mut limits)?;
    let unused = args.without_effect.given();
    if !unused.is_empty() {
        warnings.push(format!("{} have no effect here", unused.join(", ")));
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let setup = args.setup()?;
    if args.log_config {
        eprintln!("{settings:#?}\n{limits:#?}\n{setup:#?}");
    }
    let program = args.nats_server.as_deref();
    let (nats, data) = match &args.db_filename {
        Some(folder) => {
            let nats = NatsProcess::start(program, make_folder(folder)?, 0)?;
            (nats, Some(folder.clone()))
        }
        None => (NatsProcess::start_temporary(program)?, None),
    };
    let outcome = serve::run(Serve {
        ip: settings.ip.context("an address was just set")?,
        partitions: 4,
        data,
        limits,
        setup: Some(setup),
        metrics_port: args.metrics_port,
        ..Serve::new(nats.url(), settings)
    });
    nats.end();
    outcome
}

impl Args {
    fn settings(&self) -> anyhow::Result<Settings> {
        let ip = match self.ip.as_str() {
            "localhost" => "127.0.0.1",
            other => other,
        };
        let ip: IpAddr = ip
            .parse()
            .with_context(|| format!("listen on {ip:?}: it is no IP address"))?;
        Ok(Settings {
            ip: Some(ip),
            port: Some(self.port),
            http_port: Some(self.http_port.unwrap_or(0)),
            log_level: Some(self.log_level.filter().to_owned()),
            log_format: Some(match self.log_format {
                Format::Json => LogFormat::Json,
                Format::Text | Format::Pretty => LogFormat::Text,
            }),
            ..Settings::default()
        })
    }

    fn setup(&self) -> anyhow::Result<Setup> {
        let mut namespaces = vec!["default".to_owned()];
        let more = self.namespace.iter().filter(|name| *name != "default");
        namespaces.extend(more.cloned());
        Ok(Setup {
            namespaces,
            retention: RETENTION,
            search_attributes: search_attributes(&self.search_attribute)?,
        })
    }
}

impl LogLevel {
    const fn filter(self) -> &'static str {
        match self {
            Self::Debug => "debug,async_nats=warn",
            Self::Info => "info,async_nats=warn",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Never => "off",
        }
    }
}

/// The folder of `--db-filename`. Temporal's is a file, which an SDK may have made.
fn make_folder(path: &Path) -> anyhow::Result<&Path> {
    if path.is_file() {
        bail!(
            "keep the data in {}: it is a file, and Fermata needs a folder; name another one",
            path.display()
        );
    }
    std::fs::create_dir_all(path)
        .with_context(|| format!("make the data folder {}", path.display()))?;
    Ok(path)
}

fn search_attributes(given: &[String]) -> anyhow::Result<BTreeMap<String, IndexedValueType>> {
    const TYPES: [(&str, IndexedValueType); 7] = [
        ("Text", IndexedValueType::Text),
        ("Keyword", IndexedValueType::Keyword),
        ("Int", IndexedValueType::Int),
        ("Double", IndexedValueType::Double),
        ("Bool", IndexedValueType::Bool),
        ("Datetime", IndexedValueType::Datetime),
        ("KeywordList", IndexedValueType::KeywordList),
    ];
    let mut attributes = BTreeMap::new();
    for text in given {
        let (name, value_type) = text
            .split_once('=')
            .with_context(|| format!("--search-attribute {text:?}: expected Name=Type"))?;
        let found = TYPES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(value_type));
        let Some((_, value_type)) = found else {
            bail!(
                "--search-attribute {text:?}: {value_type:?} is no type; there are Text, Keyword, Int, Double, Bool, \
                 Datetime and KeywordList"
            );
        };
        attributes.insert(name.to_owned(), *value_type);
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Args {
        let words = ["start-dev"].iter().chain(words);
        Line::try_parse_from(words).unwrap().args
    }

    #[test]
    fn the_line_by_which_sdks_start_it_is_understood() {
        let args = parse(&[
            "--port",
            "7001",
            "--namespace",
            "default",
            "--ip",
            "127.0.0.1",
            "--log-format",
            "pretty",
            "--log-level",
            "warn",
            "--dynamic-config-value",
            "frontend.enableServerVersionCheck=false",
            "--dynamic-config-value",
            "frontend.enableUpdateWorkflowExecution=true",
            "--headless",
            "--search-attribute",
            "Colour=keyword",
        ]);
        let settings = args.settings().unwrap();
        assert_eq!((settings.port(), settings.http_port()), (7001, 0));
        let setup = args.setup().unwrap();
        assert_eq!(setup.namespaces, ["default"]);
        let colour = setup.search_attributes.get("Colour");
        assert_eq!(colour, Some(&IndexedValueType::Keyword));
        assert!(args.without_effect.given().is_empty());
    }

    #[test]
    fn flags_take_the_short_and_the_equals_form() {
        let args = parse(&["-p", "1", "-n", "one", "-n", "two", "--headless=false"]);
        assert_eq!(args.port, 1);
        assert_eq!(args.setup().unwrap().namespaces, ["default", "one", "two"]);
        let args = parse(&["--ui-port", "8233", "--sqlite-pragma", "journal_mode=wal"]);
        assert_eq!(
            args.without_effect.given(),
            ["--ui-port", "--sqlite-pragma"]
        );
    }

    #[test]
    fn what_is_no_type_or_address_is_refused() {
        assert!(search_attributes(&["Colour=Shade".to_owned()]).is_err());
        assert!(search_attributes(&["Colour".to_owned()]).is_err());
        assert!(parse(&["--ip", "here"]).settings().is_err());
    }
}
