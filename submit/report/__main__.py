"""Write the report of a build as HTML pages: `python -m submit.report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from configs.console.command import CommandLine, at_least, run
from configs.console.progress import Progress
from configs.console.store_options import add_build, add_device, add_runs, check_runs
from configs.errors import ConfigError
from configs.installed import need
from configs.store.store import Store
from ensemble.kernels.device import check_device

if TYPE_CHECKING:
    from submit.report.build_report import Written

WHAT = "Write the report of the last build as HTML pages: scores, errors, every query. They open without a server."
EXAMPLE = """
  python -m submit.report
  python -m submit.report --serve
  python -m submit.report --build builds/drawn-0123456789ab --out report
"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m submit.report", WHAT, EXAMPLE)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder to write (default: reports/<the build's name>)"
    )
    add_runs(parser)
    add_build(parser)
    add_device(parser)
    parser.add_argument(
        "--serve", action="store_true", help="then serve it at http://127.0.0.1:8000/, with a search by photograph"
    )
    parser.add_argument(
        "--port", type=at_least(0), default=8000, metavar="N", help="port of --serve (default: 8000; 0: any free port)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="NAME",
        help="address of --serve (default: 127.0.0.1); with another, such as 0.0.0.0, the printed link gives access",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Write the report, and print its path."""
    args = parse(argv)
    need("report", "jinja2", "matplotlib")
    from submit.report.build_report import make_report

    check_device(args.device)
    check_runs(args.runs)
    progress = Progress()
    store = Store(args.runs, progress.say, lends=True)
    written = make_report(store, args.build, args.out, progress, args.device)
    print(written.folder / "index.html", flush=True)
    if args.serve:
        serve(written, args.host, args.port, progress)


def serve(written: Written, host: str, port: int, progress: Progress) -> None:
    """Serve the report until Ctrl-C."""
    from submit.report.photo_search import Finder
    from submit.report.serve import Server

    f = written.findings[0]
    finder = Finder(written.subject, f.trial, written.trained)
    try:
        server = Server(
            host, port, written.folder, lambda found, said: written.pages.search(f, found, said), finder.find
        )
    except (OSError, OverflowError) as e:
        raise ConfigError(
            f"--host {host} --port {port}: cannot be served there ({e}); --port 0 uses a free port"
        ) from e
    progress.say(f"the report is at {server.link()}, the search at {server.link('search.html')}; Ctrl-C ends it")
    if server.token:
        progress.say("everybody with such a link can see all pictures of the report and search in it")
    try:
        server.serve_forever()
    finally:
        server.server_close()


if __name__ == "__main__":
    run(main)
