"""The code version counts code, and not words."""

import copy

import pytest

from configs.store import code_version as module
from configs.store.code_version import code_files, code_version


def version_of(folder, source):
    (folder / "m.py").write_text(source)
    code_version.cache_clear()
    module._source.cache_clear()
    return code_version(folder)


SOURCE = '"""Doc."""\n\nX = 1\n\n\ndef f(a):\n    """Says."""\n    return a + X\n\n\nclass C:\n    """Says."""\n'


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("X = 1", "X = 1  # why", True),
        ('"""Doc."""', '"""Another."""', True),
        ("    return", "\n    # a comment\n    return", True),
        ('    """Says."""\n    return', "    return", True),
        ("X = 1", "X = 2", False),
        ("a + X", "a - X", False),
        ("f(a)", "f(b)", False),
        ("X = 1", "X = '1'", False),
    ],
)
def test_code_version_counts_code_and_not_words(tmp_path, old, new, same):
    assert SOURCE.count(old) >= 1
    assert (version_of(tmp_path, SOURCE) == version_of(tmp_path, SOURCE.replace(old, new))) == same


PLACES = """
def f(x):
    if x:
        DOC
        return 1
    elif x > 1:
        DOC
        return 2
    for _ in x:
        DOC
        pass
    try:
        DOC
        def g():
            DOC
            return lambda: 3 if x else 4
    except ValueError:
        DOC
        class C:
            DOC
            async def h(self):
                DOC
                async with x:
                    DOC
                    pass
    finally:
        def k():
            DOC
    match x:
        case 1:
            DOC
            return 3
"""


def test_a_docstring_counts_nowhere(tmp_path):
    """Wherever a body begins; a text elsewhere is code."""
    texts = [PLACES.replace("DOC", '"""Says."""' + more) for more in ("", "\n")]
    assert version_of(tmp_path, texts[0]) == version_of(tmp_path, texts[1])
    for i in range(PLACES.count("DOC")):
        parts = PLACES.split("DOC")
        other = '"""Says."""'.join(parts[: i + 1]) + '"""Another."""' + '"""Says."""'.join(parts[i + 1 :])
        assert version_of(tmp_path, other) == version_of(tmp_path, texts[0]), i
    assert version_of(tmp_path, texts[0] + "x = 'a'\n") != version_of(tmp_path, texts[0] + "x = 'b'\n")


def test_code_version_counts_names_and_new_files(tmp_path):
    before = version_of(tmp_path, SOURCE)
    (tmp_path / "n.py").write_text("")
    assert version_of(tmp_path, SOURCE) != before


def test_code_version_is_of_the_code_that_runs(tmp_path):
    before = version_of(tmp_path, SOURCE)
    (tmp_path / "m.py").write_text("X = 5")
    assert code_version(tmp_path) == before


def test_the_files_behind_a_version(tmp_path):
    """Which file changed can be told; the version itself stays 12 hex digits."""
    (tmp_path / "n.py").write_text("Y = 1\n")
    before = version_of(tmp_path, SOURCE)
    place = f"{tmp_path.name}/m.py"
    assert set(before.parts) == {place, f"{tmp_path.name}/n.py"} and len(before) == 12
    after = version_of(tmp_path, SOURCE.replace("X = 1", "X = 2"))
    assert [f for f in after.parts if after.parts[f] != before.parts[f]] == [place]


def test_a_version_that_another_process_is_sent_keeps_its_files(tmp_path):
    before = version_of(tmp_path, SOURCE)
    sent = copy.copy(before)  # by the same protocol as a pipe's
    assert sent == before and type(sent) is type(before) and sent.parts == before.parts


def test_files_of_the_project_are_named_from_its_root():
    from ensemble.results.cache_keys import MODELS

    code = code_version(MODELS / "training" / "train.py", MODELS / "heads")
    assert {"models/training/train.py", "models/heads/mgn.py"} <= set(code.parts)
    assert code_files({"a": {"code": code}, "b": "text"}) == code.parts


def test_kernels_in_cuda_count_without_their_comments(tmp_path):
    """A kernel's text decides rankings as much as the code beside it."""

    def version(text):
        (tmp_path / "k.cu").write_text(text)
        return version_of(tmp_path, SOURCE)

    before = version("int a = 1;  // one\n\n// two\nint b;\n")
    assert version("// other words\nint a = 1;\nint b;\n") == before
    assert version("int a = 2;\nint b;\n") != before
