"""`PYTHONPATH=tests python -m fuzz.cover NAME FOLDER SECONDS`: one target under atheris, led by what it covers.

FOLDER takes the seeds, what is found on the way, and the input of a crash.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["gateway.core", "gateway.httpsig", "gateway.node", "gateway.upstream", "drivers"]
):
    from fuzz.targets import TARGETS, seeds

_BEHIND = {"strict_cbor": ("strict_cbor", "sync", "bodies_of_blocks")}  # what decodes it further takes the same bytes


def main() -> None:
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    names = _BEHIND.get(name, (name,))
    targets = [TARGETS[one] for one in names]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for number, seed in enumerate(seed for one in names for seed in seeds(one)):
        (corpus / f"{number:04}").write_bytes(seed)

    def run(data: bytes) -> None:
        for target in targets:
            target(data)

    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", f"-artifact_prefix={folder}/"]
    # Not by the peak of resident memory, which a program inherits from the one that starts it (getrusage(2)).
    limits += ["-rss_limit_mb=0", "-malloc_limit_mb=512"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], run)
    atheris.Fuzz()


main()
