"""A web server on 127.0.0.1 that misbehaves on demand, for tests of downloads."""

import contextlib
import hashlib
import http.server
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class File:
    """What is served under one path.

    Attributes:
        content: the bytes.
        ranges: answer Range requests.
        tag: send an ETag.
        cuts: for one request after the other, after how many bytes the connection is reset; then none is.
        status: instead of the file, this error, as often as `failures` says (-1: always).
        pause: seconds after each of the small pieces in which the file is sent.
        kind: the Content-Type.
        length: send a Content-Length.
    """

    content: bytes
    ranges: bool = True
    tag: bool = True
    cuts: list[int] = field(default_factory=list)
    status: int = 0
    failures: int = 0
    pause: float = 0
    kind: str = "application/octet-stream"
    length: bool = True


@dataclass
class Server:
    """Paths to serve, the address, and what was asked: (path, Range or None, status)."""

    url: str
    files: dict[str, File] = field(default_factory=dict)
    asked: list[tuple[str, str | None, int]] = field(default_factory=list)

    def add(self, name: str, content: bytes, **manners) -> str:
        """Serves a file; returns its address."""
        self.files[f"/{name}"] = File(content, **manners)
        return f"{self.url}/{name}"


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A running server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            file, asked = server.files.get(self.path), self.headers.get("Range")
            status, start = 200, 0
            if file is None:
                status = 404
            elif file.status and file.failures:
                file.failures -= 1
                status = file.status
            if status != 200:
                server.asked.append((self.path, asked, status))
                self.send_error(status)
                return
            tag = '"' + hashlib.md5(file.content).hexdigest() + '"'
            if asked and file.ranges and self.headers.get("If-Range", tag) == tag:
                start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
                if start >= len(file.content):
                    status = 416
            server.asked.append((self.path, asked, status))
            if status == 416:
                self.send_error(416)
                return
            self.send_response(status)
            self.send_header("Content-Type", file.kind)
            if file.length:
                self.send_header("Content-Length", str(len(file.content) - start))
            if file.tag:
                self.send_header("ETag", tag)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(file.content) - 1}/{len(file.content)}")
            self.end_headers()
            rest = file.content[start:]
            cut = file.cuts.pop(0) if file.cuts else None
            with contextlib.suppress(OSError):
                if file.pause:
                    for place in range(0, len(rest), 1000):
                        self.wfile.write(rest[place : place + 1000])
                        time.sleep(file.pause)
                else:
                    self.wfile.write(rest[:cut])
            if cut is not None:
                time.sleep(0.03)  # what was sent has arrived before the reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
