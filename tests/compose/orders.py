"""Orders by REST, as a customer of the stack places them; a request that fails is never tried again, but told."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

REQUEST_SECONDS_MAX = 20


class Orders:
    def __init__(self, api: str, prefix: str) -> None:
        self.url = f"{api}/api/v1/namespaces/default/workflows"
        self.prefix = prefix
        self.ids: list[str] = []
        self.failures: list[str] = []
        self.slowest = 0.0
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.threads: list[threading.Thread] = []

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS_MAX + 20) as answer:
            return json.load(answer)

    def place(self) -> str | None:
        with self.lock:
            workflow_id = f"{self.prefix}-{len(self.ids)}"
            self.ids.append(workflow_id)
        order = {
            "id": workflow_id,
            "customer_email": "ada@example.com",
            "items": [{"sku": "metronome", "quantity": 1}],
            "payment": {"card_token": "tok_visa", "amount_cents": 4200},
            "address": {"street": "Lindenweg 3", "city": "Bern", "country": "CH"},
        }
        body = {"workflowType": {"name": "ProcessOrder"}, "taskQueue": {"name": "orders"}, "input": [order]}
        began = time.monotonic()
        try:
            self.call("POST", f"/{workflow_id}", body)
            self.call("GET", f"/{workflow_id}")
        except (OSError, ValueError) as error:
            told = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else repr(error)
            with self.lock:
                self.failures.append(f"{workflow_id}: {told}")
            return None
        with self.lock:
            self.slowest = max(self.slowest, time.monotonic() - began)
        return workflow_id

    def begin(self, threads: int = 4, pause: float = 0.2) -> None:
        """Places orders until `end`."""

        def work() -> None:
            while not self.stopped.wait(pause):
                self.place()

        self.threads = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(REQUEST_SECONDS_MAX + 30)

    def results(self, ids: list[str] | None = None, seconds: float = 60) -> dict[str, str]:
        """How each order ended."""
        end = time.monotonic() + seconds

        def result(workflow_id: str) -> tuple[str, str]:
            while True:
                answer = self.call("GET", f"/{workflow_id}/result?wait=10s")
                if answer["status"] != "RUNNING" or time.monotonic() > end:
                    return workflow_id, answer["status"]

        with ThreadPoolExecutor(16) as pool:
            return dict(pool.map(result, self.ids if ids is None else ids))

    def payment_workers(self, ids: list[str]) -> set[str]:
        """Who validated the payments of these orders, as their histories say."""

        def worker(workflow_id: str) -> set[str]:
            events = self.call("GET", f"/{workflow_id}/history")["history"]["events"]
            scheduled = {event["eventId"] for event in events if event.get("activityTaskScheduledEventAttributes", {}).get("activityType", {}).get("name") == "validate_payment"}
            started = [event.get("activityTaskStartedEventAttributes", {}) for event in events]
            return {attributes["identity"] for attributes in started if attributes.get("scheduledEventId") in scheduled}

        with ThreadPoolExecutor(8) as pool:
            return set().union(*pool.map(worker, ids))
