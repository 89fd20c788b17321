// An activity worker on plain NATS: npm install nats @msgpack/msgpack. What it says is in proto/PROTOCOL.md.
import { decode, encode } from "@msgpack/msgpack";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "nats";
import { activities, unknown } from "./activities.mjs";

const PROTOCOL = 1, QUEUE = process.env.TASK_QUEUE ?? "mixed", IDENTITY = `node-${process.pid}`;

const nc = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222", maxReconnectAttempts: -1 });
const running = new Set();
let stopping = false;

async function request(subject, message) {
  for (let tries = 0; tries < 60; tries++) { // engines may be away for a moment, and repeats are harmless
    const reply = await nc.request(subject, encode(message), { timeout: 15_000 }).catch(() => null);
    const { Ok, Err } = reply ? decode(reply.data) : {};
    if (Ok) return Ok;
    if (Err && !["Unavailable", "ResourceExhausted"].includes(Err.kind)) throw Object.assign(new Error(Err.message), { kind: Err.kind });
    await sleep(1000);
  }
  throw Object.assign(new Error(`no answer on ${subject}`), { kind: "Unavailable" });
}

async function work(namespaceId, message) {
  const reference = decode(message.data);
  const call = (name, body) =>
    request("fm.call", { namespace_id: namespaceId, workflow_id: reference.workflow_id, request: { [name]: body } });
  const claim = { task: reference, task_queue: { name: QUEUE }, identity: IDENTITY, claim_id: randomUUID(), protocol: PROTOCOL };
  let task;
  try {
    task = (await call("ClaimActivityTask", claim)).ActivityTask;
  } catch (refused) { // NotFound: it was done, cancelled or timed out meanwhile
    return refused.kind === "NotFound" ? message.ack() : message.nak(1000);
  }
  message.ack();
  const answer = { task_token: task.task_token, identity: IDENTITY };
  const stop = new AbortController(), ended = new AbortController();
  const timeout = task.heartbeat_timeout ?? { secs: 30, nanos: 0 };
  const heartbeat = async () => { // for as long as somebody waits for the activity
    while (!(await call("RecordActivityTaskHeartbeat", answer)).RecordActivityTaskHeartbeat.cancel_requested)
      await sleep((timeout.secs * 1000 + timeout.nanos / 1e6) / 3, null, { signal: ended.signal });
  };
  heartbeat().then(() => stop.abort(), () => stop.abort());
  const values = (task.input?.payloads ?? []).map((payload) => JSON.parse(new TextDecoder().decode(payload.data)));
  const activity = activities[task.activity_type.name] ?? unknown;
  const result = await activity({ ...task, signal: stop.signal }, ...values).then((value) => ({ value }), (error) => ({ error }));
  ended.abort();
  const json = { metadata: { encoding: new TextEncoder().encode("json/plain") }, data: new TextEncoder().encode(JSON.stringify(result.value ?? null)) };
  const failure = { message: `${result.error?.message}`, failure_info: { ApplicationFailureInfo: { type: `${result.error?.name}` } } };
  const end = !result.error ? call("RespondActivityTaskCompleted", { request: { ...answer, result: { payloads: [json] } } })
    : result.error.name === "AbortError" ? call("RespondActivityTaskCanceled", answer)
    : call("RespondActivityTaskFailed", { ...answer, failure });
  await end.catch((refused) => console.error("answer refused:", refused.kind, refused.message)); // NotFound: it timed out, or its workflow has closed
}

while (!stopping) { // again when a restarted broker has forgotten the queue
  const welcome = await request("fm.hello", { protocol: PROTOCOL, namespace: process.env.NAMESPACE ?? "default", task_queue: QUEUE });
  process.removeAllListeners("SIGTERM").on("SIGTERM", () => { stopping = true; });
  const consumer = await nc.jetstream().consumers.get(welcome.stream, welcome.consumer);
  console.log("ready");
  while (!stopping) {
    try {
      const message = running.size < 10 ? await consumer.next({ expires: 1000 }) : await Promise.race(running).then(() => null);
      if (!message) continue;
      const one = work(welcome.namespace_id, message).finally(() => running.delete(one));
      running.add(one);
    } catch (error) {
      console.error("the queue is lost:", error.message);
      break;
    }
  }
}
await Promise.all(running); // what was begun is ended and answered
await nc.drain();
