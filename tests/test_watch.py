"""What the table shows of members that stand already."""

import io
import json
from types import SimpleNamespace

from rich.console import Console

from configs.console.build_progress import Stage
from configs.console.build_table import Screen
from ensemble.planning.monitor import show_kept


def test_kept_members_show_their_last_epoch(tmp_path):
    stages = [
        Stage(f"members/{name}", name, "members", "training", "trained", 3, 60, 10, True, done)
        for name, done in (("a", 1.0), ("b", 1.0), ("c", 0.0))
    ]
    told = {"images": 60, "seconds": 0.5, "terms": {"id": 2.5}, "apart": 0.25, "lr": 1e-3}
    lines = [{"epoch": e, "loss": 3.0 / e} | told for e in (1, 2, 3)]
    (tmp_path / "members" / "a").mkdir(parents=True)
    (tmp_path / "members" / "a" / "epochs.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (tmp_path / "members" / "b").mkdir()
    (tmp_path / "members" / "b" / "epochs.jsonl").write_text("torn")
    console = Console(file=io.StringIO(), force_terminal=False)
    screen = Screen(console, stages)
    show_kept(SimpleNamespace(store=SimpleNamespace(root=tmp_path)), screen, stages)
    assert screen.rows == {"a": {"epoch": "3/3", "rate": "120"}, "b": {}, "c": {}}
    assert screen.cells == {"a": {"loss": "1.000", "id": "2.500", "spread": "0.250", "lr": "1e-3"}}
    assert console.file.getvalue() == ""
