"""Google's modeling.py inside a test process that stays a TF2 process: fixtures for tests of the patch.

tf_fastbert.compat.install() is for a whole process; here the same shims are put in place, and TF1's behaviours only last for a
module's tests.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

IDS = np.random.RandomState(3).randint(0, 60, (3, 9))
PREFIX_MASK = np.array([[1] * 9, [1] * 5 + [0] * 4, [1] + [0] * 8])
MASK_WITH_HOLES = np.array([[1] * 9, [1, 0, 1, 1, 0, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0, 1]])


@pytest.fixture(scope="module")
def tf1() -> Iterator[Any]:
    """tensorflow.compat.v1 with what Google's modules import, and TF1's shapes, variables and control flow."""
    pytest.importorskip("bert", reason="bert-tensorflow is not installed")
    from tf_fastbert.compat import contrib, estimator, legacy_keras, source

    legacy = os.environ.get("TF_USE_LEGACY_KERAS")
    legacy_keras.install()
    import tensorflow.compat.v1 as tf

    tf.disable_v2_tensorshape()
    tf.disable_resource_variables()
    tf.disable_tensor_equality()
    tf.disable_control_flow_v2()
    legacy_keras.check()
    estimator.install()
    contrib.install()
    source.install()
    yield tf
    tf.enable_v2_tensorshape()
    tf.enable_resource_variables()
    tf.enable_tensor_equality()
    tf.enable_control_flow_v2()
    if legacy is None:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)


@pytest.fixture
def modeling(tf1: Any) -> Iterator[types.ModuleType]:
    """bert.modeling, unpatched again at the end."""
    import tf_fastbert

    module = importlib.import_module("bert.modeling")
    yield module
    tf_fastbert.unpatch(module)


def bert_config(modeling: types.ModuleType, **changes: Any) -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": 60,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": 16,
        "type_vocab_size": 2,
        "initializer_range": 0.2,
        **changes,
    }
    return modeling.BertConfig(**sizes)


def build(tf: Any, modeling: types.ModuleType, mask: np.ndarray = PREFIX_MASK, is_training: bool = False, **changes: Any) -> Any:
    """A BertModel on IDS in the default graph, segment ids 0 and 1."""
    return modeling.BertModel(
        config=bert_config(modeling, **changes),
        is_training=is_training,
        input_ids=tf.constant(IDS, tf.int32),
        input_mask=tf.constant(mask, tf.int32),
        token_type_ids=tf.constant(IDS % 2, tf.int32),
    )


def random_values(tf: Any, variables: list[Any]) -> dict[str, np.ndarray]:
    """Random values by variable name, biases and LayerNorm parameters too."""
    rng = np.random.RandomState(11)
    values = {}
    for variable in variables:
        value = rng.normal(0, 0.2, variable.shape.as_list()).astype(np.float32)
        values[variable.op.name] = value + 1 if variable.op.name.endswith("gamma") else value
    return values


def load(tf: Any, session: Any, values: dict[str, np.ndarray]) -> None:
    """Sets every trainable variable of the graph from `values`, rounded to its type, in one run."""
    variables = tf.trainable_variables()
    session.run(
        [variable.initializer for variable in variables],
        {
            variable.initializer.inputs[1]: values[variable.op.name].astype(variable.dtype.base_dtype.as_numpy_dtype)
            for variable in variables
        },
    )


def write_checkpoint(tf: Any, prefix: Path, values: dict[str, np.ndarray]) -> str:
    """Writes `values` as they are typed."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables = {name: tf.Variable(value, name=name) for name, value in values.items()}
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(variables).save(session, str(prefix), write_meta_graph=False)


# How google-research/bert, written for TF1, spells what bert-tensorflow spells for TF2.
_GOOGLE_RESEARCH = {
    "from bert import": "import",
    "import tensorflow.compat.v1 as tf": "import tensorflow as tf",
    "from tensorflow.contrib import layers as contrib_layers\n": "",
    "contrib_layers.": "tf.contrib.layers.",
    "tf.estimator.tpu.": "tf.contrib.tpu.",
    "tf.data.experimental.map_and_batch": "tf.contrib.data.map_and_batch",
    "tf.tpu.CrossShardOptimizer": "tf.contrib.tpu.CrossShardOptimizer",
    "tf.distribute.cluster_resolver.": "tf.contrib.cluster_resolver.",
}


def as_google_research(name: str) -> str:
    """The source of bert.<name>, spelled as in google-research/bert."""
    bert = importlib.import_module("bert")
    text = (Path(list(bert.__path__)[0]) / f"{name}.py").read_text()
    for pypi, google_research in _GOOGLE_RESEARCH.items():
        text = text.replace(pypi, google_research)
    return text


class _NoFlags(types.ModuleType):
    """Stands for tf.flags while a script is imported: Google's scripts define the same flags and cannot share a process."""

    FLAGS = None

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def import_script(name: str, monkeypatch: pytest.MonkeyPatch, tf: Any) -> types.ModuleType:
    """bert.<name> without its flags, as a module of its own."""
    monkeypatch.setattr(tf, "flags", _NoFlags("flags"))
    spec = importlib.util.find_spec(f"bert.{name}")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def import_copy(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A copy of Google's modeling.py, as google-research/bert spells its imports, imported as the plain module `name`."""
    (folder / f"{name}.py").write_text(as_google_research("modeling"))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)
