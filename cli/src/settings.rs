//! Settings that `dev` and `server` share: flags, then environment, then a TOML file, then defaults.
//!
//! The file's keys are the flags' names with `_` for `-`; an unknown key is an error, since a misspelt one would be
//! silently without effect.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fermata_engine::Limits;
use serde::Deserialize;

use crate::logging::LogFormat;

const WORKER_GRACE: Duration = Duration::from_secs(2);
/// With less a takeover would take workers for lost that the new owner has not heard of yet.
const WORKER_GRACE_MIN: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address to listen on [default: 127.0.0.1 for dev, 0.0.0.0 for server]
    #[arg(long, env = "FERMATA_IP")]
    pub ip: Option<IpAddr>,
    /// Port of the Temporal gRPC API [default: 7233]
    #[arg(long, env = "FERMATA_PORT")]
    pub port: Option<u16>,
    /// Port of REST, health and metrics [default: 7243]
    #[arg(long, env = "FERMATA_HTTP_PORT")]
    pub http_port: Option<u16>,
    /// Slices of workflow ids, fixed when a deployment is made [default: 4 for dev, 16 for server]
    #[arg(long, env = "FERMATA_PARTITIONS")]
    pub partitions: Option<u16>,
    /// Copies of each stream that the brokers keep; more than 1 needs a NATS cluster [default: 1]
    #[arg(long, env = "FERMATA_NATS_REPLICAS")]
    pub nats_replicas: Option<usize>,
    /// Memory for idle workflows in an engine, in MiB [default: 256]
    #[arg(long, env = "FERMATA_CACHE_MIB")]
    pub cache_mib: Option<usize>,
    /// How long a worker that holds tasks may be unknown to an engine before these go to others, such as `2s`: its claim may
    /// come before its announcement. How long one may be silent is the worker's own setting [default: 2s]
    #[arg(long, env = "FERMATA_WORKER_GRACE", value_parser = worker_grace)]
    #[serde(deserialize_with = "worker_grace_in_file")]
    pub worker_grace: Option<Duration>,
    /// Events of a history from which on workers are told to continue as new [default: 4096]
    #[arg(long, env = "FERMATA_SUGGEST_CONTINUE_AS_NEW_EVENTS")]
    pub suggest_continue_as_new_events: Option<u32>,
    /// Log level or filter [default: info]
    #[arg(long, env = "FERMATA_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// Log format [default: text]
    #[arg(long, env = "FERMATA_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// A TOML file with settings by the flags' names, such as `http_port = 7243`
    #[arg(long, env = "FERMATA_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

impl Settings {
    /// Fills what flags and environment leave open from the file.
    ///
    /// # Errors
    /// If the file cannot be read or holds something else.
    pub fn with_file(self) -> anyhow::Result<Self> {
        let Some(path) = self.config.clone() else {
            return Ok(self);
        };
        let file = read(&path)?;
        Ok(Self {
            ip: self.ip.or(file.ip),
            port: self.port.or(file.port),
            http_port: self.http_port.or(file.http_port),
            partitions: self.partitions.or(file.partitions),
            nats_replicas: self.nats_replicas.or(file.nats_replicas),
            cache_mib: self.cache_mib.or(file.cache_mib),
            worker_grace: self.worker_grace.or(file.worker_grace),
            suggest_continue_as_new_events: self
                .suggest_continue_as_new_events
                .or(file.suggest_continue_as_new_events),
            log_level: self.log_level.or(file.log_level),
            log_format: self.log_format.or(file.log_format),
            config: Some(path),
        })
    }

    pub fn ip_or(&self, default: Ipv4Addr) -> IpAddr {
        self.ip.unwrap_or(IpAddr::V4(default))
    }

    pub fn port(&self) -> u16 {
        self.port.unwrap_or(7233)
    }

    pub fn http_port(&self) -> u16 {
        self.http_port.unwrap_or(7243)
    }

    pub fn cache_bytes_max(&self) -> usize {
        self.cache_mib.unwrap_or(256) << 20
    }

    pub fn worker_grace(&self) -> Duration {
        self.worker_grace.unwrap_or(WORKER_GRACE)
    }

    /// The bounds of this deployment's workflows.
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if let Some(events) = self.suggest_continue_as_new_events {
            limits.history_events_suggest_continue_as_new = events.into();
        }
        limits
    }

    pub fn log_level(&self) -> &str {
        self.log_level.as_deref().unwrap_or("info,async_nats=warn")
    }
}

fn read(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the settings in {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("read the settings in {}", path.display()))
}

/// `30s`, `500ms`, `2m`, `1h30m`, or seconds without a unit.
///
/// # Errors
/// If it is none of these.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no duration: expected something like 30s, 500ms or 2m");
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| refused());
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
    Duration::try_from(span).map_err(|_| refused())
}

fn worker_grace(text: &str) -> Result<Duration, String> {
    let grace = duration(text)?;
    if grace < WORKER_GRACE_MIN {
        return Err(format!("at least {WORKER_GRACE_MIN:?}"));
    }
    Ok(grace)
}

fn worker_grace_in_file<'de, D: serde::Deserializer<'de>>(
    file: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(file)?;
    let grace = worker_grace(&text)
        .map_err(|reason| serde::de::Error::custom(format!("worker_grace: {reason}")))?;
    Ok(Some(grace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fermata.toml");
        std::fs::write(&path, "port = 1\nhttp_port = 2\nlog_format = \"json\"\n").unwrap();
        let settings = Settings {
            port: Some(7),
            config: Some(path),
            ..Settings::default()
        };
        let settings = settings.with_file().unwrap();
        assert_eq!((settings.port(), settings.http_port()), (7, 2));
        assert_eq!(settings.log_format, Some(LogFormat::Json));
    }

    #[test]
    fn the_grace_of_workers_is_a_duration_with_a_minimum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fermata.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let settings = Settings {
                config: Some(path.clone()),
                ..Settings::default()
            };
            settings.with_file()
        };
        let settings = read("worker_grace = \"1500ms\"\n").unwrap();
        assert_eq!(settings.worker_grace(), Duration::from_millis(1_500));
        assert_eq!(read("").unwrap().worker_grace(), WORKER_GRACE);
        let error = format!("{:#}", read("worker_grace = \"1ms\"\n").unwrap_err());
        assert!(error.contains("worker_grace: at least 500ms"), "{error}");
    }

    #[test]
    fn a_bound_that_is_not_set_is_temporals() {
        let mut settings = Settings::default();
        assert_eq!(settings.limits(), Limits::default());
        settings.suggest_continue_as_new_events = Some(50);
        let limits = settings.limits();
        assert_eq!(limits.history_events_suggest_continue_as_new, 50);
    }

    #[test]
    fn a_misspelt_key_in_the_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fermata.toml");
        std::fs::write(&path, "prot = 1\n").unwrap();
        let settings = Settings {
            config: Some(path),
            ..Settings::default()
        };
        let error = format!("{:#}", settings.with_file().unwrap_err());
        assert!(error.contains("prot"), "{error}");
    }

    #[test]
    fn durations_are_read_with_and_without_unit() {
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert!(duration("soon").is_err());
        assert!(duration("-1").is_err());
    }
}
