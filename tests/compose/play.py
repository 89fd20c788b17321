"""The compose stack, from nothing: brought up, scaled under load, watched, mistreated, taken down.

    tests/compose/play.py --binaries target/debug --nats-server $(scripts/nats-server)

Needs docker and docker-compose; on Debian, as root, they are installed and started if they are absent. A machine that can
run no docker at all skips the test and says so.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import images
from daemon import Daemon, NoDocker, install
from orders import Orders
from stack import Failed, Stack, wait_for

PARTITIONS = 16
PILE = 200
DASHBOARD = images.ROOT / "deploy" / "compose" / "grafana" / "dashboards" / "fermata.json"
AUTOSCALE = images.ROOT / "deploy" / "compose" / "autoscale"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def check(is_so: bool, what: str) -> None:
    if not is_so:
        raise Failed(what)
    say(f"  ok: {what}")


# ---- the chapters, in order ----


def comes_up_from_nothing(stack: Stack) -> None:
    say("the stack comes up from nothing")
    stack.up()
    for service in ("nats", "engine", "api"):
        wait_for(f"{service} is healthy", 60, lambda: stack.is_healthy(service))
    check(True, "nats, engine and api are healthy by their own health checks")
    for service in ("engine", "api", "payment-worker"):
        for container in stack.containers(service):
            shown = subprocess.run(["docker", "top", container["Id"], "-o", "pid,uid"], check=True, capture_output=True, text=True)
            users = {line.split()[1] for line in shown.stdout.splitlines()[1:]}
            check(users == {"65532"}, f"{service} does not run as root")
    wait_for("all partitions are served", 20, lambda: stack.shared_by(1))
    partitions = stack.operator("partitions")["partitions"]
    check(len(partitions) == PARTITIONS and all(partition["answers"] for partition in partitions), "fermata operator partitions sees each of them answer")
    order = Orders(stack.api, "first")
    order.place()
    check(order.results() == {"first-0": "COMPLETED"}, "an order that is placed by REST completes")


def scales_under_load(stack: Stack) -> None:
    say("orders come in without a pause while engines and workers are scaled")
    orders = Orders(stack.api, "scaled")
    orders.begin()
    try:
        stack.scale("engine", 3)
        began = time.monotonic()
        owned = wait_for("three engines share the partitions", 30, lambda: stack.shared_by(3))
        check(True, f"three engines share the partitions: {sorted(owned.values())}, {time.monotonic() - began:.1f} s after compose was done")
        stack.scale("payment-worker", 5)
        wait_for("five payment workers share their queue", 40, lambda: len(orders.payment_workers(orders.ids[-60:-5])) == 5)
        check(True, "five payment workers share their queue")
        every_panel_has_data(stack)
        stack.scale("engine", 1)
        wait_for("one engine has all partitions", 30, lambda: stack.shared_by(1))
        check(True, "one engine has all partitions again")
        stack.scale("payment-worker", 1)
        time.sleep(2)
    finally:
        orders.end()
    for failure in orders.failures[:10]:
        say(f"  failed: {failure}")
    check(not orders.failures, f"none of {2 * len(orders.ids)} requests failed; the slowest pair took {orders.slowest:.2f} s")
    ends = orders.results()
    check(set(ends.values()) == {"COMPLETED"}, f"all {len(ends)} orders completed")


def every_panel_has_data(stack: Stack) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [(panel["title"], target["expr"].replace("$__rate_interval", "30s")) for panel in panels for target in panel.get("targets", [])]

    def answered(expression: str) -> bool:
        return any(sample["value"][1] not in ("NaN", "+Inf") for sample in stack.query(expression))

    for title, expression in queries:
        wait_for(f"the dashboard's panel {title!r} has data: {expression}", 25, lambda: answered(expression))

    def rules() -> list[dict]:
        groups = stack.get(f"http://127.0.0.1:{stack.prometheus}/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    wait_for("Prometheus can work out all alerts", 60, lambda: len(rules()) == 5 and all(rule["health"] == "ok" for rule in rules()))
    firing = [rule["name"] for rule in rules() if rule["state"] == "firing"]
    check(not firing, f"no alert is raised: {firing}")
    check(len(queries) > 20, f"Prometheus answers all {len(queries)} queries of the dashboard with data")


def scales_by_backlog(stack: Stack) -> None:
    say("the payment provider gets slow, orders pile up, and the autoscaler acts")
    stack.environment.update(ORDERS_PAYMENT_MS="1000", ORDERS_PAYMENTS_MAX="4")
    stack.run("up", "-d", "--no-build", "--no-deps", "payment-worker")
    rule = ["--min", "1", "--max", "4", "--tasks-per-worker", "20", "--down-after", "3", "--every", "1"]
    source = ["--prometheus", f"http://127.0.0.1:{stack.prometheus}"]
    where = ["--service", "payment-worker", "--queue", "payment-queue", "--compose", " ".join(stack.command)]
    scaler = subprocess.Popen([sys.executable, AUTOSCALE, *where, *rule, *source], env=stack.environment)
    try:
        orders = Orders(stack.api, "piled")
        # Far more at once than one worker takes in the time that the slowest machine needs to look.
        with ThreadPoolExecutor(8) as pool:
            for _ in range(PILE):
                pool.submit(orders.place)
        check(not orders.failures, f"{PILE} orders are placed")
        wait_for("the service is scaled up", 40, lambda: len(stack.containers("payment-worker")) == 4)
        check(True, "a backlog scales the service up to its bound")
        ends = orders.results()
        check(set(ends.values()) == {"COMPLETED"}, f"all {len(ends)} orders completed")
        wait_for("the service is scaled down", 90, lambda: len(stack.containers("payment-worker")) == 1)
        check(True, "an empty queue scales it down again")
        check(scaler.poll() is None, "the autoscaler goes on")
    finally:
        scaler.terminate()
        scaler.wait(150)


def refuses_what_cannot_work(stack: Stack) -> None:
    say("mistakes are told, and harm nothing")
    wrong = subprocess.run(["docker", "run", "--rm", images.FERMATA, "server", "--nats", "nats://127.0.0.1:1"], capture_output=True, text=True, timeout=60)
    check(wrong.returncode != 0 and "connect to NATS at nats://127.0.0.1:1" in wrong.stderr, f"a wrong broker address is told: {wrong.stderr.strip().splitlines()[-1]}")
    before = stack.owned()
    takeovers = stack.query("sum(fermata_takeovers_total)")[0]["value"][1]
    # A container of its own beside the engine, with another number.
    other = stack.run("run", "--rm", "-T", "--no-deps", "-e", "FERMATA_PARTITIONS=8", "engine", check=False)
    told = (other.stdout + other.stderr).strip()
    check(other.returncode != 0 and "this deployment was made with 16" in told, "another number of partitions is refused, with both numbers")
    time.sleep(6)
    check(stack.owned() == before, "the engine kept its partitions")
    check(stack.query("sum(fermata_takeovers_total)")[0]["value"][1] == takeovers, "nothing was taken over")
    orders = Orders(stack.api, "after")
    orders.place()
    check(orders.results() == {"after-0": "COMPLETED"}, "an order completes as before")


def survives_a_restart_of_everything(stack: Stack) -> None:
    say("everything is taken down and comes up again on the same volume")
    stack.run("down", "--timeout", "15")
    stack.up()
    wait_for("the api is healthy again", 60, lambda: stack.is_healthy("api") and stack.shared_by(1))
    again = Orders(stack.api, "first")
    check(again.results(["first-0"]) == {"first-0": "COMPLETED"}, "the first order is still known")
    report = stack.operator("verify")
    runs = sum(partition["openRuns"] + partition["closedRuns"] for partition in report["partitions"])
    check(report["problems"] == 0 and runs > 200, f"fermata operator verify finds nothing wrong with {runs} runs")


CHAPTERS = [comes_up_from_nothing, scales_under_load, scales_by_backlog, refuses_what_cannot_work, survives_a_restart_of_everything]


def tell_all(stack: Stack) -> None:
    """What a failed run leaves to look at."""
    print(stack.run("ps", check=False).stdout)
    print(stack.run("logs", "--no-color", "--tail", "40", check=False).stdout[-15_000:], flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", type=Path, required=True, help="the folder of fermata and orders-worker")
    parser.add_argument("--nats-server", type=Path, required=True)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cache = images.ROOT / "target" / "compose"
    cache.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(cache)
    try:
        install()
        daemon.start()
    except NoDocker as reason:
        print(f"\n{'!' * 100}\n!! SKIPPED: the compose stack was NOT tested, since no docker can run here: {reason}\n{'!' * 100}\n", flush=True)
        return 0
    stack = None
    try:
        say("building the images")
        images.build_all(cache, given.binaries, given.nats_server)
        stack = Stack()
        for chapter in CHAPTERS:
            chapter(stack)
        say("the stack does what it promises")
        return 0
    except (Failed, NoDocker) as reason:
        print(f"FAILED: {reason}", flush=True)
        if stack:
            tell_all(stack)
        return 1
    finally:
        if stack:
            stack.down()
        daemon.stop()


if __name__ == "__main__":
    sys.exit(main())
