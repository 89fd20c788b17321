"""An activity worker on plain NATS: pip install nats-py msgpack. What it says is in proto/PROTOCOL.md."""
import asyncio, json, os, signal, sys, uuid
from contextlib import suppress
import msgpack, nats
from nats.errors import Error, NoRespondersError, TimeoutError
from activities import ACTIVITIES, unknown

QUEUE, IDENTITY, PROTOCOL = os.environ.get("TASK_QUEUE", "mixed"), f"python-{os.getpid()}", 1

class Refused(Exception): ...  # its arguments are the kind of refusal and the words for it

async def request(nc, subject, message):
    for _ in range(60):  # engines may be away for a moment, and repeats are harmless
        try:
            (outcome, answer), = msgpack.unpackb((await nc.request(subject, msgpack.packb(message), timeout=15)).data).items()
            if outcome == "Ok":
                return answer
            if answer["kind"] not in ("Unavailable", "ResourceExhausted"):
                raise Refused(answer["kind"], answer["message"])
        except (NoRespondersError, TimeoutError):
            pass
        await asyncio.sleep(1)
    raise Refused("Unavailable", f"no answer on {subject}")

async def work(nc, namespace_id, message):
    reference = msgpack.unpackb(message.data)
    def call(name, body):
        return request(nc, "fm.call", {"namespace_id": namespace_id, "workflow_id": reference["workflow_id"], "request": {name: body}})
    claim = {"task": reference, "task_queue": {"name": QUEUE}, "identity": IDENTITY, "claim_id": str(uuid.uuid4()), "protocol": PROTOCOL}
    try:
        task = (await call("ClaimActivityTask", claim))["ActivityTask"]
    except Refused as refused:  # NotFound: it was done, cancelled or timed out meanwhile
        return await (message.ack() if refused.args[0] == "NotFound" else message.nak(delay=1))
    await message.ack()
    answer = {"task_token": task["task_token"], "identity": IDENTITY}
    async def heartbeat():  # for as long as somebody waits for the activity
        timeout = task.get("heartbeat_timeout") or {"secs": 30, "nanos": 0}
        while not (await call("RecordActivityTaskHeartbeat", answer))["RecordActivityTaskHeartbeat"].get("cancel_requested"):
            await asyncio.sleep((timeout["secs"] + timeout["nanos"] / 1e9) / 3)
    values = [json.loads(payload["data"]) for payload in task.get("input", {}).get("payloads", [])]
    activity = asyncio.ensure_future(ACTIVITIES.get(task["activity_type"]["name"], unknown)(task, *values))
    heart = asyncio.ensure_future(heartbeat())
    await asyncio.wait([activity, heart], return_when=asyncio.FIRST_COMPLETED)
    (heart if activity.done() else activity).cancel()
    result, = await asyncio.gather(activity, return_exceptions=True)
    if isinstance(result, asyncio.CancelledError):
        end = call("RespondActivityTaskCanceled", answer)
    elif isinstance(result, Exception):
        failure = {"message": str(result), "failure_info": {"ApplicationFailureInfo": {"type": type(result).__name__}}}
        end = call("RespondActivityTaskFailed", {**answer, "failure": failure})
    else:
        payload = {"metadata": {"encoding": b"json/plain"}, "data": json.dumps(result).encode()}
        end = call("RespondActivityTaskCompleted", {"request": {**answer, "result": {"payloads": [payload]}}})
    try:
        await end
    except Refused as refused:  # NotFound: it timed out, or its workflow has closed
        print("answer refused:", *refused.args, file=sys.stderr)

async def main():
    nc, running, stopping = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222")), set(), asyncio.Event()
    hello = {"protocol": PROTOCOL, "namespace": os.environ.get("NAMESPACE", "default"), "task_queue": QUEUE}
    while not stopping.is_set():  # again when a restarted broker has forgotten the queue
        welcome = await request(nc, "fm.hello", hello)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        tasks = await nc.jetstream().pull_subscribe_bind(consumer=welcome["consumer"], stream=welcome["stream"])
        print("ready", flush=True)
        try:
            while not stopping.is_set():
                if len(running) >= 10:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                with suppress(TimeoutError):
                    message, = await tasks.fetch(1, timeout=1)
                    running.add(one := asyncio.ensure_future(work(nc, welcome["namespace_id"], message)))
                    one.add_done_callback(running.discard)
        except Error as error:
            print("the queue is lost:", error, file=sys.stderr)
    await asyncio.gather(*running)  # what was begun is ended and answered
    await nc.close()

asyncio.run(main())
