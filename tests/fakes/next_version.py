"""`fieldgate ...` of a version whose store, sign-state or both have one more schema step than this one knows:

python next_version.py store,state COMMAND ...
"""

import asyncio
import sys
from pathlib import Path

from gateway import cli, store
from gateway.store import SIGN_STATE, Store, signstate
from gateway.store.database import Schema
from gateway.store.signstate import SignState

STORE_STEP = (
    "ALTER TABLE journal ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';"
    "ALTER TABLE block ADD COLUMN weight INTEGER NOT NULL DEFAULT 7;"
    "CREATE TABLE extra(a INTEGER PRIMARY KEY, b TEXT); INSERT INTO extra VALUES (1,'x')"
)
STATE_STEP = "ALTER TABLE head ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'"
BROKEN_STEP = "ALTER TABLE block RENAME COLUMN entry TO sealed_entry"  # against the law of steps


def step_up(schema: Schema, step: str) -> None:
    """The schema of this process has one more step from now on."""
    object.__setattr__(schema, "steps", (*schema.steps, step))


def main() -> None:
    which = sys.argv[1].split(",")
    if "store" in which:
        step_up(store.SCHEMA, STORE_STEP)
    if "broken" in which:
        step_up(store.SCHEMA, BROKEN_STEP)
    if "state" in which:
        step_up(signstate.SCHEMA, STATE_STEP)
    if sys.argv[2] != "open":
        cli.main(sys.argv[2:])
    try:
        asyncio.run(take_steps(Path(sys.argv[3])))
    except Exception as error:
        sys.exit(cli.explain(error))


async def take_steps(data_dir: Path) -> None:
    await (await Store.open(data_dir)).close()
    store = await Store.open(data_dir, read_only=True)
    await store.close()
    await (await SignState.inspect(data_dir / SIGN_STATE, str(store.vkey))).close()


if __name__ == "__main__":
    main()
