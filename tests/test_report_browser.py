"""The report in a real browser, opened from disk: headless Chromium through Playwright, offline."""

import shutil
import threading

import pytest

from configs.console.progress import Progress
from configs.store.store import Store
from submit.report.build_report import make_report
from submit.report.photo_search import Found
from submit.report.serve import Server
from tests.report_case import HOSTILE, small_build

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)")
LINES = "#lines .line"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report with hostile names, in a folder whose own name needs escaping."""
    root = tmp_path_factory.mktemp("browsed")
    store = Store(small_build(root), say=lambda text: None)
    return make_report(store, None, root / "a report #1 é", Progress(quiet=True), "cpu")


@pytest.fixture(scope="module")
def folder(written):
    return written.folder


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, folder):
    """Opens a page of the report; whatever the console or the network complained of fails the test at its end."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, offline=True)
    page = context.new_page()
    wrong, asked = [], []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("request", lambda r: asked.append(r.url))

    def go(address):
        name, _, state = address.partition("#")
        page.goto("about:blank")
        page.goto((folder / name).as_uri() + (f"#{state}" if state else ""))
        if name.startswith("queries"):
            page.wait_for_selector("body[data-ready]")
        return page

    yield go
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith((folder.as_uri(), "data:", "about:"))] == []


def names(page):
    """Query names of the lines, from the top."""
    page.wait_for_selector(LINES)
    lines = page.query_selector_all(LINES)
    lines.sort(key=lambda line: int(line.get_attribute("data-place")))
    return [line.query_selector(".name").inner_text() for line in lines]


def wait_for_text(page, selector, text):
    """Until an element says exactly this: what follows a change of the address comes a moment after the click."""
    page.wait_for_function("([at, text]) => document.querySelector(at).innerText === text", arg=[selector, text])


def values(page):
    lines = sorted(page.query_selector_all(LINES), key=lambda line: int(line.get_attribute("data-place")))
    return [float(line.query_selector(".score .value").inner_text()) for line in lines]


@pytest.mark.parametrize(
    "name", ["index.html", "queries.html", "pairs.html", "map.html", "build.html", "queries.html#q=1"]
)
@pytest.mark.parametrize("width", [1200, 390])
def test_pages_open_without_complaint_and_are_no_wider_than_the_screen(visit, name, width):
    page = visit(name)
    page.set_viewport_size({"width": width, "height": 800})
    assert page.inner_text("h1").strip()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# Elements that stick out of the screen (unless they lie in what scrolls or is cut on purpose), or text that is cut.
CUT = """() => {
  const width = document.documentElement.clientWidth, bad = [];
  for (const e of document.querySelectorAll("body *")) {
    if (!e.checkVisibility() || e.closest(".skip, svg") || e.parentElement.closest(".scroll, .answers")) continue;
    const box = e.getBoundingClientRect();
    if (box.width && (box.right > width + 0.5 || box.left < -0.5)) bad.push([e.tagName, e.className, box.right]);
    const card = e.parentElement.closest("figure, .strip a, .pairs li, .card")?.getBoundingClientRect();
    if (card && (box.right > card.right + 0.5 || box.bottom > card.bottom + 0.5)) bad.push(["card", e.className]);
    const whole = e.matches(".facts, .strip .cap span:last-child");
    if (whole && e.scrollWidth > e.clientWidth + 1) bad.push(["cut", e.textContent]);
  }
  return bad;
}"""
TALLEST = 16  # screens of 844 pixels


@pytest.mark.parametrize(
    "name", ["index.html", "queries.html", "pairs.html", "map.html", "build.html", "queries.html#q=1"]
)
@pytest.mark.parametrize("size", [(390, 844), (1280, 800)])
def test_nothing_is_cut_and_no_page_is_endless(visit, name, size):
    page = visit("index.html")
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page = visit(name)
    assert page.evaluate(CUT) == []
    assert page.evaluate("document.documentElement.scrollHeight") < TALLEST * 844


def test_the_total_of_every_system_is_on_a_phones_screen(visit):
    page = visit("index.html")
    page.set_viewport_size({"width": 390, "height": 844})
    heads = page.query_selector_all(".scores thead th")
    (total,) = (i for i, head in enumerate(heads) if head.inner_text() == "total")
    for row in page.query_selector_all(".scores tr"):
        box = row.query_selector_all("th, td")[total].bounding_box()
        assert box["x"] + box["width"] <= 390


def test_pairs_past_the_first_are_there_when_asked_for(visit):
    page = visit("pairs.html")
    (more,) = page.query_selector_all("details.more")[:1]
    assert page.is_hidden("details.more li")
    more.query_selector("summary").click()
    assert page.is_visible("details.more li") and more.query_selector("ol").get_attribute("start") == "25"


def test_the_list_is_sorted_and_turns_round(visit):
    page = visit("queries.html")
    low = values(page)
    assert low == sorted(low) and len(low) > 5
    page.click("#down")
    high = values(page)
    assert high == sorted(high, reverse=True) and high[0] > low[0]
    page.select_option("select[name=sort]", "name")
    page.wait_for_url(lambda url: "sort=name" in url and "down=1" in url)


