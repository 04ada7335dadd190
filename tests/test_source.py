"""Read off the source: nothing unpickles, evaluates or hands text to a shell."""

import ast

import pytest

from tests.test_layers import TREES, imports

BANNED = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "pty", "commands"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "execfile"),
    *(
        "os.system",
        "os.popen",
        "os.spawnl",
        "os.execv",
        "os.execvp",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
    ),
    *("joblib.load", "joblib.dump", "torch.hub.load", "torch.jit.load", "torch.save", "torch.package.PackageImporter"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all"),
    *("np.fromfile", "tempfile.mktemp", "importlib.import_module", "runpy.run_path", "runpy.run_module"),
}


def calls(tree):
    """(dotted name of what is called, the call)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call, name):
    """What a call hands over under this name, as it is written; nothing where it does not."""
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == name), None)


def faults(name, tree):
    """(line, what a file does there that it must not)."""
    for line, module in imports(tree):
        if module.split(".")[0] in BANNED:
            yield line, f"imports {module}"
    for called, call in calls(tree):
        pickles = keyword(call, "allow_pickle")
        if called in CALLS:
            yield call.lineno, f"calls {called}"
        if called == "yaml.load" and (name, keyword(call, "Loader")) != ("configs/load.py", "_Yaml"):
            yield call.lineno, "yaml.load, or without the safe loader"
        if called == "torch.load" and keyword(call, "weights_only") != "True":
            yield call.lineno, "torch.load without weights_only=True"
        if pickles not in (None, "False"):
            yield call.lineno, f"{called} with allow_pickle"
        if called in ("np.save", "numpy.save") and pickles is None:
            yield call.lineno, f"{called} would pickle an array of objects; allow_pickle=False"
        if keyword(call, "shell") is not None:
            yield call.lineno, f"{called} with a shell"


def test_nothing_runs_what_others_wrote():
    assert [f"{name}:{line}: {what}" for name, tree in TREES.items() for line, what in faults(name, tree)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from cloudpickle import loads",
        "eval('1')",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text, Loader=_Yaml)",
        "yaml.unsafe_load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.save(path, array)",
        "joblib.load(path)",
    ],
)
def test_the_reader_finds_it(line):
    assert {found for found, _ in faults("models/x.py", ast.parse(f"import os\n{line}"))} == {2}


def test_the_safe_loader_is_a_safe_loader():
    import yaml

    from configs.load import _Yaml

    assert issubclass(_Yaml, yaml.SafeLoader) and not issubclass(_Yaml, yaml.FullLoader | yaml.UnsafeLoader)
