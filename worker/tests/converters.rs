//! Values in another form than JSON: the same converter for client, workers, test environment and replays.

mod deployment;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use deployment::Deployment;
use fermata_test_support::wait_for;
use fermata_worker::*;
use serde::{Deserialize, Serialize};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(30);
const MESSAGE_PACK: &str = "binary/msgpack";

/// MessagePack in place of JSON; can be told to fail.
#[derive(Clone, Default)]
struct MessagePack {
    broken: Arc<AtomicBool>,
}

impl DataConverter for MessagePack {
    fn to_payload(&self, value: &dyn ToValue) -> Result<Payload, ConverterFailure> {
        let mut data = Vec::new();
        let mut serializer = rmp_serde::Serializer::new(&mut data).with_struct_map();
        value.serialize(&mut <dyn erased_serde::Serializer>::erase(&mut serializer))?;
        Ok(Payload {
            metadata: [("encoding".to_owned(), MESSAGE_PACK.into())].into(),
            data: data.into(),
            ..Payload::default()
        })
    }

    fn read_payload(
        &self,
        payload: &Payload,
        target: &mut dyn FromValue,
    ) -> Result<(), ConverterFailure> {
        if self.broken.load(SeqCst) {
            return Err(format!("no way to read a {}", target.type_name()).into());
        }
        let encoding = payload.metadata.get("encoding");
        if encoding.is_none_or(|encoding| encoding != MESSAGE_PACK) {
            return Ok(target.read_default(payload)?);
        }
        let mut deserializer = rmp_serde::Deserializer::new(&payload.data[..]);
        Ok(
            target.deserialize(&mut <dyn erased_serde::Deserializer>::erase(
                &mut deserializer,
            ))?,
        )
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

fn order(item: &str) -> Order {
    Order {
        item: item.to_owned(),
        count: 2,
    }
}

async fn pack(ctx: ActivityContext, order: Order) -> ActivityResult<Order> {
    if ctx.info().attempt == 1 {
        ctx.heartbeat(&order);
        return Err(std::io::Error::other("once more").into());
    }
    let before: Option<Order> = ctx.heartbeat_details()?;
    assert!(before.is_none_or(|before| before == order));
    Ok(order)
}

async fn label(_ctx: ActivityContext, order: Order) -> ActivityResult<String> {
    Ok(format!("{} {}", order.count, order.item))
}

/// Every way in and out of a workflow.
async fn ship(ctx: WorkflowContext, first: Order) -> WorkflowResult<Vec<Order>> {
    let mut more = ctx.signal::<Order>("more");
    let asked = first.clone();
    ctx.on_query("first", move |()| asked.clone());
    ctx.on_update("double", |_, order: Order| async move {
        Ok(Order {
            count: order.count * 2,
            ..order
        })
    });
    let own = ctx.side_effect(|| order("side"))?;
    ctx.upsert_memo("first", &first)?;
    let retry = RetryPolicy {
        initial_interval: Some(Duration::from_millis(10)),
        ..RetryPolicy::default()
    };
    let packed = ctx.activity(pack, first).start_to_close(SECOND * 10);
    let packed = packed.retry(retry).await?;
    let labelled = ctx.local_activity(label, packed.clone());
    let labelled = labelled.start_to_close(SECOND * 10).await?;
    let child: Order = ctx.child(echo, order(&labelled)).await?;
    let noted: Option<Order> = ctx.memo("first")?;
    Ok(vec![own, packed, child, noted.unwrap(), more.wait().await?])
}

async fn echo(_ctx: WorkflowContext, order: Order) -> WorkflowResult<Order> {
    Ok(order)
}

fn shipped() -> Vec<Order> {
    ["side", "tea", "2 tea", "tea", "milk"].map(order).into()
}

#[tokio::test]
async fn a_test_environment_and_a_replayer_read_and_write_by_it() {
    let converter = MessagePack::default();
    let run = TestEnvironment::new()
        .with_converter(converter.clone())
        .workflow(ship)
        .workflow(echo)
        .activity(label)
        .mock(pack, Ok)
        .start(ship, order("tea"))
        .after(SECOND, |workflow| {
            let first: Order = workflow.query("first", &()).unwrap();
            assert_eq!(first, order("tea"));
            workflow.update("u1", "double", &order("sugar"));
            workflow.signal("more", &order("milk"));
        })
        .run()
        .await;
    assert_eq!(*run.result.as_ref().unwrap(), shipped());
    assert_eq!(run.update::<Order>("u1").unwrap().count, 4);
    assert_eq!(run.inputs::<Order>("pack"), [order("tea")]);
    let history = &run.histories()[0];
    let text = history.to_json();
    assert!(!text.contains("anNvbi9wbGFpbg") || text.contains("YmluYXJ5L21zZ3BhY2s"));
    let replayer = Replayer::new().workflow(ship);
    let without = replayer.replay(history).unwrap_err();
    let words = format!("{without}: {:?}", std::error::Error::source(&without));
    assert!(words.contains(MESSAGE_PACK), "{words}");
    let replayer = Replayer::new().with_converter(converter).workflow(ship);
    replayer.replay(history).unwrap();
}

async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future.into_future())
        .await
        .expect("an end in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_workers_speak_by_it_and_one_that_fails_holds_up_and_loses_nothing() {
    let deployment = Deployment::start().await;
    let plain = &deployment.client;
    let converter = MessagePack::default();
    let broken = converter.broken.clone();
    let client = plain.clone().with_converter(converter.clone());
    let worker = Worker::new(&client, "packs")
        .workflow(ship)
        .workflow(echo)
        .activity(pack)
        .activity(label);
    let shutdown = worker.shutdown();
    let running = tokio::spawn(worker.run());
    let start = |id: &str| {
        let call = client.start(ship, order("tea")).queue("packs").id(id);
        call.task_timeout(SECOND)
    };
    let handle = start("one").await.unwrap();
    let doubled: Order = within(handle.update("double", &order("sugar")))
        .await
        .unwrap();
    assert_eq!(doubled.count, 4);
    let first: Order = within(handle.query("first", &())).await.unwrap();
    assert_eq!(first, order("tea"));
    handle.signal("more", &order("milk")).await.unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), shipped());
    // Without it nobody reads the result.
    let outside = plain.workflow::<Vec<Order>>("one");
    let error = within(outside.result()).await.unwrap_err();
    let words = format!("{error}: {:?}", std::error::Error::source(&error));
    assert!(words.contains(MESSAGE_PACK), "{words}");
    let replayer = Replayer::new().with_converter(converter).workflow(ship);
    replayer.replay(&handle.history().await.unwrap()).unwrap();

    broken.store(true, SeqCst);
    let held = start("two").await.unwrap();
    // The workflow's argument cannot be read: its task fails, in the converter's words, until it can.
    wait_for("a failed workflow task", SOON, async || {
        let history = format!("{:?}", held.history().await.ok()?);
        history.contains("no way to read a").then_some(())
    })
    .await;
    let asked = within(held.query::<_, Order>("first", &())).await;
    assert!(asked.is_err());
    broken.store(false, SeqCst);
    held.signal("more", &order("milk")).await.unwrap();
    assert_eq!(within(held.result()).await.unwrap(), shipped());
    shutdown.begin();
    within(running).await.unwrap().unwrap();
}