def test_search_filters_and_shows_hostile_names_as_text(visit):
    page = visit("queries.html")
    for hostile in HOSTILE:
        page.fill("#text", hostile)
        wait_for_text(page, "#count", "1 of 24 queries")
        assert names(page) == [hostile]
        page.press("#text", "ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_selector("#one[data-shown]")
        assert page.inner_text("#one h1") == hostile
        page.keyboard.press("Escape")
        page.wait_for_selector("#one[data-shown]", state="detached")
    page.fill("#text", "no such picture")
    wait_for_text(page, "#count", "0 of 24 queries")
    assert page.is_visible("#none")
    page.click("#clear")
    wait_for_text(page, "#count", "24 queries")
    assert page.input_value("#text") == "" and not page.is_visible("#none")
    assert page.evaluate("document.querySelectorAll('img, svg').length") == 0


def test_filters_agree_with_the_marks(visit):
    page = visit("queries.html")
    counted = {}
    for only in ("right", "wrong"):
        page.select_option("select[name=only]", only)
        counted[only] = int(page.inner_text("#count").split()[0])
        marks = page.eval_on_selector_all(f"{LINES} .answer:first-child", "all => all.map(a => a.className)")
        assert marks and set(marks) == {f"answer {only}"}
    assert counted["right"] + counted["wrong"] == 24
    page.select_option("select[name=only]", "")
    page.fill("input[name=person]", "p00003")
    facts = page.eval_on_selector_all(f"{LINES} .facts", "all => all.map(a => a.textContent)")
    assert facts and all(f.startswith("person p00003 ") for f in facts)


def test_a_query_by_link_and_the_keys_that_walk(visit):
    page = visit("queries.html#sort=name&q=5")
    page.wait_for_selector("#one[data-shown='5']")
    cards = page.query_selector_all(".card")
    assert len(cards) == 20
    for card in cards:
        kind = card.get_attribute("class").split()[1]
        assert card.query_selector(".mark").inner_text() == {"right": "✓", "wrong": "✕"}[kind]
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#one[data-shown='6']")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#one[data-shown='5']")
    page.go_back()
    page.wait_for_selector("#one[data-shown='6']")
    assert "sort=name" in page.url
    assert page.query_selector_all(".stand .axis i")
    page.reload()
    page.wait_for_selector("#one[data-shown='6']")


def test_the_keyboard_reaches_everything(visit):
    page = visit("index.html")
    page.keyboard.press("/")
    page.wait_for_url("**/queries.html#*")
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.place") == "1"
    page.keyboard.press("Enter")
    page.wait_for_selector("#one[data-shown]")
    page.keyboard.press("?")
    assert page.is_visible("#keys")


def test_the_map_shows_the_picture_under_the_pointer_and_opens_a_query(visit):
    page = visit("map.html")
    page.wait_for_selector("body[data-ready]")
    box = page.query_selector("#map").bounding_box()
    spots = [(x, y) for y in range(12, int(box["height"]), 16) for x in range(12, int(box["width"]), 16)]
    for x, y in spots:
        page.mouse.move(box["x"] + x, box["y"] + y)
        if page.is_visible("#tip") and "query" in page.inner_text("#tip"):
            break
    assert "person" in page.inner_text("#tip") and "camera" in page.inner_text("#tip")
    name = page.inner_text("#tip b")
    page.mouse.click(box["x"] + x, box["y"] + y)
    page.wait_for_selector("#one[data-shown]")
    assert page.inner_text("#one h1") == name


def test_light_and_dark_are_kept(visit):
    page = visit("index.html")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("[data-theme-toggle]")
    after = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert before != after
    page = visit("build.html")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == after


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_photograph_is_searched_for_in_a_browser(chromium, written, host, tmp_path):
    """By the printed link: what a browser says of where a form comes from is what the server goes by."""
    got = []

    def find(content):
        got.append(content)
        return Found("data:,", (7,), (0.25,))

    f = written.findings[0]
    server = Server(host, 0, written.folder, lambda found, said: written.pages.search(f, found, said), find)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    context = chromium.new_context()
    try:
        (tmp_path / "a.png").write_bytes(b"a picture")
        page = context.new_page()
        page.goto(server.link())
        assert page.get_attribute("nav a:last-of-type", "href") == "search.html"
        page.goto(server.link("search.html"))
        page.set_input_files("#photograph", tmp_path / "a.png")  # searched for at once
        page.wait_for_selector(".card", timeout=10_000)
        assert page.url == f"{server.address}search.html" and got == [b"a picture"]
        assert page.inner_text(".card .cardname") == f.trial.gallery.names[7]
    finally:
        context.close()
        server.shutdown()
        thread.join()
        server.server_close()


CONTRAST = """() => {
  const lin = (c) => (c /= 255, c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (css, under) => {
    canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const lum = ([r, g, b]) => 0.2126 * lin(r) + 0.7152 * lin(g) + 0.0722 * lin(b);
  const css = (a) => `rgb(${a.join(" ")})`;
  const bad = [];
  for (const e of document.querySelectorAll("main *, header *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    if (!e.checkVisibility() || e.closest(".off, .skip, noscript, option")) continue;
    const under = [];
    for (let at = e; at; at = at.parentElement) under.unshift(getComputedStyle(at).backgroundColor);
    let ground = [255, 255, 255];
    for (const colour of under) ground = rgb(colour, css(ground));
    const style = getComputedStyle(e);
    const text = rgb(style.color, css(ground));
    const [a, b] = [lum(ground), lum(text)].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24;
    const enough = (a + 0.05) / (b + 0.05) >= (large ? 3 : 4.5);
    if (!enough) bad.push([e.className || e.tagName, e.textContent.slice(0, 20), css(text), css(ground)]);
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "queries.html", "queries.html#q=1"])
def test_contrast_is_aa(visit, name, scheme):
    page = visit(name)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    if "#q" in name:
        page.wait_for_selector("#one[data-shown]")
    assert page.evaluate(CONTRAST) == []
