"""patch and unpatch: reversible, and only for functions that are Google's."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.pipeline.google_scripts import run_classifier, run_squad, tf1  # noqa: F401
from tf_fastbert import pipeline
from tf_fastbert.pipeline import sources

SQUAD = ["read_squad_examples", "convert_examples_to_features", "FeatureWriter", "write_predictions"]
CLASSIFIER = ["file_based_convert_examples_to_features"]


@pytest.mark.parametrize("script, names", [("run_squad", SQUAD), ("run_classifier", CLASSIFIER)])
def test_everything_comes_back(request: pytest.FixtureRequest, tf1: Any, script: str, names: list[str]) -> None:  # noqa: F811
    module = request.getfixturevalue(script)
    estimator = tf1.estimator.tpu.TPUEstimator
    before, predict = dict(vars(module)), estimator.predict
    with pipeline.patched(module) as unchanged:
        assert unchanged == []
        assert {name for name in before if vars(module)[name] is not before[name]} == set(names)
        assert estimator.predict is not predict
        with pytest.raises(ValueError, match="patched already"):
            pipeline.patch(module)
    assert vars(module) == before and estimator.predict is predict
    pipeline.unpatch(module)


def test_neither_script() -> None:
    with pytest.raises(ValueError, match="neither Google's run_squad"):
        pipeline.patch(pytest)


def test_what_somebody_changed_stays(run_squad: Any) -> None:  # noqa: F811
    @functools.wraps(run_squad.get_final_text)
    def get_final_text(*args: Any) -> str:
        return "mine"

    run_squad.get_final_text = get_final_text
    before = run_squad.write_predictions
    with pipeline.patched(run_squad) as unchanged:
        assert unchanged == ["write_predictions"]
        assert run_squad.write_predictions is before
        run_squad.read_squad_examples = later = lambda: None
    assert run_squad.read_squad_examples is later


def test_digests_see_code_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "one": 'def f(x):\n  """Text."""\n  return x + 1\n',
        "two": 'def f(x):\n\n    "Other text."\n    # A comment.\n    return x + 1  # here\n',
        "three": 'def f(x):\n  """Text."""\n  return x + 2\n',
    }
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = {}
    for name, text in texts.items():
        (tmp_path / f"digest_{name}.py").write_text(text)
        module = __import__(f"digest_{name}")
        monkeypatch.delitem(sys.modules, module.__name__)
        digests[name] = sources.digest(module, "f")
    assert digests["one"] == digests["two"] != digests["three"]


