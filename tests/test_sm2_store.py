"""SM2 lines of a whole store, by `verify --store`."""

import asyncio
from pathlib import Path

import pytest
from fakes.command import Done, within
from fakes.filled_store import make_store
from fakes.log_maker import ORIGIN, LogMaker

from gateway import keys
from gateway.core.note import SM2, SignatureLine
from gateway.keys import Signer

NAME = f"{ORIGIN.rpartition('/')[0]}/sm2"
KEY, OTHER = (keys.parse_key(keys.generate(NAME, SM2), where="a test") for _ in range(2))
LOG = LogMaker().add(4, readings=1)
PIN = f"sm2 {ORIGIN} key {KEY.vkey}\n"


def line(size: int, signer: Signer = KEY, of: int | None = None) -> SignatureLine:
    return keys.sm2_line(signer, LOG.note(of or size).text)


async def _store(folder: Path, lines: dict[int, SignatureLine]) -> None:
    store = await make_store(folder, LOG)
    for size, one in lines.items():
        text = LOG.note(size).with_lines([one]).encode()
        await store.db.transact([("UPDATE checkpoint SET note=? WHERE size=?", (text, size))])
    await store.close()


def verified(folder: Path, lines: dict[int, SignatureLine], pins: str | None = PIN) -> Done:
    asyncio.run(_store(folder / "data", lines))
    (folder / "pins").write_text(pins or "")
    return within("verify", "--store", folder / "data", *(["--pins", "pins"] if pins else []), "-v", cwd=folder)


def test_each_line_of_the_pinned_key_is_checked_and_those_without_are_told(tmp_path: Path) -> None:
    done = verified(tmp_path, {size: line(size) for size in (2, 3)})
    assert "SM2 with SM3    2 checked, 2 checkpoints without a line of the pinned key\n" in done.out
    assert "all good" in done.out and done.code == 0


@pytest.mark.parametrize("false", ["over another text", "cut"])
def test_a_false_line_is_found_where_it_stands(tmp_path: Path, false: str) -> None:
    good = line(3)
    bad = line(3, of=2) if false == "over another text" else SignatureLine(good.name, good.key_id, good.body[:-1])
    done = verified(tmp_path, {2: line(2), 3: bad, 4: line(4)})
    assert (done.code, "all good" in done.out) == (1, False)
    assert f"block 2: checkpoint: the note's SM2 signature of {NAME} is not by that key" in done.out


def test_lines_of_another_key_are_counted_with_and_without_pins(tmp_path: Path) -> None:
    for number, (pins, said) in enumerate(
        (
            (None, "0 checked, 2 of a key that no --pins names"),
            (
                PIN + PIN.replace(ORIGIN, "barn.example/1"),
                "1 checked, 3 checkpoints without a line of the pinned key, 1 of a key that no --pins names",
            ),
        )
    ):
        (tmp_path / str(number)).mkdir()
        done = verified(tmp_path / str(number), {2: line(2), 3: line(3, OTHER)}, pins)
        assert f"SM2 with SM3    {said}\n" in done.out
        assert done.code == 0


def test_a_store_without_such_lines_says_nothing_of_them_unless_asked(tmp_path: Path) -> None:
    assert "SM2" not in verified(tmp_path, {}, None).out
    other = PIN.replace(ORIGIN, "barn.example/1")
    for pins, what in ((other, "no pin is of an SM2 key"), (f"sm2 {ORIGIN} key x", "pins, line 1")):
        (tmp_path / "pins").write_text(pins)
        done = within("verify", "--store", tmp_path / "data", "--pins", "pins", cwd=tmp_path)
        assert done.code == 1 and what in done.err
