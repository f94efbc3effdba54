"""Google's run_squad and a tiny model, for all tests of a module."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.google_bert import tf1  # noqa: F401 (a fixture)
from tests.pipeline.google_scripts import load_script
from tests.wrap import tiny_model

SIZES = {"max_seq_length": 48, "doc_stride": 16, "max_query_length": 16}


@pytest.fixture(scope="module")
def google(tf1: Any) -> Iterator[types.ModuleType]:  # noqa: F811
    """bert.run_squad; this process stays one of TensorFlow 2."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield load_script("run_squad", tf1, monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny_model's files and its squad.json."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model.write_model(folder)
    tiny_model.write_squad(folder / "squad.json")
    return folder


@pytest.fixture(scope="module")
def tiny(folder: Path, google: types.ModuleType) -> Any:
    """A QuestionAnswerer of it."""
    from tf_fastbert.answering import QuestionAnswerer, Settings

    return QuestionAnswerer.load(str(folder), run_squad=google, settings=Settings(**SIZES))
