"""The op in the BERT encoders of tf-models-official (tfm.nlp.networks.BertEncoder and BertEncoderV2, encoders.build_encoder).

    from official.nlp.configs import encoders
    encoder = encoders.build_encoder(encoders.EncoderConfig())
    tf_fastbert.patch_tf_models(encoder)       # or any model with such encoders in it: a BertClassifier, a BertSpanLabeler, ...
    outputs = encoder(inputs)                  # the same outputs, from the op
    tf_fastbert.unpatch_tf_models(encoder)

    fast = tf_fastbert.tf_models.to_layer(encoder, dtype="float16")    # a copy, in 16 bit, as a Keras layer

    patch.py        patch_tf_models, unpatch_tf_models, patched_tf_models
    fast_call.py    what a patched encoder does when it is called
    read.py         sizes, options and weights of an encoder, and what is not supported
    convert.py      to_layer
"""

from tf_fastbert.tf_models.convert import to_layer
from tf_fastbert.tf_models.patch import patch_tf_models, patched_tf_models, unpatch_tf_models

__all__ = ["patch_tf_models", "patched_tf_models", "to_layer", "unpatch_tf_models"]
