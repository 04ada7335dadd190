"""Serve the report with Python's web server, with a page to search by photograph.

Only files in the report's folder are served. A form must come from the server's own pages.
On a loopback address, a request must name this machine as host, which prevents DNS rebinding.
On other addresses the machine may have unknown names. There the link has a token, and a cookie stores it.
"""

from __future__ import annotations

import ipaddress
import mimetypes
import re
import secrets
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from configs.console.quoting import visible
from configs.errors import ReidError
from submit.report.photo_search import Found

MOST = 20_000_000  # bytes of an upload
PARTS, PART_HEAD = 8, 4096  # parts of a form that are read, bytes of a part's header
BOUNDARY = re.compile(r'multipart/form-data\s*;.*?\bboundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
FILENAME = re.compile(rb"^content-disposition:.*;\s*filename\*?=", re.IGNORECASE | re.MULTILINE)
TOKEN = "token"  # parameter in a link
LINK, SEARCH = b"<!-- search -->", b'<a href="search.html">Search</a>'
KINDS = {".js": "text/javascript", ".webp": "image/webp", ".html": "text/html; charset=utf-8", ".css": "text/css"}
Page = Callable[[Found | None, str], str]
Find = Callable[[bytes], Found]


class Server(ThreadingHTTPServer):
    """Serves one folder. page: renders the search page from a result and a message. find: the search."""

    daemon_threads = True

    def __init__(self, host: str, port: int, folder: Path, page: Page, find: Find) -> None:
        """Raises OSError if the host is not this machine, or the port is in use."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.address_family, _, _, _, at = min(found, key=lambda one: one[0] != socket.AF_INET)
        super().__init__((str(at[0]), int(at[1])), Handler)
        self.folder = folder.resolve()
        self.page = page
        self.find = find
        bound = ipaddress.ip_address(str(self.server_address[0]).partition("%")[0])
        self.token = "" if bound.is_loopback else secrets.token_urlsafe()
        self.cookie = f"report-{self.server_port}"  # browsers share cookies between ports
        own = {host.lower(), "127.0.0.1", "localhost", "[::1]", bracketed(str(bound))}
        self.hosts = {f"{name}:{self.server_port}" for name in own} | (own if self.server_port == 80 else set())
        name = outward(self.address_family) if bound.is_unspecified else str(bound)
        self.address = f"http://{bracketed(name)}:{self.server_port}/"

    def link(self, page: str = "") -> str:
        """The link to a page."""
        return f"{self.address}{page}" + (f"?{TOKEN}={self.token}" if self.token else "")


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Send a page or a file of the report."""
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
        """Search with an uploaded photograph."""
        if not self._ours():
            return
        found = None
        complaint = ""
        status = HTTPStatus.OK
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
                f"A photograph may have at most {MOST // 1_000_000} MB.",
            )
            return
        content = uploaded(self.headers.get("Content-Type", ""), self.rfile.read(length))
        if not content:
            complaint, status = (
                "No photograph was sent. Choose one, or drop one on the field.",
                HTTPStatus.BAD_REQUEST,
            )
        else:
            try:
                found = self.server.find(content)
            except ReidError as e:
                complaint, status = str(e), HTTPStatus.BAD_REQUEST
        self._send(status, self.server.page(found, complaint).encode("utf-8"), KINDS[".html"])

    def _ours(self) -> bool:
        """Whether the request names this server, and forms come from its pages."""
        origin, host = self.headers.get("Origin"), self.headers.get("Host", "").lower()
        from_here = {host} if self.server.token else self.server.hosts
        if origin is not None and split(origin).netloc.lower() not in from_here:
            self._refuse(HTTPStatus.FORBIDDEN, "This server answers to its own pages only.")
        elif not self.server.token:
            if host in self.server.hosts:
                return True
            self._refuse(HTTPStatus.FORBIDDEN, f"This server answers at {self.server.address} only.")
        elif self._is_token(self._cookie()):
            return True
        elif self.command != "POST" and self._is_token(*parse_qs(split(self.path).query).get(TOKEN, ())[:1]):
            self.send_response(HTTPStatus.SEE_OTHER)  # redirect to the same page without the token
            self.send_header("Location", "/" + quote(unquote(split(self.path).path).lstrip("/\\")))
            self.send_header("Set-Cookie", f"{self.server.cookie}={self.server.token}; HttpOnly; SameSite=Lax; Path=/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._refuse(HTTPStatus.FORBIDDEN, "Open the link that the server printed when it started.")
        return False

    def _is_token(self, given: str = "") -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self.server.token.encode())

    def _cookie(self) -> str:
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get(self.server.cookie)
        except CookieError:
            return ""
        return morsel.value if morsel else ""

    def _inside(self, name: str) -> Path | None:
        """The file of that name in the folder, or None."""
        if "\0" in name:
            return None
        try:
            path = (self.server.folder / name).resolve()
            return path if path.is_relative_to(self.server.folder) and path.is_file() else None
        except OSError:  # name too long, or a loop of links
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
        """Log errors only."""
        if len(args) > 1 and str(args[1]) >= "400":
            said = re.sub(rf"({TOKEN}=)[^&\s]*", r"\1...", format % args)
            print(f"{self.address_string()}: {visible(said)}", file=sys.stderr)


def split(address: str) -> SplitResult:
    """The parts of a URL; for an invalid one, such as http://[x/, a path that does not exist."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("/%00")


def bracketed(host: str) -> str:
    """A host as in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def outward(family: socket.AddressFamily) -> str:
    """This machine's outward address; the loopback address if it has none."""
    there, alone = ("192.0.2.1", "127.0.0.1") if family == socket.AF_INET else ("2001:db8::1", "::1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((there, 9))  # finds the route; nothing is sent
            return str(probe.getsockname()[0])
    except OSError:
        return alone


def uploaded(kind: str, body: bytes) -> bytes:
    """The file in a form's body (multipart/form-data), or b"". A form of more than PARTS parts is not read."""
    told = BOUNDARY.match(kind)
    if told is None:
        return b""
    wall = b"\r\n--" + (told[1] or told[2]).encode("latin-1", "replace")
    for part in (b"\r\n" + body).split(wall, PARTS + 1)[1 : PARTS + 1]:
        head, _, content = part.partition(b"\r\n\r\n")
        if len(head) <= PART_HEAD and re.search(
            rb"^content-disposition:.*;\s*filename\*?=", head, re.IGNORECASE | re.MULTILINE
        ):
            return content
    return b""
