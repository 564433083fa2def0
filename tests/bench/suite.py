"""All benchmarks, and how often each is run: those that take long, once."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bench import charts, codecs, ingest, inside, large, node, seal, steady
from bench.run import Run


class Benchmark(NamedTuple):
    run: Callable[[Run], Mapping[str, float]]
    times: int


BENCHMARKS: Mapping[str, Benchmark] = {
    "ingest": Benchmark(ingest.run, 5),
    "stall": Benchmark(inside.stall, 3),
    "turns": Benchmark(inside.turns, 1),
    "profile": Benchmark(inside.profile, 1),
    "seal": Benchmark(seal.run, 3),
    "disk": Benchmark(large.disk, 1),
    "memory": Benchmark(large.memory, 1),
    "start": Benchmark(large.start, 3),
    "charts": Benchmark(charts.run, 1),
    "codecs": Benchmark(codecs.run, 5),
    "receipts": Benchmark(large.receipts, 3),
    "verify": Benchmark(large.verify, 1),
    "node": Benchmark(node.run, 3),
    "steady1": Benchmark(steady.one, 1),
    "steady200": Benchmark(steady.two_hundred, 1),
    "steady200w20": Benchmark(steady.two_hundred_with_defaults, 1),
    "steady1000": Benchmark(steady.thousand, 1),
}
