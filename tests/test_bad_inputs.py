"""Bad inputs that a user can give: each is answered by one clear error that names the culprit, not by a crash or a wrong answer.

Through run_squad_wrap.py where it is the model, the configuration or the data that is bad; through the op where it is a tensor.
The op's errors are tested at every level in tests/cc/test_bad_inputs.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.random_configs import Config, check_output, make_inputs
from tests.wrap import tiny_model
from tests.wrap.many_runs import Ended, run_many
from tf_fastbert.checkpoint import write_checkpoint
from tf_fastbert.ops import fast_bert_encoder

QUERY = "bert/encoder/layer_1/attention/self/query/kernel"

# case -> what the line must contain, beside the name of the file
CASES = {
    "wrong hidden size": ["bert/embeddings/word_embeddings has shape", "32]", "24]"],
    "odd number of heads": ["hidden size (32)", "heads (5)"],
    "missing variable": [f"variable {QUERY} missing"],
    "misnamed variable": [f"variable {QUERY} missing", "it has bert/encoder/layer_1/attention/self/qeury/kernel instead"],
    "float16 checkpoint, --floatx=float32": ["float16", "floatx is float32", "--floatx=float16"],
    "float32 checkpoint, --floatx=float16": ["float32", "floatx is float16", "ckpt_type_convert.py"],
    "corrupt checkpoint": ["truncated, corrupt"],
    "no such checkpoint": ["none.ckpt.index does not exist", "whole.ckpt"],
    "empty SQuAD file": ["the file is empty"],
    "SQuAD file with no question": ["no question"],
    "unsupported head size": ["32 / 32 heads = 1"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad_inputs")
    tiny_model.write_model(folder)
    tiny_model.write_squad(folder / "squad.json")
    return folder


@pytest.fixture(scope="module")
def ended(folder: Path) -> dict[str, Ended]:
    """All cases at once: the import of TensorFlow takes longer than all of them."""

    def checkpoint(name: str, tensors: dict[str, np.ndarray]) -> str:
        write_checkpoint(str(folder / name), tensors)
        return f"--init_checkpoint={folder / name}"

    def config(name: str, **changes: int) -> str:
        (folder / name).write_text(json.dumps({**tiny_model.CONFIG, **changes}))
        return f"--bert_config_file={folder / name}"

    def squad(name: str, text: str) -> str:
        (folder / name).write_text(text)
        return f"--predict_file={folder / name}"

    whole = tiny_model.variables()
    without = {name: value for name, value in whole.items() if name != QUERY}
    good = [
        *tiny_model.model_flags(folder),
        checkpoint("whole.ckpt", whole),
        f"--predict_file={folder}/squad.json",
        "--do_predict",
        "--max_seq_length=48",
        "--max_query_length=16",
        "--doc_stride=16",
        f"--output_dir={folder}/out",
    ]
    half = checkpoint("half.ckpt", {name: value.astype(np.float16) for name, value in whole.items()})
    corrupt = checkpoint("corrupt.ckpt", whole)
    data = folder / "corrupt.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-5000])
    bad = {
        "wrong hidden size": [config("narrow.json", hidden_size=24)],
        "odd number of heads": [config("five_heads.json", num_attention_heads=5)],
        "missing variable": [checkpoint("missing.ckpt", without)],
        "misnamed variable": [checkpoint("misnamed.ckpt", {**without, QUERY.replace("query", "qeury"): whole[QUERY]})],
        "float16 checkpoint, --floatx=float32": [half],
        "float32 checkpoint, --floatx=float16": ["--floatx=float16"],
        "corrupt checkpoint": [corrupt],
        "no such checkpoint": [f"--init_checkpoint={folder}/none.ckpt"],
        "empty SQuAD file": [squad("empty.json", "")],
        "SQuAD file with no question": [squad("no_question.json", '{"data": []}')],
        "unsupported head size": [config("tiny_heads.json", num_attention_heads=32)],
    }
    return dict(zip(bad, run_many("run_squad_wrap", [[*good, *arguments] for arguments in bad.values()]), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_written(case: str, ended: dict[str, Ended], folder: Path) -> None:
    status, output = ended[case]
    assert status == 1, output
    line = output.splitlines()[-1]
    assert line.startswith("error: "), output
    assert "Traceback" not in output
    assert str(folder) in line
    for culprit in CASES[case]:
        assert culprit in line
    assert not (folder / "out").exists()


CONFIG = Config(seed=5, batch=2, seq_len=5, lengths=(5, 2))


def call(config: Config = CONFIG, **changes: np.ndarray) -> tf.Tensor:
    inputs = make_inputs(config)._replace(**changes)
    with tf.device("/CPU:0"):
        return fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, inputs_layers(inputs), **config.attributes())


def inputs_layers(inputs) -> list:
    from tf_fastbert.ops import LayerWeights

    return [LayerWeights(*layer) for layer in inputs.layers]


def test_wrong_rank() -> None:
    with pytest.raises(ValueError, match=r"hidden_states has shape \(2, 64\)|hidden_states.*\[2, ?64\]"):
        call(hidden_states=np.zeros([2, 64], np.float32))


@pytest.mark.parametrize(
    "lengths, culprit", [([5, 6], r"sequence_length\[1\] = 6.*seq_len = 5"), ([-1, 5], r"sequence_length\[0\] = -1")]
)
def test_sequence_length_beyond_seq_len_and_negative(lengths: list[int], culprit: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=culprit):
        call(sequence_length=np.array(lengths, np.int32))


def test_mask_with_holes_is_supported() -> None:
    config = Config(seed=6, batch=3, seq_len=9, mask="holes")
    inputs = make_inputs(config)
    check_output(config, inputs, call(config).numpy())
