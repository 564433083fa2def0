"""Something that answers on a control socket, well or badly."""

import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


def answering(path: Path, answer: bytes) -> AbstractContextManager[None]:
    """Whoever connects and asks gets these bytes, and then the end."""
    return _answering(path, lambda _: answer)


def answering_each(path: Path, answers: Mapping[str, bytes]) -> AbstractContextManager[None]:
    """Each route has its answer."""
    return _answering(path, lambda asked: answers.get(asked.split(" ")[1], b""))


@contextmanager
def _answering(path: Path, answer: Callable[[str], bytes]) -> Iterator[None]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(answer(self.request.recv(65_536).decode()))

    path.parent.mkdir(exist_ok=True)
    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
    path.unlink()


def http(body: bytes, status: str = "200 OK") -> bytes:
    """An HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
