"""Both Keras: every test of this folder that takes `flavor` runs with each."""

from __future__ import annotations

import importlib
import types
from typing import Any, NamedTuple

import pytest


class Flavor(NamedTuple):
    name: str
    keras: Any  # the package
    layers: types.ModuleType  # ours for it

    def load(self, path: Any) -> Any:
        return self.keras.models.load_model(str(path))


@pytest.fixture(params=["keras", "tf_keras"])
def flavor(request: pytest.FixtureRequest) -> Flavor:
    name = request.param
    keras = pytest.importorskip(name, reason=f"{name} is not installed")
    if name == "keras" and not keras.__version__.startswith("3."):
        pytest.skip(f"keras is {keras.__version__}, not Keras 3")
    return Flavor(name, keras, importlib.import_module(f"tf_fastbert.{name}"))
