"""What a submission format is: a file name, and how lists of names are written and read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Lists = Mapping[str, Sequence[str]]  # query name -> gallery names, best first


@dataclass(frozen=True)
class Format:
    """A way to hand lists in.

    write: lists -> the file's bytes. read: bytes -> lists; raises SubmissionError where they are not of this format.
    """

    file: str
    write: Callable[[Lists], bytes]
    read: Callable[[bytes], dict[str, list[str]]]


def find_faults(lists: Lists, queries: Sequence[str], gallery: Sequence[str], top_k: int) -> list[str]:
    """Everything that is wrong with a submission's lists, a sentence each; nothing where it is right.

    Every query once, lists of min(top_k, G) names, no repeats, only gallery names.
    """
    faults = [f"query {name!r} is missing" for name in queries if name not in lists]
    asked, there, wanted = set(queries), set(gallery), min(top_k, len(gallery))
    for name, answer in lists.items():
        if name not in asked:
            faults.append(f"query {name!r} is not one of the {len(queries)} queries")
            continue
        if len(answer) != wanted:
            faults.append(f"query {name!r}: a list of {len(answer)} names; wanted {wanted}")
        twice = [n for n, count in Counter(answer).items() if count > 1]
        if twice:
            faults.append(f"query {name!r}: {twice[0]!r} is repeated")
        unknown = [n for n in answer if n not in there]
        if unknown:
            faults.append(f"query {name!r}: {unknown[0]!r} is not in the gallery")
    return faults
