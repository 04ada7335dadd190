"""Whatever a user can type or hand over ends in one sentence and status 2, or works: never in a traceback, never late.

Small in the suite; `-m slow` runs the same with many more.
"""

import json
import shutil
import socket
import string
import threading
import traceback
import warnings
from contextlib import suppress

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from configs.console.command import run
from configs.errors import ReidError
from configs.load import HERE, load_build_config, load_competition
from configs.schema import Weights
from configs.store.store import Store
from ensemble import build, doctor, runs, split, verify, worth
from ensemble.features.external.read_file import read_external
from ensemble.pseudo import __main__ as pseudo
from ensemble.tune import __main__
from models.data.doctor.label_list import read_label_list
from models.data.layouts import read_layout
from models.data.pairs import read_pairs
from models.extraction.views import check_views
from models.registry import check
from models.weights.load import load_weights
from models.weights.sources import keep_weights
from submit import check as checker
from submit import diff, make, score
from submit.build_scores import load_scores
from submit.report import __main__ as report
from submit.report.serve import Server
from tests import test_layouts
from tests.tables import write_member, write_table

MANY = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def both(test, *drawn, **named):
    """The same test with few examples, and with many under `slow`."""
    few, many = (given(*drawn, **named)(test) for _ in range(2))
    return FEW(few), pytest.mark.slow(MANY(many))


