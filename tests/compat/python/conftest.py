"""One client for all cases of a process, connected to the server named by FERMATA_ADDRESS."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.client import Client


@pytest.fixture(scope="session")
def address() -> str:
    return os.environ["FERMATA_ADDRESS"]


@pytest.fixture(scope="session")
def nats() -> str:
    """The server's broker, for workers in Rust."""
    return os.environ["FERMATA_NATS"]


@pytest_asyncio.fixture(scope="session")
async def client(address: str) -> AsyncIterator[Client]:
    yield await Client.connect(address, identity="compat")
