"""The report at Market-1501's size, on made-up pictures: how long it takes to write, to open, to filter, its weight.

`python -m tests.benchmarks.report [--queries 3368 --gallery 15913]`, with chromium installed.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.sync_api import sync_playwright

from configs.console.progress import Progress
from configs.store.store import Store
from submit.report.build_report import write_report
from tests.report_case import made_up, picture_folder, record_build

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
TIMED = """(act) => {
  const begun = performance.now();
  const field = document.querySelector(act.field);
  field.value = act.value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  document.body.getBoundingClientRect();
  return [performance.now() - begun, document.getElementById("count").textContent];
}"""
ACTS = [
    {"field": "#text", "value": "_c3_"},
    {"field": "#text", "value": "0007"},
    {"field": "#text", "value": ""},
    {"field": "select[name=only]", "value": "lost"},
    {"field": "select[name=only]", "value": ""},
    {"field": "select[name=cam]", "value": "2"},
    {"field": "select[name=cam]", "value": ""},
    {"field": "select[name=sort]", "value": "hurt"},
    {"field": "select[name=sort]", "value": "agree"},
]


def main():
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15913)
    parser.add_argument("--report", type=Path, help="measure this report, write none")
    parser.add_argument("--keep", type=Path, help="write the report here, and leave it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = args.report or write(Path(folder), args.queries, args.gallery, args.keep)
        weigh(report)
        browse(report)


def write(root, n_query, n_gallery, keep):
    """A made-up build and its report."""
    people = max(4, n_query * 750 // 3368)
    query, gallery = made_up(n_query, people, 6, 0, "q"), made_up(n_gallery, people, 6, 1, "g")
    data = picture_folder(root / "data", query, gallery, distinct=500)
    runs = record_build(root / "runs", data, query, gallery, dim=64, members=("r50", "rx50", "ibn_a"), spread=1.4)
    out = keep or root / "report"
    for word in ("first", "again"):
        begun = time.perf_counter()
        write_report(Store(runs, say=print), None, out, Progress(), "cpu")
        print(f"written, {word}: {time.perf_counter() - begun:.1f} s")
    return out


def weigh(report):
    """Bytes of the folder by kind."""
    files = [p for p in report.rglob("*") if p.is_file()]
    for name in ("data", "sprites", ""):
        part = [p for p in files if name in p.relative_to(report).parts or not name]
        print(f"{name or 'whole folder'}: {len(part):,} files, {sum(p.stat().st_size for p in part) / 1e6:.1f} MB")


def browse(report):
    """Open the list and a query from disk; type, filter and sort."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        asked = []
        page.on("request", lambda r: asked.append(r.url))
        for name, ready in (("queries.html", "body[data-ready]"), ("queries.html#q=1000", "#one[data-shown]")):
            for _ in range(2):
                asked.clear()
                page.goto("about:blank")
                begun = time.perf_counter()
                page.goto(f"{report.resolve().as_uri()}/{name}")
                page.wait_for_selector(ready)
                took = time.perf_counter() - begun
            page.wait_for_timeout(500)
            files = {Path(unquote(urlsplit(u).path)) for u in asked if u.startswith("file:")}
            weight = sum(f.stat().st_size for f in files if f.is_file()) / 1e6
            print(f"{name}: ready after {took:.2f} s; {len(files)} files, {weight:.2f} MB read")
        page.goto("about:blank")
        page.goto(f"{report.resolve().as_uri()}/queries.html")
        page.wait_for_selector("body[data-ready]")
        for act in ACTS:
            took, count = page.evaluate(TIMED, act)
            print(f"{act['field']} = {act['value']!r}: {took:.0f} ms, {count}")
        browser.close()


if __name__ == "__main__":
    main()
