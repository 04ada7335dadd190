"""Which lines each test runs, in whatever process: a copy of this lies in the copied tree as `sitecustomize.py`.

Every Python that starts there tells each line of the product when it first runs it for the test of that moment, whose
number stands in a file that all processes map: so a process that is killed, forked or kept for later tells it too.
"""

import mmap
import os
import sys
import threading


def start(folder, packages):
    """Tell lines as `test file line` to a file of this process in `folder`, where `now` holds the test's number."""
    root = os.path.dirname(os.path.abspath(__file__)) + os.sep
    ours = tuple(root + package + os.sep for package in packages)
    with open(os.path.join(folder, "now"), "r+b") as file:
        now = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
    told = os.open(os.path.join(folder, f"{os.getpid()}.lines"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    names, left, test = {}, {}, None

    def lines_left(code):
        nonlocal test
        if test != now[0]:
            test = now[0]
            left.clear()
        if id(code) not in left:  # beside the code itself, so that nothing else gets its number
            left[id(code)] = {line for *_, line in code.co_lines() if line}, code
        return left[id(code)][0]

    def call(frame, event, arg):
        path = frame.f_code.co_filename
        name = names.get(path)
        if name is None:
            name = names[path] = path[len(root) :] if path.startswith(ours) else ""
        return line if name and lines_left(frame.f_code) else None

    def line(frame, event, arg):
        if event == "line":
            some = lines_left(frame.f_code)
            if frame.f_lineno in some:
                some.discard(frame.f_lineno)
                os.write(told, f"{test} {names[frame.f_code.co_filename]} {frame.f_lineno}\n".encode())
        return line

    threading.settrace(call)
    sys.settrace(call)


if "MUTANTS_LINES" in os.environ:
    start(os.environ["MUTANTS_LINES"], os.environ["MUTANTS_PACKAGES"].split(","))
