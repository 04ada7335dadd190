"""Processes like `python -m ...` and `python -c ...`, forked from one that has imported everything: no wait for torch.

Starting Python and importing torch takes five seconds of processor time. What a test proves by a process of its own
(a kill, a signal, sums by two) it proves by a fork as well; that the commands start from nothing is for
`conftest.run_command`, which starts them so.
"""

import atexit
import fcntl
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
READY = [
    "ensemble.build",
    "submit.make",
    "ensemble.pipeline.member_worker",
    "ensemble.rerank",
    "models.tensorboard_curves",
    "tests.tiny",
]


class Process:
    """What a test uses of `subprocess.Popen`."""

    def __init__(self, nursery, pid):
        self._nursery, self.pid, self.returncode = nursery, pid, None

    def poll(self):
        if self.returncode is None:
            self.returncode = self._nursery.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout=300):
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                self.kill()
                raise TimeoutError(f"process {self.pid} does not end")
            time.sleep(0.005)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


class Nursery:
    """Forks of one process, which is started when the first is asked for, on one thread."""

    def __init__(self):
        self.line, self.lock = None, threading.Lock()

    def ask(self, words, fds=()):
        with self.lock:
            if self.line is None:
                self.line, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
                env = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
                env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])}
                command = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
                self.server = subprocess.Popen(command, cwd=ROOT, env=env, pass_fds=(theirs.fileno(),))
                theirs.close()
            socket.send_fds(self.line, [json.dumps(words).encode()], fds)
            return json.loads(self.line.recv(1000))

    def start(self, command, cwd=ROOT, env=None, stdin=None, stdout=1, stderr=2, pass_fds=(), start_new_session=False):
        """`subprocess.Popen(command, ...)` of a Python; its first word is not looked at, fds are numbers."""
        wanted = {1: stdout, 2: stderr} | {fd: fd for fd in pass_fds}
        words = {"argv": [*map(str, command[1:])], "cwd": str(cwd), "env": dict(os.environ if env is None else env)}
        words |= {"as": [*wanted], "session": start_new_session}
        return Process(self, self.ask(words, wanted.values()))

    def run(self, *argv, **more):
        """`subprocess.run([sys.executable, *argv], capture_output=True, text=True)`."""
        files = [os.memfd_create(name) for name in ("stdout", "stderr")]
        try:
            status = self.start([sys.executable, *argv], stdout=files[0], stderr=files[1], **more).wait()
            said = [os.pread(fd, os.fstat(fd).st_size, 0).decode() for fd in files]
        finally:
            for fd in files:
                os.close(fd)
        return subprocess.CompletedProcess(argv, status, *said)

    def close(self):
        if self.line is not None:
            self.line.close()
            self.server.wait()


def status_of(pid):
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def serve(line):
    """Answer until nobody asks any more; in a fork, return what it is to run."""
    while True:
        text, fds, _, _ = socket.recv_fds(line, 1 << 20, 16)
        if not text:
            sys.exit(0)
        words = json.loads(text)
        if "poll" in words:
            line.send(json.dumps(status_of(words["poll"])).encode())
        elif pid := os.fork():
            line.send(json.dumps(pid).encode())
            for fd in fds:
                os.close(fd)
        else:
            line.close()
            become(words, fds)
            return words["argv"]


def become(words, fds):
    """Take the folder, the environment and the open files that were asked for."""
    for fd, number in zip([fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds], words["as"], strict=True):
        os.dup2(fd, number)
    os.chdir(words["cwd"])
    os.environ.clear()
    os.environ.update(words["env"])
    if words["session"]:
        os.setsid()


def carry_out(how, what, *rest):
    """What Python does with `-m module ...` or `-c code ...`; the status that it leaves with."""
    sys.argv = [what if how == "-m" else how, *rest]
    try:
        if how == "-m":
            sys.modules.pop(what, None)
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def main():
    for name in READY:
        __import__(name)
    status = carry_out(*serve(socket.socket(fileno=int(sys.argv[1]))))
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # and no taking apart of all that was imported, which takes a second and a half


if __name__ == "__main__":
    main()
