"""A recorded file of JSON messages, taken apart into the messages as they were written."""

import json
import re
from collections.abc import Iterator

_SPACE = re.compile(r"[ \t\r\n,]*")
_RESULT = re.compile(r'\{[ \t\r\n]*"result"[ \t\r\n]*:[ \t\r\n]*')
_END = re.compile(r"[ \t\r\n]*\}")


def json_messages(data: bytes) -> Iterator[bytes]:
    """JSON texts one behind the other or a line each, the elements of arrays, and what stands in {"result": ...}.

    What is no JSON from somewhere on is the last message, as it is: a codec says what is wrong with it.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield data
        return
    decoder, at, depth = json.JSONDecoder(), 0, 0
    while True:
        at = _skip(text, at)
        if at == len(text):
            return
        if text[at] == "[":
            at, depth = at + 1, depth + 1
        elif text[at] == "]" and depth:
            at, depth = at + 1, depth - 1
        else:
            wrapped = _RESULT.match(text, at)
            start = wrapped.end() if wrapped else at
            try:
                at = decoder.raw_decode(text, start)[1]
            except (ValueError, RecursionError):
                yield text[at:].encode()
                return
            yield text[start:at].encode()
            closed = _END.match(text, at) if wrapped else None
            at = closed.end() if closed else at


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
