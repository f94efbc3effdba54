"""`tensorflow.contrib` as far as Google's BERT uses it: layer_norm, TPUEstimator's names, map_and_batch.

The modules are called tensorflow.contrib..., so that both `from tensorflow.contrib import layers` (bert-tensorflow) and
`tf.contrib.layers` (google-research/bert) find them. A TensorFlow that has its own contrib (1.15) keeps it.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any


def layer_norm(
    inputs: Any,
    center: bool = True,
    scale: bool = True,
    activation_fn: Callable[[Any], Any] | None = None,
    reuse: bool | None = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    begin_norm_axis: int = 1,
    begin_params_axis: int = -1,
    scope: Any = None,
) -> Any:
    """tf.contrib.layers.layer_norm: the same arguments, variables (`beta`, `gamma` in scope `LayerNorm`) and result.

    One difference: in float16 and bfloat16 the statistics are computed in float32 with epsilon 1e-12 throughout, where contrib
    rounded the variance to float16 and used epsilon 1e-3.

    Args:
      inputs: float tensor of known rank, its dimensions from begin_params_axis on known.
      begin_norm_axis: normalises over this axis and all after it.
      begin_params_axis: beta and gamma have the shape of the axes from here on, and the dtype of `inputs`.

    Raises:
      ValueError: the rank or the parameter dimensions are not known, or an axis is out of range.
    """
    import tensorflow.compat.v1 as tf

    with tf.variable_scope(scope, "LayerNorm", [inputs], reuse=reuse) as variable_scope:
        inputs = tf.convert_to_tensor(inputs)
        shape = inputs.shape
        if shape.rank is None:
            raise ValueError(f"layer_norm: the rank of {inputs.name} is not known")
        axes = {"begin_norm_axis": begin_norm_axis, "begin_params_axis": begin_params_axis}
        for name, axis in axes.items():
            if not -shape.rank <= axis < shape.rank:
                raise ValueError(f"layer_norm: {name}={axis} is out of range for {inputs.name} of rank {shape.rank}")
        params_shape = shape[begin_params_axis:]
        if not params_shape.is_fully_defined():
            raise ValueError(f"layer_norm: dimensions {params_shape} of {inputs.name} (from begin_params_axis on) must be known")
        collections = [tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES, *(variables_collections or [])]

        def parameter(name: str, initializer: Any) -> Any:
            return tf.get_variable(
                name,
                shape=params_shape,
                dtype=inputs.dtype.base_dtype,
                initializer=initializer,
                collections=collections,
                trainable=trainable,
            )

        beta = parameter("beta", tf.zeros_initializer()) if center else None
        gamma = parameter("gamma", tf.ones_initializer()) if scale else None
        # float64 stays float64; the 16-bit types are widened.
        dtype = inputs.dtype if inputs.dtype.size >= 4 else tf.float32
        wide = tf.cast(inputs, dtype)
        norm_axes = list(range(begin_norm_axis % shape.rank, shape.rank))
        mean, variance = tf.nn.moments(wide, norm_axes, keepdims=True)
        outputs = tf.nn.batch_normalization(
            wide,
            mean,
            variance,
            offset=None if beta is None else tf.cast(beta, dtype),
            scale=None if gamma is None else tf.cast(gamma, dtype),
            variance_epsilon=1e-12,
        )
        outputs = tf.cast(outputs, inputs.dtype)
        outputs.set_shape(shape)
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        for collection in [outputs_collections] if isinstance(outputs_collections, str) else outputs_collections or []:
            tf.add_to_collection(collection, outputs)
        # variable_scope is entered for its name alone, as contrib does.
        del variable_scope
        return outputs


def install() -> None:
    """Registers the modules and hangs them on tf.compat.v1, unless TensorFlow has a contrib already."""
    if "tensorflow.contrib" in sys.modules or importlib.util.find_spec("tensorflow.contrib") is not None:
        return
    import tensorflow.compat.v1 as tf

    members: dict[str, dict[str, Any]] = {
        "layers": {"layer_norm": layer_norm},
        "tpu": {
            **{
                name: getattr(tf.estimator.tpu, name)
                for name in ("InputPipelineConfig", "RunConfig", "TPUConfig", "TPUEstimator", "TPUEstimatorSpec")
            },
            "CrossShardOptimizer": tf.tpu.CrossShardOptimizer,
        },
        "cluster_resolver": {"TPUClusterResolver": tf.distribute.cluster_resolver.TPUClusterResolver},
        "data": {
            "map_and_batch": tf.data.experimental.map_and_batch,
            "parallel_interleave": tf.data.experimental.parallel_interleave,
        },
    }
    contrib = _ContribModule("tensorflow.contrib", "The part of tf.contrib that Google's BERT uses (tf_fastbert.compat).")
    contrib.__path__ = []  # a package, for `from tensorflow.contrib import layers`
    for name, attributes in members.items():
        module = _ContribModule(f"{contrib.__name__}.{name}")
        vars(module).update(attributes)
        setattr(contrib, name, module)
        sys.modules[module.__name__] = module
    sys.modules[contrib.__name__] = contrib
    tf.contrib = contrib


class _ContribModule(types.ModuleType):
    """Says what it has when asked for what it has not."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        have = ", ".join(sorted(key for key in vars(self) if not key.startswith("_")))
        raise AttributeError(f"{self.__name__}.{name} is not in tf_fastbert.compat, which has {self.__name__}.[{have}]")
