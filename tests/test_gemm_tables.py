"""Which tables of tuned products are read, and that the op library checks them. No GPU is needed, only a library built with CUDA."""

from __future__ import annotations

import pytest

from tf_fastbert import gemm_tables, ops

TABLE = """tf_fastbert gemm table 1
gpu A GPU
cublaslt 130100
gemm 768 3072 2 68 1 160 1f 0 0 0 0 0 0 2
"""


def finished(body: str) -> str:
    """`body` with the line that ends a table."""
    total = 14695981039346656037
    for byte in body.encode():
        total = (total ^ byte) * 1099511628211 % 2**64
    return f"{body}end {body.count(chr(10)) - 3} {total:x}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's own folder of tables, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TF_FASTBERT_GEMM_TABLES", raising=False)
    own = tmp_path / "tf_fastbert" / "gemm_tables"
    assert gemm_tables.user_folder() == own
    own.mkdir(parents=True)
    return own


def test_order_of_the_files(folder, tmp_path, monkeypatch):
    shipped = list(gemm_tables.table_files())
    (folder / "b.txt").touch()
    (folder / "a.txt").touch()
    monkeypatch.setenv("TF_FASTBERT_GEMM_TABLES", f"{tmp_path}/x:{tmp_path}/y")
    own = [folder / "a.txt", folder / "b.txt", tmp_path / "x", tmp_path / "y"]
    assert list(gemm_tables.table_files()) == shipped + own
    monkeypatch.setenv("TF_FASTBERT_GEMM_TABLES", "")
    assert list(gemm_tables.table_files()) == []


@pytest.fixture
def library():
    if not ops.build_info()["cuda"]:
        pytest.skip("the op library was built without CUDA")
    return ops.library_path()


@pytest.mark.filterwarnings("error")
def test_whole_tables_are_taken(folder, library):
    (folder / "one.txt").write_text(finished(TABLE))
    (folder / "two.txt").write_text(finished(TABLE) + finished(TABLE.replace("A GPU", "Another GPU")))
    assert [path.name for path in gemm_tables.load(library)][-2:] == ["one.txt", "two.txt"]


@pytest.mark.parametrize(
    "text, culprit",
    [
        ("", "line 1 "),
        (TABLE, "line 5 .*cut"),
        (finished(TABLE).replace("A GPU", "B GPU"), "line 5 .*changed or cut"),
        (finished(TABLE.replace(" 2\n", "\n")), "line 4 is not a \"gemm\" line"),
        (finished(TABLE.replace(" 2\n", " 2 3\n")), "line 4 is not a \"gemm\" line"),
        (finished(TABLE.replace("gemm 768", "gemm -1")), "line 4 is not a \"gemm\" line"),
        (finished(TABLE.replace("cublaslt 1", "cublaslt x")), "line 3 "),
        (finished(TABLE) + "x", "line 6 "),
    ],
)
def test_damaged_tables_are_left_out_with_a_warning(folder, library, text, culprit):
    (folder / "bad.txt").write_text(text)
    with pytest.warns(RuntimeWarning, match=f"bad.txt is not used: the GEMM table's {culprit}"):
        assert all(path.name != "bad.txt" for path in gemm_tables.load(library))


def test_a_named_file_that_is_missing(folder, library, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_FASTBERT_GEMM_TABLES", str(tmp_path / "nowhere.txt"))
    with pytest.warns(RuntimeWarning, match="nowhere.txt"):
        gemm_tables.load(library)
