"""Every benchmark at a very small size: its figures are there and can be; what they are, is not looked at."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from bench import figures, inside, machine
from bench.figures import Figure
from bench.run import Run, Scale
from bench.suite import BENCHMARKS

TINY = Scale(
    messages=1_500,
    tail=500,
    steady_s=0.3,
    warm_s=0.1,
    settle_s=0.1,
    idle_s=0.1,
    sealed=(50, 300),
    filled=4_200,
    unsealed=1_000,
    repeats=1,
    requests=1,
    decoded=50,
    body=20,
)
OTHER_RATES = ("steady1", "steady200w20", "steady1000")  # steady200 with other numbers
NEEDS_A_DEVICE = ("fsyncs_per_s", "device_bytes")
MAY_BE_LESS_THAN_NOTHING = ("rss.backlog_delta_mib", "profile.sqlite_us")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Mapping[str, float]]:
    """The figures of a benchmark, each run once."""
    shared = tmp_path_factory.mktemp("shared")
    done: dict[str, Mapping[str, float]] = {}

    def run(name: str) -> Mapping[str, float]:
        if name not in done:
            done[name] = BENCHMARKS[name].run(Run(TINY, 0, tmp_path_factory.mktemp(name), shared))
        return done[name]

    return run


MADE = [name for name in BENCHMARKS if name not in OTHER_RATES]


@pytest.mark.nightly
@pytest.mark.parametrize("name", MADE)
def test_a_benchmark_gives_figures_that_can_be(name: str, made: Callable[[str], Mapping[str, float]]) -> None:
    for figure, value in made(name).items():
        assert math.isfinite(value), figure
        assert value >= 0 or figure in MAY_BE_LESS_THAN_NOTHING, figure
    assert f"/{name}0/disk" not in Path("/proc/mounts").read_text()


@pytest.mark.nightly
def test_the_tables_show_every_figure_and_no_other(made: Callable[[str], Mapping[str, float]]) -> None:
    shown = {figure.name for figure in figures.FIGURES} | set(inside.TITLES)
    if not machine.can_mount():
        shown = {name for name in shown if not name.endswith(NEEDS_A_DEVICE)}
    shown = {name for name in shown if not name.startswith(tuple(f"{rate}." for rate in OTHER_RATES))}
    assert sorted(figure for name in MADE for figure in made(name)) == sorted(shown)


def test_met_means_at_the_limit_too() -> None:
    most, least = Figure("a", "", "", 10, 5), Figure("b", "", "", 10, 20, at_least=True)
    assert [most.met(value) for value in (5, 5.1, 10, 10.1)] == ["aim", "yes", "yes", "NO"]
    assert [least.met(value) for value in (20, 19, 10, 9)] == ["aim", "yes", "yes", "NO"]
    assert Figure("c", "", "", 10).met(10) == "yes"
    assert Figure("d", "", "").met(1) == ""


def test_the_markdown_says_what_was_not_measured_and_what_is_not_met() -> None:
    table = figures.markdown({"seal4096.ms": 61.23})
    assert "| sealing 4,096 readings | **61.2 ms** | &le; 60 | &le; 30 |" in table
    assert "| an entry on the wire, the longest | not measured | &le; 256 |  |" in table


def test_a_table_goes_between_its_marks() -> None:
    text = "before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n"
    once = figures.replaced(text, "new")
    assert once == "before\n<!-- measured -->\nnew\n<!-- /measured -->\nafter\n" == figures.replaced(once, "new")
    with pytest.raises(ValueError, match="no marks"):
        figures.replaced("<!-- measured -->\n", "new")


@pytest.mark.parametrize("name", ["README.md", "docs/operations.md"])
def test_the_documents_have_a_place_for_their_table(name: str) -> None:
    text = (Path(__file__).resolve().parents[2] / name).read_text("utf-8")
    assert figures.replaced(text, "x") != text
