"""One build of the workshop in a process of its own: `python -m tests.soak.once FOLDER ARGUMENTS...`."""

import os
import sys

from tests.soak.workshop import register

if __name__ == "__main__":
    register()
    from ensemble import build
    from submit import make

    os.chdir(sys.argv[1])
    build.main(sys.argv[2:])
    make.main(["--runs", "runs", "--out", "submission"])
