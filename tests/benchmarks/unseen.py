"""Features of the test people of another Market-1501 folder by the members of a finished build, without training.

`python -m tests.benchmarks.unseen RUNS FOLDER OUT` writes OUT/MEMBER.npz, for `ensemble.build --members`.
"""

import argparse
from pathlib import Path

import numpy as np

from configs.console.progress import Progress
from configs.store.store import Store
from ensemble.features import external
from ensemble.results.build_record import open_build
from ensemble.results.lineage import made_from
from models.data.images import decode
from models.data.layouts import read_layout
from models.device import choose_device
from models.extraction.extract import extract, load_member
from models.extraction.views import make_views


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("runs", "folder", "out"):
        parser.add_argument(name, type=Path)
    asked = parser.parse_args()
    store = Store(asked.runs)
    _, record, plan = open_build(store)
    shown = read_layout("market1501", asked.folder, ())
    names, paths = shown.query.names + shown.gallery.names, shown.query.paths + shown.gallery.paths
    made = made_from(store, record.evaluations["test"].banks)
    folders = {key.split("/")[1].rpartition("-")[0]: key for key in made if key.startswith("members/")}
    asked.out.mkdir(parents=True, exist_ok=True)
    for member in plan.members:
        size = plan.recipe_of(member).size
        feats = extract(
            load_member(member, store.open(folders[member.name]), size),
            np.stack([decode(path, size) for path in paths]),
            names,
            views=make_views(plan.ensemble.views, plan.ensemble.flip),
            channels_last=False,
            device=choose_device("cpu")[0],
            precision="float32",
            progress=Progress(quiet=True),
        )
        external.save(asked.out / f"{member.name}.npz", names, feats)


if __name__ == "__main__":
    main()
