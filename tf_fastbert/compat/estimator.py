"""tf.compat.v1.estimator with the real TPUEstimator of tensorflow-estimator 2.15, on TensorFlow versions without it (>= 2.16).

tensorflow-estimator 2.15 does not import beside them: its packages' __init__ files pull in everything (feature columns, canned
estimators), its export decorator uses what tf_export dropped, and four private TensorFlow modules that it names are gone. So:
- the three packages are registered as bare modules that have only a path, and their submodules import as usual;
- the decorator is replaced by one that does nothing;
- the four modules are replaced by stand-ins that raise when used. They serve TPU pods, TPU embeddings and TF_CONFIG clusters
  with a distribution strategy: never a TPUEstimator with use_tpu=False.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from typing import Any

_PACKAGES = ("tensorflow_estimator", "tensorflow_estimator.python", "tensorflow_estimator.python.estimator")

# The private TensorFlow modules that are gone, and the names that estimator modules import from them.
_GONE: dict[str, tuple[str, ...]] = {
    "tensorflow.python.distribute.estimator_training": (),
    "tensorflow.python.tpu.session_support": (),
    "tensorflow.python.tpu.tpu_embedding_gradient": (),
    "tensorflow.python.tpu.tpu_embedding": (
        "AdagradParameters",
        "AdamParameters",
        "FtrlParameters",
        "MomentumParameters",
        "ProximalAdagradParameters",
        "RMSPropParameters",
        "StochasticGradientDescentParameters",
    ),
}

# Name in tf.estimator -> (module of tensorflow_estimator.python.estimator, name there).
_API: dict[str, tuple[str, str]] = {
    "Estimator": ("estimator", "Estimator"),
    "EstimatorSpec": ("model_fn", "EstimatorSpec"),
    "EvalSpec": ("training", "EvalSpec"),
    "ModeKeys": ("mode_keys", "ModeKeys"),
    "RunConfig": ("run_config", "RunConfig"),
    "TrainSpec": ("training", "TrainSpec"),
    "train_and_evaluate": ("training", "train_and_evaluate"),
    "tpu.InputPipelineConfig": ("tpu.tpu_config", "InputPipelineConfig"),
    "tpu.RunConfig": ("tpu.tpu_config", "RunConfig"),
    "tpu.TPUConfig": ("tpu.tpu_config", "TPUConfig"),
    "tpu.TPUEstimator": ("tpu.tpu_estimator", "TPUEstimator"),
    "tpu.TPUEstimatorSpec": ("tpu.tpu_estimator", "TPUEstimatorSpec"),
    "export.ServingInputReceiver": ("export.export", "ServingInputReceiver"),
    "export.build_parsing_serving_input_receiver_fn": ("export.export", "build_parsing_serving_input_receiver_fn"),
    "export.build_raw_serving_input_receiver_fn": ("export.export", "build_raw_serving_input_receiver_fn"),
    "export.ClassificationOutput": ("export.export_output", "ClassificationOutput"),
    "export.PredictOutput": ("export.export_output", "PredictOutput"),
}


def install() -> None:
    """Sets tf.compat.v1.estimator, unless this TensorFlow has one.

    Raises:
      ImportError: tensorflow-estimator is missing, or is not a version that works here.
    """
    import tensorflow.compat.v1 as tf

    if hasattr(tf, "estimator"):
        return
    folder = _package_folder(tf.__version__)
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "tensorflow_estimator"}
    for name in before:  # a failed `import tensorflow_estimator` may have left halves behind
        del sys.modules[name]
    for name in _PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [os.path.join(folder, *name.split(".")[1:])]
        sys.modules[name] = package
    sys.modules["tensorflow_estimator.python.estimator.estimator_export"] = _no_op_estimator_export()
    for name, classes in _GONE.items():
        if importlib.util.find_spec(name) is None:
            _register(_StandIn(name, classes))
    tf.estimator = _build_api(tf.__version__)


def _package_folder(tf_version: str) -> str:
    """The folder of the installed tensorflow_estimator package, found without importing it."""
    advice = "pip install --no-deps tensorflow-estimator==2.15.0"
    spec = importlib.util.find_spec("tensorflow_estimator")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"Google's BERT scripts need TPUEstimator, which TensorFlow {tf_version} no longer has: {advice}")
    folder = list(spec.submodule_search_locations)[0]
    if not os.path.exists(os.path.join(folder, "python", "estimator", "tpu", "tpu_estimator.py")):
        raise ImportError(f"tensorflow-estimator in {folder} has no python/estimator/tpu/tpu_estimator.py: {advice}")
    return folder


def _build_api(tf_version: str) -> types.ModuleType:
    root = types.ModuleType("tensorflow.compat.v1.estimator", "tf.estimator of tensorflow-estimator (tf_fastbert.compat).")
    root.__path__ = []
    for public, (module_name, attribute) in _API.items():
        try:
            module = importlib.import_module(f"{_PACKAGES[-1]}.{module_name}")
        except (ImportError, AttributeError) as error:
            raise ImportError(
                f"tensorflow-estimator's {module_name} does not import beside TensorFlow {tf_version} ({error}); version 2.15.0 "
                "is the one that is known to work: pip install --no-deps tensorflow-estimator==2.15.0"
            ) from error
        parent, _, name = public.rpartition(".")
        holder = root
        if parent:
            if not hasattr(root, parent):
                sub = types.ModuleType(f"{root.__name__}.{parent}")
                setattr(root, parent, sub)
                sys.modules[sub.__name__] = sub
            holder = getattr(root, parent)
        setattr(holder, name, getattr(module, attribute))
    sys.modules[root.__name__] = root
    return root


def _no_op_estimator_export() -> types.ModuleType:
    class estimator_export:  # noqa: N801 (its name there)
        def __init__(self, *names: str, **kwargs: Any) -> None:
            del names, kwargs

        def __call__(self, symbol: Any) -> Any:
            return symbol

        def export_constant(self, module_name: str, name: str) -> None:
            del module_name, name

    module = types.ModuleType("tensorflow_estimator.python.estimator.estimator_export")
    vars(module)["estimator_export"] = estimator_export
    return module


def _register(module: types.ModuleType) -> None:
    sys.modules[module.__name__] = module
    parent, _, name = module.__name__.rpartition(".")
    setattr(importlib.import_module(parent), name, module)


class _StandIn(types.ModuleType):
    """A private TensorFlow module that is gone: importable, and clear about itself when used."""

    def __init__(self, name: str, classes: tuple[str, ...]) -> None:
        super().__init__(name)
        for class_name in classes:
            setattr(self, class_name, _unusable_class(name, class_name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(_gone_message(self.__name__, name))


def _unusable_class(module: str, name: str) -> type:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(_gone_message(module, name))

    return type(name, (), {"__init__": __init__, "__module__": module})


def _gone_message(module: str, name: str) -> str:
    return f"{module}.{name} is gone from TensorFlow: TPUs and TF_CONFIG clusters need TensorFlow 2.15; use_tpu=False works here"
