"""Read off the source: nothing unpickles, evaluates or hands text to a shell."""

import ast

import pytest

from tests.test_layers import NAMES, TREES, calls, imports, keyword

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


def faults(tree):
    """What a file does that it must not, in words."""
    for module in imports(tree):
        if module.split(".")[0] in BANNED:
            yield f"imports {module}"
    for name, call in calls(tree):
        loader, only, pickles = (keyword(call, k) for k in ("Loader", "weights_only", "allow_pickle"))
        if name in CALLS:
            yield f"line {call.lineno}: calls {name}"
        if name == "yaml.load" and ast.unparse(loader or ast.Constant("")) != "_Yaml":
            yield f"line {call.lineno}: yaml.load without the safe loader"
        if name == "torch.load" and ast.unparse(only or ast.Constant("")) != "True":
            yield f"line {call.lineno}: torch.load without weights_only=True"
        if pickles is not None and ast.unparse(pickles) != "False":
            yield f"line {call.lineno}: {name} with allow_pickle"
        if name in ("np.save", "numpy.save") and pickles is None:
            yield f"line {call.lineno}: {name} would pickle an array of objects; allow_pickle=False"
        if keyword(call, "shell") is not None:
            yield f"line {call.lineno}: {name} with a shell"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_what_others_wrote(name):
    assert list(faults(TREES[name])) == []


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
        "yaml.unsafe_load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.save(path, array)",
        "joblib.load(path)",
    ],
)
def test_the_reader_finds_it(line):
    assert list(faults(ast.parse(line)))


def test_the_safe_loader_is_a_safe_loader():
    import yaml

    from configs.load import _Yaml

    assert issubclass(_Yaml, yaml.SafeLoader) and not issubclass(_Yaml, yaml.FullLoader | yaml.UnsafeLoader)
