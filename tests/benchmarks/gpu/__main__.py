"""What a GPU makes of this project, as tables: `python -m tests.benchmarks.gpu [--part retrieval training build]`.

Each part fits four minutes and loads what it needs alone. A row that fails says how, and the next one comes.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

SECONDS = {"retrieval": 200.0, "training": 180.0, "build": 180.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="*", default=list(SECONDS), choices=list(SECONDS))
    parser.add_argument("--seconds", type=float, help="at most, of each part (default: 180 to 200)")
    parser.add_argument("--data", type=Path, help="of the build: a folder in `table` layout (default: drawn here)")
    asked = parser.parse_args()
    for part in asked.part:
        more = {"data": asked.data} if part == "build" else {}
        import_module(f"tests.benchmarks.gpu.{part}").main(asked.seconds or SECONDS[part], **more)


if __name__ == "__main__":
    main()
