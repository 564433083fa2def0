import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.broker import Mosquitto


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    broker = Mosquitto(tmp_path / "mosquitto", max_inflight=100)
    await asyncio.to_thread(broker.start)
    yield broker
    await asyncio.to_thread(broker.stop)
