//! Runs ten-step and one-step processes on a Restate server and prints steps per second, a JSON line a scenario.
//!
//! Two kinds of step: a call of another service, which is what a Fermata activity is (it can run elsewhere), and a journalled
//! `run` in the same process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use restate_sdk::prelude::*;
use serde_json::json;

/// Steps carried out so far. Counted where they happen, not when processes end: at 400 in flight these take seconds.
static STEPS: AtomicU64 = AtomicU64::new(0);

struct Steps;

#[service]
impl Steps {
    /// The step of another service.
    #[handler]
    async fn step(&self, _ctx: Context<'_>, input: String) -> Result<String, HandlerError> {
        STEPS.fetch_add(1, Ordering::Relaxed);
        Ok(input)
    }

    #[handler]
    async fn calls(&self, ctx: Context<'_>, count: u32) -> Result<u32, HandlerError> {
        for _ in 0..count {
            ctx.service_client::<StepsClient>()
                .step("an input".to_owned())
                .call()
                .await?;
        }
        Ok(count)
    }

    #[handler]
    async fn runs(&self, ctx: Context<'_>, count: u32) -> Result<u32, HandlerError> {
        let mut sum = 0;
        for step in 0..count {
            sum += ctx
                .run(move || async move {
                    STEPS.fetch_add(1, Ordering::Relaxed);
                    Ok(step)
                })
                .await?;
        }
        Ok(sum)
    }
}

/// Processes run one after the other before a measurement.
const WARM_UP_CALLS: usize = 50;

#[derive(Parser)]
struct Args {
    /// Where the server takes invocations
    #[arg(long)]
    ingress: String,
    /// Where the server takes deployments
    #[arg(long)]
    admin: String,
    /// Port for the service
    #[arg(long)]
    port: u16,
    /// How long each scenario measures, after warming up for a quarter of it
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Processes in flight
    #[arg(long, default_value_t = 400)]
    callers: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let address = format!("127.0.0.1:{}", args.port);
    let endpoint = Endpoint::builder().bind(Steps).build();
    tokio::spawn(HttpServer::new(endpoint).listen_and_serve(address.parse()?));
    let http = reqwest::Client::new();
    register(&http, &args.admin, &format!("http://{address}")).await?;
    let window = Duration::from_secs_f64(args.seconds);
    for (scenario, handler, steps) in [
        ("restate_ten_step_calls", "calls", 10),
        ("restate_one_step_calls", "calls", 1),
        ("restate_ten_step_runs", "runs", 10),
    ] {
        let url = format!("{}/Steps/{handler}", args.ingress);
        // A server that has just started stalls under hundreds of first calls at once.
        for _ in 0..WARM_UP_CALLS {
            let answer = http.post(&url).json(&steps).send().await?;
            answer.error_for_status()?.bytes().await?;
        }
        let value = measure(&http, &url, steps, args.callers, window).await?;
        println!(
            "{}",
            json!({ "scenario": scenario, "value": value, "unit": "steps/s" })
        );
    }
    Ok(())
}

async fn register(http: &reqwest::Client, admin: &str, uri: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let body = json!({ "uri": uri, "force": true });
        match http
            .post(format!("{admin}/deployments"))
            .json(&body)
            .send()
            .await
        {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            _ if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(200)).await,
            Ok(answer) => anyhow::bail!("register the service: {}", answer.text().await?),
            Err(error) => return Err(error).context("register the service"),
        }
    }
}

/// Steps per second.
async fn measure(
    http: &reqwest::Client,
    url: &str,
    steps: u32,
    callers: usize,
    window: Duration,
) -> anyhow::Result<f64> {
    let caller = async || {
        loop {
            let answer = http.post(url).json(&steps).send().await?;
            answer.error_for_status()?.bytes().await?;
        }
        #[allow(unreachable_code)]
        anyhow::Ok(())
    };
    let clock = async {
        tokio::time::sleep(window / 4).await;
        let (from, began) = (STEPS.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(window).await;
        (STEPS.load(Ordering::Relaxed) - from) as f64 / began.elapsed().as_secs_f64()
    };
    let callers = futures::future::try_join_all((0..callers).map(|_| caller()));
    tokio::select! {
        failed = callers => failed.map(|_| 0.0),
        rate = clock => Ok(rate),
    }
}
