"""Does each broker let the gateway in, with what it wants, and what are its limits?"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from drivers import conditions as ids
from drivers.api import DriverError
from drivers.limits import MQTT_PACKET_BYTES
from drivers.mqtt_connect import Broker
from drivers.mqtt_sources import SubscribedOptions, covers, subscriptions
from gateway.conditions import Problem, find, listed
from gateway.conditions.brokers import (
    BROKER_CERTIFICATE,
    BROKER_LOGIN,
    BROKER_NO_QOS1,
    BROKER_PACKET,
    BROKER_PLAIN,
    BROKER_PROTOCOL,
    BROKER_QOS0,
    BROKER_REFUSED,
    BROKER_TOPIC,
    BROKER_UNREACHABLE,
    BROKER_WINDOW_DEFAULT,
    BROKER_WINDOW_LARGE,
    BROKER_WINDOW_SMALL,
)
from gateway.conditions.found import CHECK_UNSEEN
from gateway.config.advice import WINDOW_DEFAULT
from gateway.configured import broker_of
from gateway.core import limits
from gateway.core.text import is_loopback
from gateway.doctor import mqtt5
from gateway.doctor.broker_asking import Said, ask
from gateway.doctor.case import Case, Outcome, beside, each, ends_soon, merged
from gateway.errors import KeyFileError
from gateway.settings import Settings

_REFUSED = 0x80


async def look(case: Case) -> Outcome:
    """All brokers at once."""
    settings = case.wanted
    names = list(settings.broker)[: limits.DOCTOR_PEERS]
    outcomes = await each(*(_look(name, settings) for name in names))
    said = f"{listed(names)}: lets the gateway in, with all its topics" if names else "no broker is configured"
    return merged(said, dict(zip(names, outcomes, strict=True)))


async def _look(name: str, settings: Settings) -> Outcome:
    table, sources = settings.broker[name], _sources(name, settings)
    try:
        broker = replace(await beside(broker_of, settings, name), client_id="")  # the gateway's would end its session
    except KeyFileError as error:
        cure = f"{error.cure}. Or run this as the gateway's user, or as root" if error.cure else "Run this as root"
        return Outcome("", (CHECK_UNSEEN.problem(f"broker {name}", detail=error.what, cure=cure),))
    filters = list(subscriptions(sources).items())[: limits.DOCTOR_FILTERS]
    timeout_s = min(table.connect_timeout_s, limits.DOCTOR_ASKING_S)
    try:
        said = await beside(ask, broker, filters, timeout_s, timeout_s=limits.DOCTOR_ASKING_S + 1)
    except DriverError as error:
        return Outcome("", (of_error(name, error),))
    except TimeoutError:
        return Outcome("", (BROKER_UNREACHABLE.problem(name, at=broker.address, detail="no answer"),))
    return judge(name, broker, sources, said, now_s=time.time())


def _sources(name: str, settings: Settings) -> dict[str, SubscribedOptions]:
    """Those that subscribe at this broker."""
    tables = ((source, table.options) for source, table in settings.source.items())
    return {
        source: options
        for source, options in tables
        if isinstance(options, SubscribedOptions) and options.broker == name
    }


def of_error(name: str, error: DriverError) -> Problem:
    """A failure of the driver's own way to the broker."""
    if error.condition in ids.VALUES:
        return find(error.condition).problem(name, **error.values)
    return BROKER_PROTOCOL.problem(name, at="", detail=error.what)


def judge(name: str, broker: Broker, sources: dict[str, SubscribedOptions], said: Said, *, now_s: float) -> Outcome:
    """What it said, against what the configuration wants."""
    answer, at = said.answer, broker.address
    if answer is None:
        return Outcome("", (BROKER_PROTOCOL.problem(name, at=at, detail=said.why),))
    if answer.reason in mqtt5.LOGIN:
        return Outcome("", (BROKER_LOGIN.problem(name, at=at),))
    if answer.reason in mqtt5.NO_CLIENT_ID:
        why = "it takes no client id but those it knows, so it was not asked further"
        cure = "The gateway itself tells how it gets on with it: see the check of the gateway"
        return Outcome("", (CHECK_UNSEEN.problem(f"broker {name}", detail=why, cure=cure),))
    if answer.reason:
        detail = mqtt5.REASONS.get(answer.reason, f"reason {answer.reason:#04x}")
        return Outcome("", (BROKER_REFUSED.problem(name, at=at, detail=detail),))
    problems = [
        *_of_limits(name, broker, said),
        *_of_topics(name, sources, said.granted),
        *_of_way(name, broker, said, now_s),
    ]
    return Outcome("", problems, _figures(said))


def _of_limits(name: str, broker: Broker, said: Said) -> Iterator[Problem]:
    answer, window = said.answer, broker.window
    if answer is None:
        return
    if answer.maximum_qos == 0:
        yield BROKER_NO_QOS1.problem(name)
    limit = answer.receive_maximum
    if limit is not None and limit < window:
        yield BROKER_WINDOW_LARGE.problem(name, window=window, limit=limit)
    elif limit == WINDOW_DEFAULT:
        yield BROKER_WINDOW_DEFAULT.problem(name)
    elif limit is not None and limit > window:
        yield BROKER_WINDOW_SMALL.problem(name, window=window, limit=limit)
    if answer.maximum_packet is not None and answer.maximum_packet < MQTT_PACKET_BYTES:
        yield BROKER_PACKET.problem(name, limit=answer.maximum_packet, wanted=MQTT_PACKET_BYTES)


def _of_topics(
    name: str, sources: dict[str, SubscribedOptions], granted: Sequence[tuple[str, int]]
) -> Iterator[Problem]:
    wanted = subscriptions(sources)
    for one, code in granted:
        under = listed([source for source, options in sources.items() if _wants(options, one)])
        if code >= _REFUSED:
            yield BROKER_TOPIC.problem(under, broker=name, topic=one)
        elif code < wanted[one]:
            yield BROKER_QOS0.problem(under, broker=name, topic=one)


def _wants(options: SubscribedOptions, one: str) -> bool:
    wide = tuple(one.split("/"))
    return any(covers(wide, tuple(two.split("/"))) for two in options.filters)


def _of_way(name: str, broker: Broker, said: Said, now_s: float) -> Iterator[Problem]:
    if ends_soon(said.ends, now_s):
        yield BROKER_CERTIFICATE.problem(name, ends=said.ends)
    if not (broker.tls or broker.password or is_loopback(broker.host)):  # with one: check configuration
        yield BROKER_PLAIN.problem(name, at=broker.address)


def _figures(said: Said) -> dict[str, str]:
    answer = said.answer
    limit = answer.receive_maximum if answer else None
    figures = {
        "MQTT": "5" if said.version == 5 else "3.1.1",
        "messages under way": "not told" if limit is None else str(limit),
    }
    if said.name:
        figures["program"] = said.name
    if said.ends:
        figures["certificate ends"] = said.ends
    return figures
