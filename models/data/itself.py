"""Queries that are in the gallery too: a finding, and the rule that is wanted of a competition."""

from __future__ import annotations

from collections import Counter

from configs.console.quoting import set_option
from configs.errors import ConfigError
from configs.schema import JUNK_RULES, NO_JUNK, Competition
from models.data.doctor.finding import NOTE, Finding, count, shown
from models.data.split import UNKNOWN, Benchmark, own_rows, sequences_of

ITSELF, SAME_SEQUENCE = JUNK_RULES[0], JUNK_RULES[2]
WHY = "a query would be its own best match: competition.junk needs the rule itself, which leaves it out of its list"

SEEN = "they are easy answers, so the score is too good, unless competition.junk has the rule same_sequence"


def _own(benchmark: Benchmark) -> list[str]:
    """The names of the queries that are gallery images."""
    rows = own_rows(benchmark.query, benchmark.gallery)
    return [name for name, row in zip(benchmark.query.names, rows.tolist(), strict=True) if row >= 0]


def _told(names: list[str]) -> str:
    return count(len(names), "query is a gallery image itself", "queries are gallery images themselves")


def find_own(benchmark: Benchmark) -> list[Finding]:
    """A finding if queries are gallery images too."""
    names = _own(benchmark)
    return [Finding(NOTE, _told(names), WHY, shown(names))] if names else []


def find_sequences(benchmark: Benchmark) -> list[Finding]:
    """A finding if queries share a sequence with other gallery images."""
    sides = sequences_of(benchmark.query, benchmark.gallery)
    if sides is None:
        return []
    own = own_rows(benchmark.query, benchmark.gallery)
    there = Counter(sides[1][sides[1] != UNKNOWN].tolist())
    mine = [int(sides[1][row]) if row >= 0 else UNKNOWN for row in own]
    asked = zip(benchmark.query.names, sides[0].tolist(), mine, strict=True)
    names = [name for name, sequence, itself in asked if there[sequence] > (itself == sequence)]
    text = count(
        len(names), "query has gallery images of its sequence", "queries have gallery images of their sequence"
    )
    return [Finding(NOTE, text, SEEN, shown(names))] if names else []


def check_junk(competition: Competition, benchmark: Benchmark) -> None:
    """What the competition's rules want of the lists.

    Raises:
        ConfigError: a query is a gallery image, and no rule leaves it out of its own list; or no sequence is known.
    """
    rules = [rule for rule in competition.junk.split("+") if rule != NO_JUNK]
    names = [] if ITSELF in rules else _own(benchmark)
    if names:
        few = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
        raise ConfigError(
            f"{_told(names)} ({few}), and competition.junk is {competition.junk}: each would find itself first. Leave "
            f"an image out of its own list with {set_option('competition.junk', [ITSELF, *rules])}"
        )
    if SAME_SEQUENCE in rules and sequences_of(benchmark.query, benchmark.gallery) is None:
        raise ConfigError(
            f"competition.junk is {competition.junk}, and query or gallery tells no sequences; layout table reads them "
            "from a column 'sequence'"
        )
