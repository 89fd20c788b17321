//! `fermata operator cluster`.

use std::process::ExitCode;

use anyhow::Context;
use fermata_engine::broker::Member;
use fermata_proto::{codec, subjects};
use fermata_transport::Transport;
use futures::TryStreamExt;
use serde_json::json;

use super::{Stored, bytes, print, streams};
use crate::workflow::{Output, table};

pub async fn run(transport: &Transport, output: Output) -> anyhow::Result<ExitCode> {
    let cluster = transport.cluster();
    let server = transport.nats().server_info();
    let account = transport
        .jetstream()
        .query_account()
        .await
        .context("ask the broker what is stored")?;
    let members = members(transport).await?;
    let namespaces = transport.namespaces().all();
    let streams = streams(transport).await?;
    let sums = [
        ("logs", sum(&streams, "FM_LOG_")),
        ("state", sum(&streams, "FM_STATE_")),
        ("lists", sum(&streams, subjects::VISIBILITY_STREAM)),
        ("tasks", sum(&streams, subjects::TASKS_STREAM)),
    ];
    let behind: Vec<&str> = streams
        .iter()
        .filter(|stream| stream.behind > 0)
        .map(|stream| stream.name.as_str())
        .collect();
    let answer = json!({
        "id": cluster.id,
        "partitions": cluster.partitions,
        "nats": {"server": server.server_name, "version": server.version, "maxPayloadBytes": server.max_payload},
        "storageBytes": account.storage,
        "memoryBytes": account.memory,
        "streamReplicas": streams.iter().map(|stream| stream.replicas).max(),
        "streamsBehind": behind,
        "namespaces": namespaces.len(),
        "engines": members.iter().map(|member| json!({"id": member.id, "leaving": member.leaving})).collect::<Vec<_>>(),
        "stored": sums.iter().map(|(name, (messages, bytes))| json!({"what": name, "records": messages, "bytes": bytes})).collect::<Vec<_>>(),
    });
    print(output, &answer, || {
        let mut rows = vec![
            ["deployment".to_owned(), cluster.id.clone()],
            ["partitions".to_owned(), cluster.partitions.to_string()],
            ["namespaces".to_owned(), namespaces.len().to_string()],
            [
                "NATS".to_owned(),
                format!("{} {}", server.server_name, server.version),
            ],
            ["on disk".to_owned(), bytes(account.storage)],
        ];
        for (name, (messages, size)) in sums {
            let what = format!("{messages} records, {}", bytes(size));
            rows.push([format!("  {name}"), what]);
        }
        if !behind.is_empty() {
            rows.push(["behind".to_owned(), behind.join(" ")]);
        }
        rows.push(["engines".to_owned(), members.len().to_string()]);
        for member in &members {
            let state = if member.leaving { "leaving" } else { "" };
            rows.push([format!("  {}", member.id), state.to_owned()]);
        }
        table::columns(&rows)
    });
    Ok(ExitCode::SUCCESS)
}

/// The engine replicas that announce themselves, by id.
pub async fn members(transport: &Transport) -> anyhow::Result<Vec<Member>> {
    let bucket = transport
        .jetstream()
        .get_key_value(subjects::MEMBERS_BUCKET)
        .await
        .context("open the bucket of engines")?;
    let mut keys: Vec<String> = bucket
        .keys()
        .await
        .context("list the engines")?
        .try_collect()
        .await
        .context("list the engines")?;
    keys.sort();
    let mut members = Vec::new();
    for key in keys {
        // Gone between the two reads is gone.
        if let Some(record) = bucket.get(&key).await.context("read an engine's record")? {
            let member = codec::decode(&record).context("read an engine's record")?;
            members.push(member);
        }
    }
    Ok(members)
}

/// Records and bytes of all streams whose name begins so.
fn sum(streams: &[Stored], prefix: &str) -> (u64, u64) {
    streams
        .iter()
        .filter(|stream| stream.name.starts_with(prefix))
        .fold((0, 0), |(messages, bytes), stream| {
            (messages + stream.messages, bytes + stream.bytes)
        })
}
