"""An order that waits for somebody's approval: what the web UI is shown."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def reserve(order: dict[str, int]) -> str:
    return f"order {order['orderId']} reserved"


@workflow.defn
class Approval:
    def __init__(self) -> None:
        self.reserved = False
        self.approved = False

    @workflow.run
    async def run(self, order: dict[str, int]) -> str:
        await workflow.execute_activity(reserve, order, start_to_close_timeout=timedelta(seconds=10))
        self.reserved = True
        await workflow.wait_condition(lambda: self.approved, timeout=timedelta(hours=1))
        return "approved"

    @workflow.signal
    def approve(self) -> None:
        self.approved = True

    @workflow.query
    def state(self) -> str:
        return "waiting" if self.reserved else "reserving"
