"""BERT's encoder as one TensorFlow op, and the patch that swaps it into Google's modeling.py.

    import tf_fastbert.compat
    tf_fastbert.compat.install()     # for Google's modeling.py, which TensorFlow 2 alone cannot import
    from bert import modeling
    tf_fastbert.patch(modeling)      # every BertModel built from now on for inference runs the op

Importing this package imports no TensorFlow; its members come when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MEMBERS = {
    "patch": "patching",
    "unpatch": "patching",
    "patched": "patching",
    "fast_bert_encoder": "ops",
    "fast_bert_quantized_encoder": "ops",
    "fast_bert_embedding": "ops",
    "fast_bert_span_logits": "ops",
    "LayerWeights": "ops",
    "build_info": "ops",
    "freeze": "freezing",
    "freeze_session": "freezing",
    "encoder": "encoder",
    "BertEncoder": "encoder",
    "GOOGLE_NAMES": "encoder",
    "weights_from_checkpoint": "encoder",
    "check_checkpoint_dtype": "encoder",
    "BertConfig": "config",
    "patch_tf_models": "tf_models",
    "unpatch_tf_models": "tf_models",
    "patched_tf_models": "tf_models",
}

__all__ = ["__version__", *(name for name in _MEMBERS if name != "encoder")]


def __getattr__(name: str) -> Any:
    if name not in _MEMBERS:
        raise AttributeError(f"module 'tf_fastbert' has no attribute {name!r}")
    module = importlib.import_module(f"tf_fastbert.{_MEMBERS[name]}")
    # tf_fastbert.encoder is the module (its function is tf_fastbert.encoder.encoder), as importing it makes it.
    return module if name == _MEMBERS[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MEMBERS})
