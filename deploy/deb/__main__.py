"""`python -m deb lock|wheel|build|release|key|audit`: see `make help`, and docs/release.md."""

import sys
import tomllib
from pathlib import Path

import click

from deb import ROOT, audit, lock, package, release
from gateway.errors import FieldgateError

CACHE = ROOT / "build/wheels"
EXTRAS = "bsn", "evm", "sm2"  # what people install beside a package; demo and test are for those who build


@click.group()
def main() -> None:
    """Make what is released."""


@main.command("lock")
def renew() -> None:
    """Write the locks anew with the newest versions that pyproject.toml allows."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project, optional = whole["project"], whole["project"]["optional-dependencies"]
    wanted = {
        "product": ("the dependencies in pyproject.toml", project["dependencies"]),
        "extras": ("the extras bsn, evm and sm2 in pyproject.toml", [one for name in EXTRAS for one in optional[name]]),
        "build": (
            "[build-system] in pyproject.toml, and what deploy/deb imports",
            [*whole["build-system"]["requires"], "packaging", "click"],
        ),
    }
    for name, (origin, requirements) in wanted.items():
        beside = lock.read("product") if name == "extras" else ()
        click.echo(lock.renew(name, origin, requirements, CACHE, beside).relative_to(ROOT))


@main.command()
@click.option("--arch", type=click.Choice(list(lock.ARCHITECTURES)), multiple=True, default=list(lock.ARCHITECTURES))
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "dist", help="Where the packages go.")
@click.option("--wheels", type=click.Path(path_type=Path), default=CACHE, help="Where locked wheels are kept.")
def build(arch: tuple[str, ...], out: Path, wheels: Path) -> None:
    """Make the Debian packages, each with its list of parts beside it."""
    out.mkdir(parents=True, exist_ok=True)
    for one in arch:
        made = package.build(one, wheels)
        (out / made.file).write_bytes(made.data)
        (out / made.file).with_suffix(".cdx.json").write_text(made.sbom, "utf-8")
        click.echo(out / made.file)


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "dist", help="Where they go.")
def wheel(out: Path) -> None:
    """Make the wheel and the sdist."""
    for path in package.distributions(package.epoch(), out, "wheel", "sdist"):
        click.echo(path)


@main.command("release")
@click.argument("key", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "dist", help="Where the files are.")
def sign(key: Path, out: Path) -> None:
    """Write SHA256SUMS over this version's files, signed with KEY."""
    click.echo(f"signed by {release.sign(out, package.version(), key)}")


@main.command("key")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
def new_key(name: str, file: Path) -> None:
    """Make a key that signs releases: NAME such as releases.example, FILE of mode 0600 that no one else reads."""
    click.echo(release.new_key(name, file))


@main.command("audit")
def known_holes() -> None:
    """Ask the advisory service for known holes in what is locked."""
    audit.run(ROOT / "build/audit", sorted(lock.LOCKS.glob("*.txt")))


if __name__ == "__main__":
    try:
        main(prog_name="deb")
    except (lock.LockError, FieldgateError) as exc:
        click.echo(f"deb: {exc}", err=True)
        sys.exit(1)