def sentence(do):
    """What it ends in: nothing, or a sentence that a terminal can show; a warning is a defect too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            do()
        except ReidError as e:
            assert str(e) and "Traceback" not in str(e)


# -------------------------------------------------------------------------------------------------------------- --set


def keys_of(value, before):
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield f"{before}.{key}"
        yield from keys_of(inner, f"{before}.{key}")


TABLES = {name: yaml.safe_load((HERE / f"{name}.yaml").read_text()) for name in ("recipe", "ensemble", "members")}
TABLES["competition"] = yaml.safe_load((HERE / "competitions/drawn.yaml").read_text())
KEYS = st.sampled_from([key for name, table in TABLES.items() for key in keys_of(table, name)])
ATOMS = st.sampled_from(
    [
        "0",
        "1",
        "-1",
        "2",
        "1e9",
        "1e-9",
        "1e400",
        ".nan",
        ".inf",
        "true",
        "null",
        "~",
        "abc",
        "[]",
        "{}",
        "[1]",
        "[0,0]",
        "[64,32]",
        "[100000,100000]",
        "{name:x}",
        "2001-01-01",
        "18446744073709551617",
        "99999999999999999999999999",
        "[null]",
        "{1:2}",
        "{null:1}",
        "[[1]]",
        "0x10",
        "flip",
        "{name:steps}",
        "!!set{a}",
    ]
) | st.text(string.printable, max_size=12)
WORDS = st.sampled_from(
    [
        "name",
        "weight",
        "p",
        "lr",
        "depth",
        "base",
        "eps",
        "margin",
        "size",
        "k",
        "alpha",
        "then",
        "area",
        "pad",
        "fill",
        "ibn",
        "se",
        "fresh",
    ]
)
VALUES = st.one_of(
    ATOMS,
    st.builds("[{}]".format, st.lists(ATOMS, max_size=3).map(", ".join)),
    st.builds("{{{}: {}}}".format, WORDS, ATOMS),
    st.builds(
        "{{name: {}, {}: {}}}".format,
        st.sampled_from(["resnet", "timm", "mgn", "adam", "erase", "cosine"]),
        WORDS,
        ATOMS,
    ),
)
CHANGES = st.lists(
    st.builds(lambda key, more, value: f"{key}{more}={value}", KEYS, st.just("") | WORDS.map(".{}".format), VALUES),
    min_size=1,
    max_size=3,
)


def any_change(changes):
    def plan():
        made = load_build_config(["r50"], sets=changes)
        for member in made.members:
            check(member, made.recipe)
            check_views(member, made)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of sizes that are then refused
        try:
            plan()
        except ReidError as e:
            assert str(e)


test_any_change, test_any_change_many_times = both(any_change, CHANGES)

# ------------------------------------------------------------------------------------------------------- weights files


def small_trunk():
    return torch.nn.ModuleDict({"conv1": torch.nn.Conv2d(3, 2, 1), "layer1": torch.nn.Conv2d(2, 2, 1)})


STATE = small_trunk().state_dict()
WORDS = st.sampled_from(
    ["model", "state_dict", "module", "fc", "conv1", "layer1.0", "0", "", ".", "..", "\n", "weight"]
)
LEAVES = st.one_of(st.just(STATE), st.just(torch.ones(3)), st.just(torch.zeros(0)), st.none(), st.integers(), st.text())
KEYED = st.one_of(WORDS, st.integers(0, 3), st.none())
NESTS = st.recursive(LEAVES, lambda inner: st.dictionaries(KEYED, inner, max_size=3), max_leaves=8)


def any_nest(tmp_path_factory, nest, before):
    """Dicts in dicts of networks and of anything else: a backbone is loaded, or one sentence says why not."""
    folder = tmp_path_factory.mktemp("nest")
    torch.save(nest, folder / "w.pth")
    weights = Weights(file=str(folder / "w.pth"), prefix=before)
    store = Store(folder / "runs", lambda text: None)
    sentence(lambda: load_weights(small_trunk(), keep_weights(store, weights), weights))
    shutil.rmtree(folder)


test_any_nest, test_any_nest_many_times = both(any_nest, nest=NESTS, before=st.one_of(st.none(), WORDS))


CHOICES = {
    "ensemble.weights": "{m:0} {m:1e308} {m:1e-300} {n:1e6} {x:1}",
    "ensemble.k1": "1 2 100 99999999999 4294967296",
    "ensemble.k2": "1 100 9223372036854775808",
    "ensemble.lam": "0 1 1e-320",
    "ensemble.rerank": "none k_reciprocal ca_jaccard {name:ca_jaccard,k1_inter:99999999999}",
    "ensemble.group_by": "domain camera",
    "ensemble.fusion": "rerank_then_sum sum_then_rerank",
    "ensemble.domains": "table none colours",
    "ensemble.tracks": "mean none",
    "ensemble.whiten": "none train test {name:test,center:camera} {name:test,center:domain} {name:test,shrinkage:0}",
    "ensemble.expand": "queries database {name:database,k:999999999999} {name:queries,alpha:1000}",
    "ensemble.camera_penalty": "0 1 1e6 1e308",
    "ensemble.domain_settings": "{a:{k1:99999999999}} {b:{rerank:none}} {a:{weights:{m:0}}} {c:{k1:1}}",
    "ensemble.pseudo.rounds": "2",
    "competition.top_k": "1 2 2147483647",
    "competition.ap": "market hits relevant relevant_at_k",
    "competition.junk": "none same_pid_same_cam",
    "competition.format": "prcv_csv aicity_txt visda_txt atrw_json pairs_csv",
    "competition.score": "{rank1:1e308} {map:0} {rank1:0,map:0}",
    "competition.skip": "[0_0.jpg] {gallery:[0_1.jpg,0_2.jpg]} {query:[1_0.jpg]} {every:[x.jpg]}",
}
SETS = st.lists(
    st.sampled_from(
        [f"{key}={value.replace(':', ': ')}" for key, values in CHOICES.items() for value in values.split()]
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """20 images of five people by two members, with cameras, domains and tracks."""
    root, angles, rows = tmp_path_factory.mktemp("fuzz"), {}, []
    for i in range(5):
        for j in range(4):
            angles[f"{i}_{j}.jpg"] = i + j / 9
            rows.append(f"p{i},{i}_{j}.jpg,test,{int(j == 0)},{int(j > 0)},{j},{'ab'[i % 2]},t{i}{j // 2}")
    write_table(root / "d", "label,path,split,is_query,is_gallery,camid,domain,track", rows)
    for name in "mn":
        write_member(root / f"{name}.npz", {key: at * (1 + (name == "n") / 9) for key, at in angles.items()})
    return root


def any_settings_of_a_build(data, sets):
    """What a build accepts it carries out, and what it has carried out is handed in."""
    shutil.rmtree(data / "runs", ignore_errors=True)
    changes = [part for change in sets for part in ("--set", change)]
    argv = ["--members", f"m={data}/m.npz,n={data}/n.npz", "--data", data / "d", "--runs", data / "runs", *changes]

    def both_steps():
        try:
            build.main([str(a) for a in argv])
        except ReidError as e:
            assert str(e)
            return
        make.main(["--runs", str(data / "runs"), "--out", str(data / "out")])  # whatever is refused was refused before

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both_steps()


test_any_settings_of_a_build, test_any_settings_of_a_build_many_times = both(any_settings_of_a_build, sets=SETS)

# ------------------------------------------------------------------------------------------------------- command lines

LONG = "/" + "x" * 5000
COMMANDS = {
    build.main: "--data --runs --members --set --holdout --rounds --workers --parallel --competition --recipe --layout "
    "--device",
    make.main: "--runs --build --out --against --device",
    __main__.main: "--runs --build --evaluation --seed --device",
    worth.main: "--runs --build --evaluation --device",
    runs.main: "--runs",
    verify.main: "--runs",
    doctor.main: "--data --layout --competition --recipe --set --jobs",
    split.main: "--data --out --share --images --queries --ratio --distractors --seed --competition",
    pseudo.main: "--runs --build --method --threshold --groups --eps --least --k1 --seed --round --test",
    checker.main: "--data --competition --format --set --layout",
    score.main: "--data --competition --format --set --ap",
    diff.main: "--data --format --show",
    report.main: "--runs --build --out --port --device",
}
ARGUMENTS = st.sampled_from(
    ["", "x", "-1", "0", "nan", "inf", "1e400", "9" * 400, LONG, "/dev/null", "/proc", "members/x-0123456789ab", "cuda",
     "../x", "a b", "'", "x=1", "x.y=[", "recipe.seed=18446744073709551617", "m=/dev/zero", "[", "3:2", "\ud800"]
)  # fmt: skip


def any_command_line(folder, command, draw):
    """Every option of every command, with what no option takes; the process may end with 0, 1 or 2 alone."""
    options = draw.draw(st.lists(st.sampled_from(COMMANDS[command].split()), min_size=1, max_size=2, unique=True))
    argv = [word for option in options for word in (option, draw.draw(ARGUMENTS))]
    argv += [str(folder / "f.json")] if command in (checker.main, score.main, diff.main) else []
    with pytest.raises(SystemExit) as left:
        run(lambda: command(argv))
    assert left.value.code in (0, 1, 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to type in, without a data set, so that no command comes to work."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.json").write_text("{}")
    monkeypatch.setattr("ensemble.carry_out.draw_people", lambda out: out)
    return tmp_path


test_any_command_line, test_any_command_line_many_times = both(
    any_command_line, command=st.sampled_from(list(COMMANDS)), draw=st.data()
)

# --------------------------------------------------------------------------------------------------------------- files

PIECES = [
    b'"',
    b",",
    b"\n",
    b"\0",
    b"9" * 23,
    b"-1",
    b"nan",
    b"\xff",
    b"[",
    b"{",
    b":",
    b"<",
    b"\r",
    b"/",
    b"..",
    b"\\",
]
PIECES += [b"1e999", b"\xef\xbb\xbf", b"&a", b"*a", b"!!", b"\xe2\x80\xa8", b"\x85", b" "]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Path -> what reads it."""
    root = tmp_path_factory.mktemp("files")
    names, feats = [f"{i}.jpg" for i in range(5)], np.arange(15, dtype=np.float32).reshape(5, 3)
    np.savez(root / "m.npz", names=np.array(names), feats=feats)
    save_file({"feats": feats}, root / "m.safetensors", {"names": json.dumps(names)})
    (root / "dist").mkdir()
    (root / "dist/names.json").write_text(json.dumps({"query": names[:2], "gallery": names[2:]}))
    np.save(root / "dist/feats.npy", feats)
    torch.save({"state_dict": {"a.weight": torch.ones(3, 3)}}, root / "w.pth")
    save_file({"a.weight": feats}, root / "w.safetensors")
    (root / "rules.yaml").write_text((HERE / "competitions/drawn.yaml").read_text())
    (root / "list.txt").write_text("a/0.png 1\nb.png 2\n")
    (root / "pairs.csv").write_text("row_id,query,gallery\n1,a,b\n")
    row = {"name": "a", "rank1": 1.0, "map": 1.0, "minp": 1.0, "total": 1.0, "cmc": [1], "scored": 1, "skipped": 0}
    (root / "score.json").write_text(json.dumps({"scores": {"test": [row | {"signature": "ap=hits"}]}}))
    reads = {root / name: lambda name=name: read_external(root / name) for name in ("m.npz", "m.safetensors")}
    reads |= {root / "dist" / name: lambda: read_external(root / "dist") for name in ("names.json", "feats.npy")}
    store = Store(root / "store", lambda text: None)
    for name in ("w.pth", "w.safetensors"):
        reads[root / name] = lambda name=name: keep_weights(store, Weights(file=str(root / name)))
    reads |= {root / "rules.yaml": lambda: load_competition(str(root / "rules.yaml"))}
    reads |= {root / "list.txt": lambda: read_label_list(root / "list.txt")}
    reads |= {
        root / "pairs.csv": lambda: read_pairs(root),
        root / "score.json": lambda: load_scores(root / "score.json"),
    }
    for layout, maker in test_layouts.MAKERS.items():
        (root / layout).mkdir()
        maker(root / layout)
        for path in (root / layout).rglob("*"):
            if path.suffix in (".txt", ".csv", ".xml"):
                reads[path] = lambda layout=layout: read_layout(layout, root / layout, wanted=())
    return reads


