"""The report's server: what it gives and what it refuses; the search by photograph, on really trained members."""

import http.client
import threading

import numpy as np
import pytest

from configs.console.progress import Progress
from configs.errors import DataError
from configs.store.store import Store
from submit.report.build_report import make_report
from submit.report.photo_search import Finder, Found
from submit.report.serve import LINK, MOST, Server, uploaded


def form(content, name='a "b".png', boundary="----wall"):
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="photograph"; filename="{name}"\r\n'
    body = head.encode() + b"Content-Type: image/png\r\n\r\n" + content + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


@pytest.fixture
def server(tmp_path):
    """A server of one small folder; beside it lies what nobody may read."""
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

    server = Server("127.0.0.1", 0, folder, lambda found, said: f"found {found and found.rows} {said}", find)
    server.got = got
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
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
