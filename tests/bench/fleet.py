"""What a node's anchor of its whole fleet costs: `python tests/bench/fleet.py [LOGS]`. Nothing is asserted."""

import sys
import time
import tracemalloc
from hashlib import sha256

from gateway.core import cbor
from gateway.core.anchor import Statement
from gateway.core.anchor_fleet import Tree


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    made = [Statement.of(f"gw-{n}.example.farm/1", n + 1, sha256(b"%d" % n).digest()) for n in range(count)]
    times = []
    for _ in range(5):
        began = time.perf_counter()
        tree = Tree(made)
        built = time.perf_counter()
        sizes = [len(cbor.encode(tree.fleet("node.example", 1, at, "", b"").encode())) for at in range(count)]  # type: ignore[arg-type]
        times.append((built - began, time.perf_counter() - built))
    tracemalloc.start()
    kept = Tree(made)
    memory = tracemalloc.get_traced_memory()[0]
    build, paths = (sorted(one)[2] * 1000 for one in zip(*times, strict=True))
    print(f"{len(kept.leaves)} logs: tree {build:.0f} ms, all paths {paths:.0f} ms, {memory / 2**20:.1f} MiB held")
    print(f"a gateway's part: {min(sizes)} to {max(sizes)} bytes beside the chain's own evidence")


if __name__ == "__main__":
    main()
