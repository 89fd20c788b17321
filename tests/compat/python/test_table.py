"""docs/compatibility.md tells the truth: what it says is not yet there answers UNIMPLEMENTED, and nothing else does."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.operatorservice.v1 import request_response_pb2 as operator
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.workflowservice.v1 import request_response_pb2 as workflow
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

PAGE = Path(__file__).resolve().parents[3] / "docs" / "compatibility.md"
SERVICES = {
    "workflow_service": (workflow_service.DESCRIPTOR.services_by_name["WorkflowService"], workflow),
    "operator_service": (operator_service.DESCRIPTOR.services_by_name["OperatorService"], operator),
}


def table(heading: str) -> dict[str, str]:
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", section, re.MULTILINE)[1:]
    return {name: state for names, state in rows for name in names.split(", ")}


@pytest.mark.parametrize("service", SERVICES)
async def test_the_states_of_calls_are_true(client: Client, service: str):
    told = table("Calls")
    descriptor, messages = SERVICES[service]
    wrong: list[Any] = []
    for method in descriptor.methods:
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
        request = getattr(messages, method.input_type.name)()
        try:
            await getattr(getattr(client, service), snake)(request, timeout=timedelta(seconds=3))
            exists = True
        except RPCError as error:
            exists = error.status != RPCStatusCode.UNIMPLEMENTED
        if exists == told[method.name].startswith("not yet"):
            wrong.append((method.name, told[method.name]))
    assert not wrong
    assert len(descriptor.methods) > 10


def test_the_quick_start_in_the_documentation_is_what_is_played():
    page = (PAGE.parent / "temporal-sdks.md").read_text()
    told = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)```$", page, re.MULTILINE | re.DOTALL))
    played = {path.name: path.read_text() for path in (PAGE.parents[1] / "tests" / "compat" / "quickstart").glob("*.py")}
    assert told == played
