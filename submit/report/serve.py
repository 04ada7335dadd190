"""The report by Python's own web server, to this machine alone, with a page to search by photograph.

What is asked for must lie in the report's folder; a request must name this server as its host, so that no page from
elsewhere can reach it through a name of its own (DNS rebinding), and a form must come from its own pages.
"""

from __future__ import annotations

import mimetypes
import sys
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from configs.errors import ReidError
from submit.report.photo_search import Found

MOST = 20_000_000  # bytes of an upload
LINK, SEARCH = b"<!-- search -->", b'<a href="search.html">Search</a>'
KINDS = {".js": "text/javascript", ".webp": "image/webp", ".html": "text/html; charset=utf-8", ".css": "text/css"}
Page = Callable[[Found | None, str], str]
Find = Callable[[bytes], Found]


class Server(ThreadingHTTPServer):
    """Serves one folder. page: the search page of an answer and a complaint. find: the search itself."""

    daemon_threads = True

    def __init__(self, host: str, port: int, folder: Path, page: Page, find: Find) -> None:
        super().__init__((host, port), Handler)
        self.folder, self.page, self.find = folder.resolve(), page, find
        own = {host, "127.0.0.1", "localhost", "[::1]"} if host in ("127.0.0.1", "localhost") else {host}
        self.hosts = {f"{name}:{self.server_port}" for name in own} | (own if self.server_port == 80 else set())

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{self.server_address[0]!s}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """A page or a file of the report."""
        if not self._ours():
            return
        name = unquote(split(self.path).path).lstrip("/") or "index.html"
        if name == "search.html":
            self._send(HTTPStatus.OK, self.server.page(None, "").encode("utf-8"), KINDS[".html"])
            return
        path = self._inside(name)
        if path is None:
            self._send(HTTPStatus.NOT_FOUND, b"There is no such page.\n", "text/plain")
            return
        kind = KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self._send(
            HTTPStatus.OK,
            path.read_bytes().replace(LINK, SEARCH) if path.suffix == ".html" else path.read_bytes(),
            kind,
        )

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """A photograph to search with."""
        if not self._ours():
            return
        found, complaint, status = None, "", HTTPStatus.OK
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if split(self.path).path != "/search.html":
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")
            return
        if length < 0 or length > MOST:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE if length > MOST else HTTPStatus.LENGTH_REQUIRED,
                f"A photograph may have {MOST // 1_000_000} MB at most.",
            )
            return
        content = uploaded(self.headers.get("Content-Type", ""), self.rfile.read(length))
        if not content:
            complaint, status = (
                "No photograph came with that. Choose one, or drop one on the field.",
                HTTPStatus.BAD_REQUEST,
            )
        else:
            try:
                found = self.server.find(content)
            except ReidError as e:
                complaint, status = str(e), HTTPStatus.BAD_REQUEST
        self._send(status, self.server.page(found, complaint).encode("utf-8"), KINDS[".html"])

    def _ours(self) -> bool:
        """Whether the request names this server, and a form comes from its pages."""
        origin = self.headers.get("Origin")
        known = self.headers.get("Host", "").lower() in self.server.hosts
        if known and (origin is None or split(origin).netloc.lower() in self.server.hosts):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, f"This server answers at {self.server.address} only.")
        return False

    def _inside(self, name: str) -> Path | None:
        """The file of that name in the folder, or nothing."""
        if "\0" in name:
            return None
        try:
            path = (self.server.folder / name).resolve()
            return path if path.is_relative_to(self.server.folder) and path.is_file() else None
        except OSError:  # a name too long for the system, a loop of links
            return None

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self._send(status, f"{why}\n".encode(), "text/plain; charset=utf-8")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Only what went wrong is said."""
        if len(args) > 1 and str(args[1]) >= "400":
            print(f"{self.address_string()}: {format % args}", file=sys.stderr)


def split(address: str) -> SplitResult:
    """The parts of an address; of one that is none, such as http://[x/, a path that nothing has."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("/%00")


def uploaded(kind: str, body: bytes) -> bytes:
    """The file in a form's body (multipart/form-data), or nothing."""
    if not kind.lower().startswith("multipart/form-data"):
        return b""
    head = b"Content-Type: " + kind.encode("latin-1", "replace") + b"\r\n\r\n"
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    for part in form.iter_parts() if form.is_multipart() else ():
        if part.get_filename() is not None:
            content = part.get_payload(decode=True)
            return content if isinstance(content, bytes) else b""
    return b""