def any_bytes(files, draw):
    """A file of which some bytes were changed, cut, put in or doubled is read, or refused in a sentence."""
    path = draw.draw(st.sampled_from(sorted(files)))
    good = path.read_bytes()
    content = bytearray(good)
    for _ in range(draw.draw(st.integers(1, 3))):
        at, end = sorted(draw.draw(st.tuples(st.integers(0, len(content)), st.integers(0, len(content)))))
        how = draw.draw(st.sampled_from(["flip", "cut", "put", "drop", "double"]))
        if how == "flip" and at < len(content):
            content[at] ^= 1 << draw.draw(st.integers(0, 7))
        elif how == "cut":
            del content[at:]
        elif how == "drop":
            del content[at:end]
        else:
            content[at:at] = draw.draw(st.sampled_from(PIECES)) if how == "put" else content[at:end]
    path.write_bytes(content)
    try:
        sentence(files[path])
    finally:
        path.write_bytes(good)


test_any_bytes, test_any_bytes_many_times = both(any_bytes, draw=st.data())

# ------------------------------------------------------------------------------------------------------------ requests

TARGETS = [
    "/",
    "http://[x/",
    "/" + "a" * 5000,
    "/%00",
    "/..%2f..",
    "//x",
    "*",
    "/\xff",
    "/search.html",
    "http://x@[::1",
    "",
]
HEADERS = ["Host: {host}", "Host: [x", "Origin: http://[x/", "Origin: null", "Content-Length: -1", "Content-Length: x"]
HEADERS += ["Content-Length: 9" + "9" * 30, "Content-Length: 5", "Content-Type: multipart/form-data; boundary=\xff"]
HEADERS += ["Content-Type: multipart/form-data", "Transfer-Encoding: chunked", "Connection: close", "X" * 3000]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A report's server that keeps what went wrong in it."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "index.html").write_bytes(b"hello")
    server = Server("127.0.0.1", 0, folder, lambda found, said: said, lambda content: None)
    server.wrong = []
    server.handle_error = lambda request, address: server.wrong.append(traceback.format_exc())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


REQUESTS = {
    "method": st.sampled_from(["GET", "HEAD", "POST", "PUT", "x"]),
    "target": st.sampled_from(TARGETS)
    | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n "), max_size=20),
    "headers": st.lists(st.sampled_from(HEADERS), max_size=4),
    "body": st.binary(max_size=40),
}


def any_request(server, method, target, headers, body):
    host = f"127.0.0.1:{server.server_port}"
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(h.replace("{host}", host) for h in headers)]
    line = socket.create_connection(server.server_address, timeout=10)
    with line, suppress(ConnectionError):  # it may have said enough already; a hang is a timeout, and fails
        line.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        with suppress(OSError):
            line.shutdown(socket.SHUT_WR)
        while line.recv(65536):
            pass
    assert server.wrong == []


test_any_request, test_any_request_many_times = both(any_request, **REQUESTS)
