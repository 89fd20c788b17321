"""Activities are plain coroutines: they get their task and the values that the workflow gave."""
import asyncio

async def greet(task, name):
    return {"greeting": f"Hello {name}", "by": "python"}

async def fail_once(task, name):
    if task["attempt"] == 1:
        raise ValueError(f"{name} is not ready")
    return f"{name} at attempt {task['attempt']}"

async def take_time(task, seconds):
    await asyncio.sleep(seconds)
    return task["attempt"]

async def wait_for_cancel(task):
    await asyncio.sleep(3600)  # a cancel request ends it: asyncio.CancelledError

async def unknown(task, *_):
    raise LookupError(f"activity type {task['activity_type']['name']!r} is not registered with this worker")

ACTIVITIES = {"greet": greet, "fail_once": fail_once, "take_time": take_time, "wait_for_cancel": wait_for_cancel}
