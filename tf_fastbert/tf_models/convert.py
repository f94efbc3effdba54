"""to_layer: a tf-models encoder as a layer of tf_fastbert.keras or tf_fastbert.tf_keras."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np


def to_layer(encoder: Any, *, dtype: str | None = None, keras: str = "tf_keras", **options: Any) -> Any:
    """A copy of a BertEncoder or BertEncoderV2 as a Bert layer, which takes and gives the same dictionaries.

    Unlike a patched encoder it can be in 16 bit, be saved without tf-models, and live in Keras 3; it has values of its own, so it
    does not follow later changes of the encoder's.

    Args:
      encoder: float32 or of a mixed policy.
      dtype: of the layer: float32, float16 or bfloat16. None: the type that the encoder computes in.
      keras: "tf_keras" or "keras": whose layer.
      options: of the Bert layer: remove_padding, precision, name; all_layers, which is True here (encoder_outputs).

    Raises:
      ValueError: see patch_tf_models; or its embeddings are not BERT's (a projection, a scale factor, another embedding layer).
    """
    from tf_fastbert.layers.common import assign
    from tf_fastbert.tf_models import patch, read
    from tf_fastbert.weights import Encoder

    if keras not in ("tf_keras", "keras"):
        raise ValueError(f"to_layer: keras is {keras!r}, expected 'tf_keras' or 'keras'")
    if not read.is_encoder(encoder):
        raise ValueError(f"to_layer: {type(encoder).__name__} is no BertEncoder or BertEncoderV2 of tf-models-official")
    patch.build(encoder)
    described = read.describe(encoder, any_policy=True)
    if not described.plain_embeddings or described.output_range:
        what = "output_range" if described.output_range else "embeddings other than BERT's"
        raise ValueError(f"to_layer: encoder {encoder.name} has {what}; patch_tf_models supports it")
    sizes = described.sizes
    tables = {name: np.asarray(value) for name, value in read.embedding_weights(encoder).items()}
    layer = importlib.import_module(f"tf_fastbert.{keras}").Bert(
        tables["word_embeddings"].shape[0],
        sizes.hidden_size,
        sizes.num_layers,
        sizes.num_heads,
        sizes.intermediate_size,
        max_position_embeddings=tables["position_embeddings"].shape[0],
        type_vocab_size=tables["token_type_embeddings"].shape[0],
        dtype=dtype or encoder.transformer_layers[0].compute_dtype,
        **{"all_layers": True, **described.options, **options},
    )
    layers = [type(weights)(*map(np.asarray, weights)) for weights in read.layers(encoder, sizes)]
    layer.encoder.build_with(Encoder(layers, None, None))
    layer.build(None)
    pooler = encoder.pooler_layer
    values = [*tables.values(), np.asarray(pooler.kernel), np.asarray(pooler.bias)]
    for variable, value in zip([*layer.embeddings.values(), *layer.pooler_weights], values, strict=True):
        assign(variable, value)
    return layer
