"""How long each driver's codec takes for a frame or message, over its recordings; no wire, no store."""

import time

from bench.run import Run
from fakes import recordings
from fakes.recordings import Recording

from drivers import recorded
from drivers.kinds import Kind

NOW = 1_795_500_000.0


def run(run: Run) -> dict[str, float]:
    figures: dict[str, float] = {}
    for kind in recordings.kinds():
        if kind.name in recordings.RECORDINGS:
            each = _each(kind, recordings.of(kind)[0], run.scale.decoded)
            figures |= {f"codec.{kind.name}_us": each * 1e6, f"codec.{kind.name}_per_s": 1 / each}
    return figures


def _each(kind: Kind, recording: Recording, wanted: int) -> float:
    """CPU seconds a frame or message. A new codec for each pass: to one that remembers, a second would be a repeat."""
    frames = len(recording.messages) or len(recordings.findings(kind, recording, NOW))
    passes = max(1, wanted // frames)
    codecs = [recordings.codec(kind, recording) for _ in range(passes)]
    began = time.process_time()
    for codec in codecs:
        if recording.messages:
            for topic, payload in recording.messages:
                recorded.message(codec, topic, payload, NOW)
        else:
            codec.feed(recording.stream, NOW)
            codec.end(NOW)
    return max(time.process_time() - began, 1e-9) / (passes * frames)
