"""How every command ends: 0 done, 2 something the user can mend (one sentence), 130 stopped by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable

from configs.errors import ReidError


def run(main: Callable[[], None]) -> None:
    """Run a command's main function and leave with its exit status."""
    try:
        main()
    except ReidError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
