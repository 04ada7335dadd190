"""Which tests can notice a fault: those that run its line; where none is seen to, those that run what names it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.faults import FUNCTIONS, Fault

QUICK, LONG = 0.5, 5.0  # seconds of a test


def owners(body: list[ast.stmt], owner: str = "") -> dict[int, tuple[str, str]]:
    """Line -> the outermost function around it and "body" or "head"; elsewhere the name that it binds and ""."""
    found = {}
    for node in body:
        if isinstance(node, FUNCTIONS):
            found |= dict.fromkeys(range(node.lineno, node.body[0].lineno), (node.name, "head"))
            found |= dict.fromkeys(range(node.body[0].lineno, node.end_lineno + 1), (node.name, "body"))
            continue
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        names = [n.id for t in targets if t for n in ast.walk(t) if isinstance(n, ast.Name)]
        name = (names or [getattr(node, "name", owner)])[0]
        found |= dict.fromkeys(range(node.lineno, node.end_lineno + 1), (name, ""))
        for inner in ("body", "orelse", "finalbody"):
            found |= owners(getattr(node, inner, []), name)
    return found


class Chooser:
    """seen: of the run over everything, tests: name -> [seconds, shared fixtures]; fixtures: name -> seconds; and
    lines: file -> line -> names of tests and fixtures. Seconds are two: of the processor, and of the clock.
    """

    def __init__(self, root: Path, files: list[str], seen: dict) -> None:
        self.tests, self.fixtures, self.seen = seen["tests"], seen["fixtures"], seen["lines"]
        self.text = {file: (root / file).read_text(encoding="utf-8") for file in files}
        self.owners = {file: owners(ast.parse(text).body) for file, text in self.text.items()}
        self.users = defaultdict(set)
        for test, (_, needed) in self.tests.items():
            for fixture in needed:
                self.users[fixture].add(test)

    def running(self, file: str, lines: Iterable[int]) -> set[str]:
        """The tests that run one of these lines, themselves or in a fixture that they share."""
        seen = self.seen.get(file, {})
        told = {who for n in lines for who in seen.get(str(n), ())}
        return (told & self.tests.keys()).union(*(self.users[one] for one in told))

    def covering(self, fault: Fault) -> set[str]:
        owner, part = self.owners[fault.file].get(fault.line, ("", ""))
        body = [n for n, who in self.owners[fault.file].items() if who == (owner, "body")]
        if not part or not (running := self.running(fault.file, body)):  # machine code, whose lines nobody sees run
            return self.naming(owner, fault.file) if owner else set()
        return running if part == "head" else self.running(fault.file, range(fault.lines[0], fault.lines[1] + 1))

    def naming(self, name: str, file: str) -> set[str]:
        """The tests that run a line with this name of a file; where none is seen to, those that run its owner's name.

        A name of a file is looked for there, and in the files that name this one where they import.
        """
        found, asked, done = set(), {(name, file)}, set()
        while asked:
            done.add(one := asked.pop())
            importing = re.compile(rf"^(?:from|import) .*\b{Path(one[1]).stem}\b", re.MULTILINE)
            for other, text in self.text.items():
                if other != one[1] and not importing.search(text):
                    continue
                for match in re.finditer(rf"\b{one[0]}\b", text):
                    line = text.count("\n", 0, match.start()) + 1
                    owner, part = self.owners[other].get(line, ("", ""))
                    some = self.running(other, [line]) if part == "body" else set()
                    found |= some
                    asked |= {(owner, other)} - done if owner and not some else set()
        return found

    def in_order(self, fault: Fault, budget: float) -> tuple[list[tuple[str, float]], int]:
        """The tests and their seconds, the file's own and the quick ones first; and how many no budget was left for."""
        own = f"test_{Path(fault.file).stem.strip('_')}.py"

        def alone(test: str, clock: int) -> float:
            took, needed = self.tests[test]
            return took[clock] + sum(self.fixtures[one][clock] for one in needed if one in self.fixtures)

        def rank(test: str) -> tuple:
            took, file = alone(test, 0), test.split("::")[0]
            return (took > LONG or not file.endswith(own), (took > QUICK) + (took > LONG), file, took, test)

        covering, chosen, paid = sorted(self.covering(fault), key=rank), [], set()
        for test in covering:
            took, needed = self.tests[test]
            cost = took[0] + sum(self.fixtures.get(one, (0, 0))[0] for one in set(needed) - paid)
            if cost <= budget or not chosen:
                budget -= cost
                paid |= set(needed)
                chosen.append((test, alone(test, 1)))
        return chosen, len(covering) - len(chosen)
