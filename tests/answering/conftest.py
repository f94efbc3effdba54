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
