"""Data sets of a table and of features in a plane: nothing is decoded or trained, and the right lists are known."""

import json

import numpy as np

from ensemble import build
from submit import make


def write_table(root, header, rows):
    """`df.csv` of these rows, and an empty file for each path."""
    columns = header.split(",")
    root.mkdir(parents=True, exist_ok=True)
    for row in rows:
        path = root / row.split(",")[columns.index("path")]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "df.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


def write_member(path, angles):
    """A member's file: name -> the direction of its feature."""
    feats = np.array([(np.cos(a), np.sin(a)) for a in angles.values()], np.float32)
    np.savez(path, names=np.array(list(angles)), feats=feats)
    return path


def built(root, runs, member, *sets, argv=()):
    """A build of this member without re-ranking; what `submit.make` wrote: (the lists, the scores of `test`)."""
    changes = [part for change in ("ensemble.rerank=none", *sets) for part in ("--set", change)]
    build.main(["--members", f"m={member}", "--data", str(root), "--out", str(runs), *changes, *map(str, argv)])
    make.main(["--runs", str(runs), "--out", str(runs / "out")])
    lists = json.loads((runs / "out/submission.json").read_text(encoding="utf-8"))
    return lists, json.loads((runs / "out/score.json").read_text(encoding="utf-8"))["scores"]["test"]
