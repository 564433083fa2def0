"""The configuration that an old epoch's log is read with."""

from pathlib import Path

from fakes.configs import GATEWAY, LOG, READ, SEEN, STORED, vkey, write

from gateway import config, place
from gateway.core.note import VerifierKey
from gateway.epoch import making


def test_an_old_log_keeps_every_node_that_had_it(tmp_path: Path) -> None:
    """Those of drop-ins too, which the old log's folder has none of."""
    main = write(tmp_path, GATEWAY + 'ca_file = "/ca.pem"\nstored_from = 0\nupload = false\n[seal]\nmax_count = 5\n')
    (tmp_path / "fieldgate.d").mkdir()
    witness = f'[node.w]\nurl = "https://w"\nseen_key = "{vkey("w.example")}"\nshare = []\n'
    write(tmp_path / "fieldgate.d", witness, "10.toml")
    settings = config.load(main)
    plan = making.Plan(main, tmp_path / "data", settings, VerifierKey.parse(LOG), None, place.UNKNOWN, 0)
    old = config.load(write(tmp_path, making._old_config(plan, main.read_text()), "old.toml"))
    assert old.gateway.data_dir == str(tmp_path / "data" / "epoch-1")
    assert set(old.node) == {"coop", "w"}
    assert (old.source, old.broker) == ({}, {})
    coop = old.node["coop"]
    assert (coop.seen_key, coop.stored_key, coop.read_key) == (SEEN, STORED, READ)
    assert (coop.ca_file, coop.stored_from, coop.upload) == ("/ca.pem", 0, False)
