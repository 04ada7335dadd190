"""The report's server: what it gives and what it refuses; the search by photograph, on really trained members."""

import http.client
import re
import socket
import threading
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest

from configs.console.progress import Progress
from configs.errors import DataError
from configs.store.store import Store
from submit.report.build_report import make_report
from submit.report.member_training import Epoch, Trained
from submit.report.photo_search import Finder, Found
from submit.report.plots import figures
from submit.report.serve import LINK, MOST, Server, uploaded


def form(content, name='a "b".png', boundary="----wall"):
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="photograph"; filename="{name}"\r\n'
    body = head.encode() + b"Content-Type: image/png\r\n\r\n" + content + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


@pytest.fixture
def serve(tmp_path):
    """Starts a server of one small folder at a host; beside the folder lies what nobody may read."""
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "index.html").write_bytes(b"<p>hello " + LINK)
    (folder / "out").symlink_to(tmp_path / "secret.txt")
    got = []

    def find(content):
        got.append(content)
        if content == b"bad":
            raise DataError("That file cannot be read as a picture.")
        return Found("data:,", (1,), (0.5,))

    running = []

    def start(host):
        server = Server(host, 0, folder, lambda found, said: f"found {found and found.rows} {said}", find)
        server.got = got
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(serve):
    return serve("127.0.0.1")


def ask(server, method, path, body=None, headers=None, at="127.0.0.1"):
    connection = http.client.HTTPConnection(at, server.server_port, timeout=60)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text, answer.headers


def test_pages_are_given_with_a_link_to_the_search(server):
    status, text, headers = ask(server, "GET", "/")
    assert (status, text) == (200, b'<p>hello <a href="search.html">Search</a>')
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Content-Type"].startswith("text/html")
    assert ask(server, "GET", "/search.html")[:2] == (200, b"found None ")


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//etc/passwd", "/out", "/%00", "/", "/none"]
)
def test_nothing_outside_the_folder_is_given(server, path):
    status, text, _ = ask(server, "GET", path)
    assert (status == 404 or path == "/") and b"secret" not in text and b"root:" not in text


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_names_and_other_pages_are_refused(server, method, headers):
    status, text, _ = ask(server, method, "/search.html", b"", headers)
    assert status == 403 and b"found" not in text and server.got == []


def test_a_photograph_arrives_byte_by_byte(server):
    content = bytes(range(256)) * 20 + b"\r\n\r\n--"
    body, headers = form(content)
    own = {"Origin": f"http://localhost:{server.server_port}"}
    assert ask(server, "POST", "/search.html", body, headers | own)[:2] == (200, b"found (1,) ")
    assert server.got == [content]


def test_what_cannot_be_searched_for_is_answered_in_a_sentence(server):
    body, headers = form(b"bad")
    status, text, _ = ask(server, "POST", "/search.html", body, headers)
    assert (status, text) == (400, b"found None That file cannot be read as a picture.")
    assert ask(server, "POST", "/search.html", b"x=1", {"Content-Type": "text/plain"})[0] == 400
    too_long = {"Content-Length": str(MOST + 1)} | headers
    assert ask(server, "POST", "/search.html", b"", too_long)[0] == 413
    assert ask(server, "POST", "/index.html", body, headers)[0] == 404


@pytest.mark.parametrize(
    "body", [b"", b"--x", b"--x\r\n\r\n", b"\xff" * 100, b"--x\r\nContent-Disposition: form-data\r\n\r\na"]
)
def test_a_broken_form_holds_nothing(body):
    assert uploaded("multipart/form-data; boundary=x", body) == b""
    assert uploaded("multipart/form-data", body) == b""


def test_a_form_of_too_many_parts_is_refused_before_it_is_read():
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    body, _ = form(b"picture", boundary="x")
    began = time.process_time()
    assert uploaded("multipart/form-data; boundary=x", part * 300_000 + body) == b""
    assert time.process_time() - began < 2  # each part as a message: 14 s
    assert uploaded("multipart/form-data; boundary=x", part * 7 + body) == b"picture"


