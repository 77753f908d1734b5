"""A real HTTP server on this machine that gives files, and can be told to behave badly."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What is served, and how."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    """Path → ETag; the content's hash in Python where none is given."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """Path → after how many bytes each answer ends; whole once the list is empty."""
    redirects: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range header of each request."""

    def put(self, path: str, content: bytes) -> str:
        """Serves the content; returns its URL."""
        self.files[f"/{path}"] = content
        return f"{self.url}/{path}"


@contextmanager
def http_files() -> Generator[Served]:
    """Serves until the block ends."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path, asked = self.path.partition("?")[0], self.headers.get("Range", "")
            served.asked.append((path, asked))
            if path in served.redirects:
                self.send_response(302)
                self.send_header("Location", served.redirects[path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if path not in served.files:
                self.send_error(404)
                return
            whole = served.files[path]
            tag = served.tags.get(path, f'"{hash(whole)}"')
            begin, end = 0, len(whole)
            partial = served.ranges and asked.startswith("bytes=") and self.headers.get("If-Range", tag) == tag
            if partial:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                begin, end = int(first or 0), min(int(last) + 1 if last else len(whole), len(whole))
                if begin >= len(whole):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(whole)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            self.send_response(206 if partial else 200)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(end - begin))
            self.send_header("Content-Type", "application/octet-stream")
            if served.ranges:
                self.send_header("Accept-Ranges", "bytes")
            if partial:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(whole)}")
            self.end_headers()
            if not body:
                return
            cuts = served.cuts.get(path, [])
            stop = begin + cuts.pop(0) if cuts else end
            self.wfile.write(whole[begin : min(stop, end)])
            if stop < end:
                self.wfile.flush()
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
