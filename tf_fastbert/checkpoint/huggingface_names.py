"""Which PyTorch tensor becomes which Google variable."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple


class Source(NamedTuple):
    """Where a Google variable comes from: a PyTorch name (without the model's prefix), its shape there, and how it is turned."""

    name: str
    shape: tuple[int, ...]
    transpose: bool = False


def encoder_sources(config: dict) -> Iterator[tuple[str, Source]]:
    """(Google name, Source) of embeddings, layers and pooler."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]

    def dense(google: str, torch: str, inputs: int, outputs: int):
        yield f"{google}/kernel", Source(f"{torch}.weight", (outputs, inputs), transpose=True)
        yield f"{google}/bias", Source(f"{torch}.bias", (outputs,))

    def layer_norm(google: str, torch: str):
        yield f"{google}/LayerNorm/gamma", Source(f"{torch}.LayerNorm.weight", (hidden,))
        yield f"{google}/LayerNorm/beta", Source(f"{torch}.LayerNorm.bias", (hidden,))

    for kind, rows in (
        ("word", config["vocab_size"]),
        ("position", config["max_position_embeddings"]),
        ("token_type", config["type_vocab_size"]),
    ):
        yield f"bert/embeddings/{kind}_embeddings", Source(f"embeddings.{kind}_embeddings.weight", (rows, hidden))
    yield from layer_norm("bert/embeddings", "embeddings")
    for i in range(config["num_hidden_layers"]):
        google, torch = f"bert/encoder/layer_{i}", f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            yield from dense(f"{google}/attention/self/{part}", f"{torch}.attention.self.{part}", hidden, hidden)
        yield from dense(f"{google}/attention/output/dense", f"{torch}.attention.output.dense", hidden, hidden)
        yield from layer_norm(f"{google}/attention/output", f"{torch}.attention.output")
        yield from dense(f"{google}/intermediate/dense", f"{torch}.intermediate.dense", hidden, inner)
        yield from dense(f"{google}/output/dense", f"{torch}.output.dense", inner, hidden)
        yield from layer_norm(f"{google}/output", f"{torch}.output")
    yield from dense("bert/pooler/dense", "pooler.dense", hidden, hidden)


def head_sources(names: Collection[str], config: dict) -> Iterator[tuple[str, Source]]:
    """(Google name, Source) of the heads that the model has; their PyTorch names carry no prefix."""
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    if "qa_outputs.weight" in names:
        yield "cls/squad/output_weights", Source("qa_outputs.weight", (2, hidden))
        yield "cls/squad/output_bias", Source("qa_outputs.bias", (2,))
    if "classifier.weight" in names:
        # The number of labels is the model's own: the first dimension is taken as it comes.
        yield "output_weights", Source("classifier.weight", (-1, hidden))
        yield "output_bias", Source("classifier.bias", (-1,))
    if "cls.predictions.bias" in names:
        transform = "cls/predictions/transform"
        yield "cls/predictions/output_bias", Source("cls.predictions.bias", (vocab,))
        yield f"{transform}/dense/kernel", Source("cls.predictions.transform.dense.weight", (hidden, hidden), transpose=True)
        yield f"{transform}/dense/bias", Source("cls.predictions.transform.dense.bias", (hidden,))
        yield f"{transform}/LayerNorm/gamma", Source("cls.predictions.transform.LayerNorm.weight", (hidden,))
        yield f"{transform}/LayerNorm/beta", Source("cls.predictions.transform.LayerNorm.bias", (hidden,))
    if "cls.seq_relationship.weight" in names:
        yield "cls/seq_relationship/output_weights", Source("cls.seq_relationship.weight", (2, hidden))
        yield "cls/seq_relationship/output_bias", Source("cls.seq_relationship.bias", (2,))