def test_what_is_said_of_a_request_moves_no_cursor(server, capsys):
    with socket.create_connection(("127.0.0.1", server.server_port)) as raw:
        raw.sendall(b"GET /\x1b[2J\x9b31m HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert b"403" in raw.recv(1000)
    said = capsys.readouterr().err
    assert "\\x1b[2J\\x9b31m" in said and said.rstrip("\n").isprintable()


def test_the_last_loopback_address_serves_too(serve):
    """As an address it has brackets."""
    try:
        server = serve("::1")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    assert server.link("search.html") == f"http://[::1]:{server.server_port}/search.html"
    assert ask(server, "GET", "/", at="::1")[0] == 200
    assert ask(server, "GET", "/", headers={"Host": "evil.example"}, at="::1")[0] == 403


@pytest.mark.parametrize("name", ["", "index.html", "search.html"])
def test_a_host_that_is_given_is_served_to_those_who_have_its_link(serve, name, capsys):
    server = serve("0.0.0.0")
    link = urlsplit(server.link(name))
    host = {"Host": f"a-name-of-this-machine:{server.server_port}"}
    assert link.path == f"/{name}" and len(server.token) >= 32 and server.token != serve("0.0.0.0").token
    assert ask(server, "GET", link.path, headers=host)[0] == 403
    assert ask(server, "GET", f"{link.path}?token={server.token[:-1]}", headers=host)[0] == 403
    status, _, headers = ask(server, "GET", f"{link.path}?{link.query}", at=link.hostname)
    assert status == 303 and headers["Location"] == link.path
    kept = {"Cookie": headers["Set-Cookie"].partition(";")[0]} | host
    status, text, _ = ask(server, "GET", headers["Location"], headers=kept)
    assert status == 200 and (b"found" if name == "search.html" else b"hello") in text
    body, kind = form(b"picture")
    for origin, wanted in (("http://evil.example", 403), ("null", 403), (f"http://{host['Host']}", 200)):
        assert ask(server, "POST", "/search.html", body, kind | kept | {"Origin": origin})[0] == wanted
    assert server.got == [b"picture"]
    assert server.token[:-1] not in capsys.readouterr().err


@pytest.fixture(scope="module")
def written(tiny_build, tmp_path_factory):
    store = Store(tiny_build.runs, say=lambda text: None)
    return make_report(store, None, tmp_path_factory.mktemp("served") / "report", Progress(quiet=True), "cpu")


def test_a_gallery_picture_finds_itself(written):
    f = written.findings[0]
    finder = Finder(written.subject, f.trial, written.trained)
    for row in (0, 17):
        found = finder.find(f.trial.gallery.paths[row].read_bytes())
        assert found.dist[0] == pytest.approx(0, abs=1e-5) and row in found.rows[:2]
        assert len(found.rows) == 20 and list(found.dist) == sorted(found.dist)
    with pytest.raises(DataError, match="cannot be read as a picture"):
        finder.find(b"<svg onload=alert(1)>")
    page = written.pages.search(f, found, "a <b>complaint</b>")
    assert f.trial.gallery.names[found.rows[0]] in page and "a &lt;b&gt;complaint" in page


def test_curves_follow_the_page_and_bring_no_style_of_their_own(written):
    titles = [figure.title for figure in written.findings[0].figures]
    assert {
        "Cumulative match",
        "Loss by epoch",
        "Loss triplet by epoch",
        "Spread of distances by epoch",
        "Distances before re-ranking",
    } <= set(titles)
    for figure in written.findings[0].figures:
        assert "<style" not in figure.svg and "var(--" in figure.svg and "#0" not in figure.svg.replace('"#', "")


def test_a_line_a_member_and_a_mark_a_query_that_moved(written):
    """Marks are as many as queries that re-ranking helped or hurt, and one more each in the legend."""
    by_title = {figure.title: figure.svg for figure in written.findings[0].figures}
    trial, found = written.findings[0].trial, written.findings[0].found
    for i in range(len(trial.banks)):
        line = by_title["Learning rate by epoch"].count(f"var(--m{i})")
        assert line >= 2, "drawn, and in the legend"
    before, after = (np.asarray(found.ap[s], np.float64) for s in (trial.before, trial.after))
    marks = re.findall(r"<use [^>]*", by_title["Re-ranking, query by query"])
    assert (after > before).sum() and (after < before).sum()
    for paint, moved in (("right", after > before), ("wrong", after < before)):
        assert sum(f"--{paint}" in mark for mark in marks) == moved.sum() + 1


def test_each_member_has_its_maps_and_every_image_a_place(written):
    looks = written.findings[0].looks
    assert looks and all([name for name, _ in look.members] == ["a", "b"] for look in looks)
    for look in looks:
        assert all((written.folder / file).is_file() for file in (look.picture, *(f for _, f in look.members)))
    assert (written.folder / "data" / "test" / "map.js").is_file()
    places = np.load(next((written.subject.store.root / "maps").glob("test-*/places.npy")))
    trial = written.findings[0].trial
    assert places.shape == (len(trial.query) + len(trial.gallery), 2)
    assert places.min() == 0 and places.max() == 1


@pytest.mark.parametrize(("last", "ticks"), [(1, ["1"]), (2, ["1", "2"]), (3, ["1", "2", "3"])])
def test_epochs_are_counted_in_whole_numbers(last, ticks):
    epochs = tuple(Epoch(e, 10.0**-e, 1.0, 0.5, 1.0, 0.3, {"id": 1.0}) for e in range(1, last + 1))
    unlabelled = SimpleNamespace(labelled=False)
    found = figures(unlabelled, None, [Trained("a", None, epochs, "cpu", "float32", "", {})], None)
    (figure,) = (f for f in found if f.title == "Learning rate by epoch")
    assert re.findall(r">(\d[\d.]*)</text>", figure.svg) == ticks
