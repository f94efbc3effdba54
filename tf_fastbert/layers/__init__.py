"""Keras layers, apart from Keras: what tf_fastbert.keras and tf_fastbert.tf_keras make layers of.

    encoder.py      EncoderMixin: [B, S, H] -> [B, S, H]
    bert.py         BertMixin: token ids -> sequence output and pooled output
    common.py       what both need
    make.py         the classes for one Keras

A mixin stands in front of a Layer class, of Keras 3 or of tf_keras, and calls nothing that only one of them has.
"""
