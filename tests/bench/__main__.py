"""`make bench`: each benchmark several times, a table of medians, and bench/results.json. Nothing is asserted.

`make bench ONLY=ingest` runs one. Figures that mean a rate stand beside the C client's on the same backlog, in turn.
"""

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
RUNS = 3

Figures = Mapping[str, float]


def main(only: list[str]) -> int:
    from bench import ingest, node

    benchmarks: dict[str, Callable[[], Figures]] = {"ingest": ingest.run, "node": node.run}
    unknown = [name for name in only if name not in benchmarks]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(benchmarks)}", file=sys.stderr)
        return 2
    results: dict[str, float] = {}
    for name in only or benchmarks:
        runs = []
        for number in range(1, RUNS + 1):
            print(f"{name}, run {number} of {RUNS} ...", file=sys.stderr, flush=True)
            runs.append(benchmarks[name]())
        for figure in runs[0]:
            values = [run[figure] for run in runs]
            results[figure] = round(statistics.median(values), 3)
            print(f"{figure:<28} {results[figure]:>12}   ({min(values):.3f} to {max(values):.3f})")
    out = ROOT / "bench" / "results.json"
    out.parent.mkdir(exist_ok=True)
    kept = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps({**kept, **results}, indent=2, sort_keys=True) + "\n")
    print(f"written to {out.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if name]))
