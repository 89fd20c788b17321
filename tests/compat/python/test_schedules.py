"""Schedules: what they start, how they are changed, paused, triggered, caught up and listed."""

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCStatusCode

from support import eventually, history, refused, unique, worker

HOURLY = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))])


@workflow.defn
class Tick:
    @workflow.run
    async def run(self, text: str) -> str:
        return text


@workflow.defn
class Slow:
    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(3_600)


def ticks(queue: str, spec: ScheduleSpec = HOURLY, **more: Any) -> Schedule:
    action = ScheduleActionStartWorkflow(Tick.run, "tick", id=unique("tick"), task_queue=queue, memo={"by": "schedule"})
    return Schedule(action=action, spec=spec, **more)


async def taken(handle: ScheduleHandle, count: int) -> list[Any]:
    async def enough() -> Any:
        info = (await handle.describe()).info
        return info.num_actions >= count and info.recent_actions

    return await eventually(enough)


async def test_a_trigger_starts_the_workflow(client: Client):
    async with worker(client, Tick) as queue:
        schedule = await client.create_schedule(unique("schedule"), ticks(queue))
        await schedule.trigger()
        [action] = await taken(schedule, 1)
        run = client.get_workflow_handle(action.action.workflow_id, run_id=action.action.first_execution_run_id, result_type=str)
        assert await run.result() == "tick"
        told = await run.describe()
        assert await told.memo() == {"by": "schedule"}
        started = (await history(run))[0].workflow_execution_started_event_attributes
        assert b"TemporalScheduledById" in started.search_attributes.SerializeToString()
        await schedule.delete()


async def test_an_interval_starts_workflows_by_itself(client: Client):
    async with worker(client, Tick) as queue:
        every_second = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=1))])
        schedule = await client.create_schedule(unique("schedule"), ticks(queue, every_second))
        actions = await taken(schedule, 3)
        assert len({action.action.workflow_id for action in actions}) == len(actions)
        await schedule.delete()


async def test_actions_may_be_limited(client: Client):
    async with worker(client, Tick) as queue:
        every_second = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=1))])
        state = ScheduleState(limited_actions=True, remaining_actions=1)
        schedule = await client.create_schedule(unique("schedule"), ticks(queue, every_second, state=state))
        await taken(schedule, 1)
        await asyncio.sleep(1.5)
        told = await schedule.describe()
        assert (told.info.num_actions, told.schedule.state.remaining_actions) == (1, 0)
        await schedule.delete()


async def test_a_schedule_is_described_as_it_was_made(client: Client):
    spec = ScheduleSpec(
        calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(9, 17, 2)], comment="office")],
        time_zone_name="Europe/Zurich",
        jitter=timedelta(seconds=5),
    )
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.BUFFER_ALL, catchup_window=timedelta(minutes=7), pause_on_failure=True)
    schedule = await client.create_schedule(unique("schedule"), ticks("nobody", spec, policy=policy, state=ScheduleState(note="a note")))
    told = await schedule.describe()
    assert told.schedule.spec.calendars[0].hour[0] == ScheduleRange(9, 17, 2)
    assert (told.schedule.spec.time_zone_name, told.schedule.spec.jitter) == ("Europe/Zurich", timedelta(seconds=5))
    assert told.schedule.policy == policy
    assert told.schedule.state.note == "a note"
    times = told.info.next_action_times
    assert len(times) == 10 and times == sorted(times) and times[0] > datetime.now(timezone.utc) - timedelta(minutes=1)
    await schedule.delete()


async def test_a_paused_schedule_starts_nothing(client: Client):
    async with worker(client, Tick) as queue:
        every_second = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=1))])
        paused = ScheduleState(paused=True, note="not yet")
        schedule = await client.create_schedule(unique("schedule"), ticks(queue, every_second, state=paused))
        await asyncio.sleep(1.5)
        assert (await schedule.describe()).info.num_actions == 0
        await schedule.unpause(note="now")
        await taken(schedule, 1)
        await schedule.pause(note="enough")
        state = (await schedule.describe()).schedule.state
        assert (state.paused, state.note) == (True, "enough")
        await schedule.delete()


async def test_a_schedule_is_changed(client: Client):
    async with worker(client, Tick) as queue:
        schedule = await client.create_schedule(unique("schedule"), ticks(queue))

        async def change(input: ScheduleUpdateInput) -> ScheduleUpdate:
            changed = input.description.schedule
            assert isinstance(changed.action, ScheduleActionStartWorkflow)
            changed.action.args = ["tock"]
            return ScheduleUpdate(changed)

        await schedule.update(change)
        await schedule.trigger()
        [action] = await taken(schedule, 1)
        assert await client.get_workflow_handle(action.action.workflow_id, result_type=str).result() == "tock"
        await schedule.delete()


async def test_the_past_is_caught_up(client: Client):
    async with worker(client, Tick) as queue:
        schedule = await client.create_schedule(unique("schedule"), ticks(queue))
        now = datetime.now(timezone.utc)
        await schedule.backfill(ScheduleBackfill(now - timedelta(hours=4), now, overlap=ScheduleOverlapPolicy.ALLOW_ALL))
        assert len(await taken(schedule, 4)) == 4
        await schedule.delete()


async def test_a_running_workflow_keeps_the_next_one_waiting(client: Client):
    async with worker(client, Slow) as queue:
        action = ScheduleActionStartWorkflow(Slow.run, id=unique("slow"), task_queue=queue)
        policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP)
        schedule = await client.create_schedule(unique("schedule"), Schedule(action=action, spec=HOURLY, policy=policy))
        await schedule.trigger()
        await taken(schedule, 1)
        await schedule.trigger()

        async def skipped() -> bool:
            return (await schedule.describe()).info.num_actions_skipped_overlap == 1

        await eventually(skipped)
        told = (await schedule.describe()).info
        assert told.num_actions == 1 and len(told.running_actions) == 1
        await schedule.trigger(overlap=ScheduleOverlapPolicy.TERMINATE_OTHER)
        await taken(schedule, 2)
        await schedule.delete()


async def test_schedules_are_made_once_listed_and_deleted(client: Client):
    id = unique("schedule")
    schedule = await client.create_schedule(id, ticks("nobody"), memo={"note": "listed"})
    with pytest.raises(ScheduleAlreadyRunningError):
        await client.create_schedule(id, ticks("nobody"))

    async def listed() -> Any:
        found = [each async for each in await client.list_schedules() if each.id == id]
        return found and found[0]

    assert await (await eventually(listed)).memo() == {"note": "listed"}
    await schedule.delete()
    with refused(RPCStatusCode.NOT_FOUND):
        await schedule.describe()

    async def is_gone() -> bool:
        return not await listed()

    await eventually(is_gone)
