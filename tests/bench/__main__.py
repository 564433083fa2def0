"""`make bench`: each benchmark several times, a table of medians, and bench/results.json. Nothing is asserted.

python -m tests.bench [NAME ...]        all, or those named; `profile` too
python -m tests.bench --table           what bench/results.json holds, as the tables of README and operations.md
python -m tests.bench --write           the same, into these files
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from bench import figures, inside  # noqa: E402
from bench.run import FULL, Run  # noqa: E402
from bench.suite import BENCHMARKS  # noqa: E402

RESULTS = ROOT / "bench" / "results.json"


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench", description="Fieldgate's benchmarks.")
    options.add_argument("name", nargs="*", help=f"of {', '.join(BENCHMARKS)}; none: all")
    options.add_argument("--table", action="store_true", help="print the results so far as Markdown")
    options.add_argument("--write", action="store_true", help="put them into README.md and docs/operations.md")
    options.add_argument("--times", type=int, default=0, help="runs of each, in place of its own number")
    given = options.parse_args()
    kept: dict[str, float] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if given.table or given.write:
        _tables(kept, write=given.write)
        return 0
    wanted = [name for name in BENCHMARKS if name in given.name or _group(name) in given.name or not given.name]
    unknown = set(given.name) - set(BENCHMARKS) - {_group(name) for name in BENCHMARKS}
    if unknown:
        options.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    print(f"{figures.machine()}; load {os.getloadavg()[0]:.2f}\n{figures.HEAD}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as folder:
        for name in wanted:
            results = _several(name, given.times or BENCHMARKS[name].times, Path(folder))
            for figure, values in results.items():
                print(figures.row(figure, values, statistics.median(values)), flush=True)
                kept[figure] = round(statistics.median(values), 4)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    print(f"{time.monotonic() - began:.0f} s; written to {RESULTS.relative_to(ROOT)}")
    return 0


def _tables(results: dict[str, float], *, write: bool) -> None:
    tables = {
        "README.md": figures.markdown(results),
        "docs/operations.md": figures.profile_markdown(results, inside.TITLES),
    }
    for name, table in tables.items():
        if write:
            path = ROOT / name
            path.write_text(figures.replaced(path.read_text(), table))
        else:
            print(table, end="\n\n")


def _group(name: str) -> str:
    """`steady` names all of them."""
    return name.rstrip("w0123456789")


def _several(name: str, times: int, folder: Path) -> dict[str, list[float]]:
    """The values of each figure over the runs."""
    results: dict[str, list[float]] = {}
    shared = folder / "shared"
    shared.mkdir(exist_ok=True)
    for number in range(times):
        print(f"{name}, run {number + 1} of {times} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{name}-") as own:
            for figure, value in BENCHMARKS[name].run(Run(FULL, number, Path(own), shared)).items():
                results.setdefault(figure, []).append(value)
    return results


if __name__ == "__main__":
    sys.exit(main())
