"""A broker in pure Python for a demo on a machine without mosquitto: `python -m drivers.simulators.broker PORT`.

amqtt loses in-flight messages at a reconnect: it serves a demonstration, and no test of reliability.
"""

import asyncio
import contextlib
import logging
import signal
import sys


async def serve(port: int) -> None:
    """Serves MQTT 3.1.1 on 127.0.0.1 until SIGTERM or SIGINT."""
    from amqtt.broker import Broker  # noqa: PLC0415  of the extra `demo`, which may be absent

    logging.disable(logging.CRITICAL)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await broker.start()
    await stopping.wait()
    with contextlib.suppress(Exception):  # it may complain of clients that left before it
        await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
