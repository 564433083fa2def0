"""Modbus devices on one port or connection: pymodbus frames and takes apart, the polled shape asks.

pymodbus's own client is not used: it opens a port on the event loop and without TIOCEXCL, closes a connection by
itself, and takes an answer of any length for the answer (docs/adr/0023).
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FRAMER_NAME_TO_CLASS, FramerBase, FramerRTU, FramerType
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.api import DriverError
from drivers.asking import Line
from drivers.codecs.base import Found, Refused
from drivers.codecs.modbus import Numbering, RegisterMap, Request, exception, plan, read
from drivers.codecs.modbus_rtu import answer_in, crc16
from drivers.codecs.values import ValueName
from drivers.limits import EXAMPLE_BYTES, MODBUS_FRAME_BYTES, MODBUS_REGISTERS
from drivers.polls import Answer

Framing = Literal["rtu", "ascii", "tcp"]
Values = Annotated[dict[ValueName, RegisterMap], Meta(title="Its values, by the names that they have in the reading")]
AtOnce = Annotated[
    int, Meta(ge=1, le=MODBUS_REGISTERS, title="Registers in one request; what touches is read together")
]
RegisterNumbers = Annotated[
    Numbering,
    Meta(
        title='How the manual counts registers: "zero" as on the wire, "one" from 1, "modicon" 40001, 30001, 10001, 1'
    ),
]

_FRAMERS = {"rtu": FramerType.RTU, "ascii": FramerType.ASCII, "tcp": FramerType.SOCKET}
_REQUESTS: Mapping[int, type[ModbusPDU]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
_NO_WAY = frozenset([10, 11])  # exceptions of a gateway that has waited for the device itself


class Member(NamedTuple):
    """What one source wants of its device. pause_s: from the last byte on the wire to the next question."""

    slave: int
    values: Mapping[str, RegisterMap]
    numbering: Numbering
    at_once: int
    timeout_s: float
    retries: int
    pause_s: float


class _Failed(Exception):
    """A question without a whole answer: what came is counted as `refused`."""

    def __init__(self, what: str, refused: Refused | None = None) -> None:
        super().__init__(what)
        self.refused = refused


class ModbusBus:
    """The Bus of one port or connection. connection: it may be closed and opened again at any time."""

    def __init__(self, line: Line, members: Mapping[str, Member], framing: Framing, *, connection: bool) -> None:
        self._line, self._members, self._framing = line, members, framing
        self._connection = connection
        self._plans = {source: plan(one.values, one.numbering, one.at_once) for source, one in members.items()}
        self._number = 0
        self._silences = 0

    async def open(self) -> None:
        """DriverError where it cannot be."""
        await self._line.open()

    async def close(self) -> None:
        """Lets go of it."""
        self._line.close()

    async def poll(self, source: str, *, brief: bool) -> Answer:
        """All requests of a source, in turn; what could be read is its reading."""
        member = self._members[source]
        answers: list[tuple[Request, bytes]] = []
        refused: list[Found | Refused] = []
        raw, fault, silent = b"", "", False
        for request in self._plans[source]:
            pdu = await self._try(member, request, 0 if brief else member.retries, refused)
            if isinstance(pdu, str):
                fault, silent = pdu, True
                break
            part = bytes([pdu.function_code]) + pdu.encode()
            if pdu.isError():
                reason, cure = exception(pdu.exception_code)
                fault = f"slave {member.slave}: {reason} (exception {pdu.exception_code}). {cure}"
                refused.append(Refused(reason, part, _asked(member, request)))
                silent = pdu.exception_code in _NO_WAY
                if silent:
                    break
                continue
            raw += part
            answers.append((request, part[2:]))
        detail = fault or f"slave {member.slave} answers on {self._line.what}"
        return Answer([*read(answers, raw), *refused], not fault, detail, silent)

    async def _try(
        self, member: Member, request: Request, retries: int, refused: list[Found | Refused]
    ) -> ModbusPDU | str:
        """The answer, an exception perhaps; or why there is none, in words."""
        what = ""
        for _ in range(1 + retries):
            try:
                pdu = await self._ask(member, request)
            except _Failed as failed:
                what = f"slave {member.slave}: {failed}"
                if failed.refused:
                    refused.append(failed.refused)
                await self._unheard()
            else:
                self._silences = 0
                return pdu
        return what

    async def _unheard(self) -> None:
        """A connection on which nothing is heard may be dead itself: it is made anew before the next question."""
        self._silences += 1
        if self._connection and self._silences >= 3:
            self._silences = 0
            self._line.close()

    async def _ask(self, member: Member, request: Request) -> ModbusPDU:
        """One question and its answer. DriverError where the port, or any way to the device, is gone."""
        framer = FRAMER_NAME_TO_CLASS[_FRAMERS[self._framing]](DecodePDU(is_server=False))
        self._number = self._number % 65_000 + 1 if self._framing == "tcp" else 0
        question = _REQUESTS[request.function](
            address=request.address, count=request.number, dev_id=member.slave, transaction_id=self._number
        )
        frame = framer.buildFrame(question)
        await asyncio.sleep(member.pause_s)
        await self._fresh()
        heard = b""
        try:
            async with asyncio.timeout(member.timeout_s):
                await self._line.write(frame)
                while True:
                    heard = (heard + await self._line.read())[-MODBUS_FRAME_BYTES:]
                    answer = heard.removeprefix(frame)  # adapters there are that hear what they say
                    pdu = _taken(framer, answer, question)
                    if pdu is not None:
                        return _checked(pdu, request, answer)
        except TimeoutError:
            raise _failed(heard.removeprefix(frame), member, self._framing) from None
        except DriverError as error:
            if not self._connection:
                raise
            self._line.close()
            raise _Failed(f"{error.what}. {error.cure}") from error

    async def _fresh(self) -> None:
        """Nothing is heard any more of the question before; a connection that was closed meanwhile is made anew."""
        await self._line.open()
        try:
            self._line.stale()
        except DriverError:
            if not self._connection:
                raise
            self._line.close()
            await self._line.open()


def _taken(framer: FramerBase, heard: bytes, question: ModbusPDU) -> ModbusPDU | None:
    """The answer in what was heard; None where it is not there, or not whole. _Failed where it is none."""
    if isinstance(framer, FramerRTU):  # pymodbus looks for a frame at the first byte that could be one, and no further
        heard = answer_in(heard, question.dev_id, question.function_code)
    try:
        _, pdu = framer.handleFrame(heard, question.dev_id, question.transaction_id)
    except ModbusException:
        raise _Failed("an answer that cannot be read", Refused("wrong_length", heard[:EXAMPLE_BYTES])) from None
    return pdu


def _checked(pdu: ModbusPDU, request: Request, heard: bytes) -> ModbusPDU:
    """_Failed unless it answers what was asked."""
    if pdu.function_code & 0x7F != request.function:
        raise _Failed("an answer to another function", Refused("wrong_length", heard[:EXAMPLE_BYTES]))
    size = len(pdu.encode()) - 1
    if not pdu.isError() and size != request.size:
        what = f"{size} bytes of data, where {request.size} were asked for"
        raise _Failed(what, Refused("wrong_length", heard[:EXAMPLE_BYTES], what))
    return pdu


def _failed(heard: bytes, member: Member, framing: Framing) -> _Failed:
    if not heard:
        cure = "Check its power, the wires, slave, baud and parity" if framing != "tcp" else "Check slave and its power"
        return _Failed(f"no answer within {member.timeout_s:g} s. {cure}")
    reason = "checksum" if framing == "rtu" and len(heard) > 3 and crc16(heard) else "noise"
    cure = "Check baud, parity, the wires' ends, and that no two devices have one address"
    return _Failed(f"no whole answer within {member.timeout_s:g} s. {cure}", Refused(reason, heard[:EXAMPLE_BYTES]))


def _asked(member: Member, request: Request) -> str:
    last = request.address + request.number - 1
    return f"slave {member.slave}, function {request.function}, addresses {request.address} to {last}"
