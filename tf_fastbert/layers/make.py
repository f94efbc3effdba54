"""The layers' classes for one Keras: its Layer behind our mixins."""

from __future__ import annotations

from typing import Any

from tf_fastbert.layers.bert import BertMixin
from tf_fastbert.layers.encoder import EncoderMixin


def make_layers(keras: Any, module: str, no_autocast: dict[str, Any]) -> tuple[Any, Any]:
    """BertEncoder and Bert, registered with that Keras, so that its saved models find them.

    Args:
      keras: the package, Keras 3 or tf_keras.
      module: the name of the module that the classes are in.
      no_autocast: see InferenceLayer.
    """

    def make(name: str, mixin: type, **attributes: Any) -> Any:
        body = {"__module__": module, "__doc__": mixin.__doc__, "no_autocast": no_autocast, **attributes}
        return keras.saving.register_keras_serializable(package="tf_fastbert")(type(name, (mixin, keras.layers.Layer), body))

    encoder = make("BertEncoder", EncoderMixin)
    return encoder, make("Bert", BertMixin, encoder_class=encoder)
