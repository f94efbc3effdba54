#!/usr/bin/env python3
"""Times one step of a BERT checkpoint's inference: Google's graph beside the same graph with tf_fastbert's op.

    python examples/profile_transformer_inference.py --init_checkpoint=mrpc_output/model.ckpt-343 --tf_profile=false \\
        --output_dir=mrpc_output --profiling_output_file=time_elapsed --xla=true --floatx=float32

Takes FasterTransformer's flags of the same program. Random token ids, about half of each batch padding; the time is that of
Session.run up to the sequence output, which stays on the device. Google's graph is float32, whatever --floatx is. The checkpoint
must hold --floatx (tools/ckpt_type_convert.py). Its bert_config.json is looked for beside it; without one it is taken to have
heads of 64 and Google's GELU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
try:
    import tf_fastbert
except ImportError:  # not installed: run from the checkout that this file is in
    sys.path.insert(0, str(REPOSITORY))
    import tf_fastbert  # noqa: F401
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text.lower() in ("true", "1")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    switch = {"type": boolean, "nargs": "?", "const": True, "default": False, "metavar": "true|false"}
    parser.add_argument("--init_checkpoint", required=True, metavar="PREFIX_OR_DIR")
    parser.add_argument("--bert_config_file", metavar="FILE", help="default: bert_config.json beside the checkpoint")
    parser.add_argument("--floatx", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--output_dir", default=".", type=Path, help="folder for what is written (default: here)")
    parser.add_argument("--profiling_output_file", metavar="NAME", help="write the times there, as JSON, in --output_dir")
    parser.add_argument("--xla", **switch, help="compile Google's graph with XLA")
    parser.add_argument("--tf_profile", **switch, help="write a trace of one step of each graph (chrome://tracing)")
    parser.add_argument("--remove_padding", **switch, help="the op skips padding tokens")
    parser.add_argument("--int8_mode", type=int, default=0, choices=[0], help="0: other modes are not profiled here")
    parser.add_argument("--allow_gemm_test", **switch, help="accepted, changes nothing: see tools/gemm_tune.py")
    parser.add_argument("--predict_batch_size", type=int, default=8)
    parser.add_argument("--max_seq_length", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=100, help="timed steps of each graph (default: 100)")
    return parser.parse_args(arguments)


def find_config(args: argparse.Namespace, checkpoint: Any) -> dict[str, Any]:
    """bert_config.json, or what the checkpoint's shapes say."""
    path = Path(args.bert_config_file or Path(checkpoint.prefix).parent / "bert_config.json")
    if path.is_file() or args.bert_config_file:
        return json.loads(path.read_text())
    shapes = {name: variable.shape for name, variable in checkpoint.variables.items()}
    layers = sum(name.endswith("/intermediate/dense/kernel") for name in shapes)
    hidden = shapes[WORD_EMBEDDINGS][1]
    return {
        "vocab_size": shapes[WORD_EMBEDDINGS][0],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "intermediate_size": shapes["bert/encoder/layer_0/intermediate/dense/bias"][0],
        "max_position_embeddings": shapes["bert/embeddings/position_embeddings"][0],
        "type_vocab_size": shapes["bert/embeddings/token_type_embeddings"][0],
    }


def features(args: argparse.Namespace, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and mask, int32 [B, S]; lengths spread evenly from S / 8 to S - S / 8."""
    batch, seq_len = args.predict_batch_size, args.max_seq_length
    lengths = np.linspace(max(1, seq_len // 8), seq_len - seq_len // 8, batch).round().astype(int)
    mask = (np.arange(seq_len)[None, :] < lengths[:, None]).astype(np.int32)
    return np.random.default_rng(0).integers(0, vocabulary, mask.shape, np.int32) * mask, mask


def step_ms(args: argparse.Namespace, name: str, modeling: Any, config: dict[str, Any], prefix: str) -> tuple[float, np.ndarray]:
    """Builds the graph with `modeling` as it is now, loads `prefix`; the median time of a step and the valid tokens' output."""
    import tensorflow.compat.v1 as tf

    session_config = tf.ConfigProto()
    session_config.gpu_options.allow_growth = True
    if args.xla and name == "stock":
        session_config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    ids, mask = features(args, config["vocab_size"])
    with tf.Graph().as_default(), tf.Session(config=session_config) as session:
        inputs = [tf.placeholder(tf.int32, ids.shape) for _ in range(2)]
        model = modeling.BertModel(modeling.BertConfig.from_dict(config), False, inputs[0], inputs[1], tf.zeros_like(inputs[0]))
        output = model.get_sequence_output()
        encoder = [v for v in tf.trainable_variables() if "pooler" not in v.name]
        tf.train.Saver(encoder).restore(session, prefix)
        result = session.run(output, dict(zip(inputs, (ids, mask))))[mask != 0]
        step = session.make_callable(output.op, feed_list=inputs)
        for _ in range(5):
            step(ids, mask)
        times = []
        for _ in range(args.iterations):
            begin = time.perf_counter()
            step(ids, mask)
            times.append(1e3 * (time.perf_counter() - begin))
        if args.tf_profile:
            write_trace(args, name, session, output, dict(zip(inputs, (ids, mask))))
    return statistics.median(times), result


def write_trace(args: argparse.Namespace, name: str, session: Any, output: Any, feed: dict[Any, np.ndarray]) -> None:
    import tensorflow.compat.v1 as tf
    from tensorflow.python.client import timeline

    metadata = tf.RunMetadata()
    session.run(output, feed, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=metadata)
    path = args.output_dir / f"{name}_trace.json"
    path.write_text(timeline.Timeline(metadata.step_stats).generate_chrome_trace_format())
    print(f"wrote {path}")


def run(args: argparse.Namespace) -> None:
    import tf_fastbert.compat

    tf_fastbert.compat.install()
    from bert import modeling

    from tf_fastbert.checkpoint import Checkpoint
    from tf_fastbert.wrap.checkpoints import float_type, write_float32_copy

    checkpoint = Checkpoint(args.init_checkpoint)
    found = float_type(checkpoint.prefix)
    if found != args.floatx:
        raise ValueError(f"{checkpoint.prefix} is {found}, but --floatx is {args.floatx}: see tools/ckpt_type_convert.py")
    config = find_config(args, checkpoint)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stock_prefix = checkpoint.prefix
        if found != "float32":
            stock_prefix = os.path.join(folder, "float32.ckpt")
            write_float32_copy(checkpoint.prefix, stock_prefix)
        stock_ms, wanted = step_ms(args, "stock", modeling, config, stock_prefix)
    with tf_fastbert.patched(modeling, floatx=args.floatx, remove_padding=args.remove_padding):
        op_ms, got = step_ms(args, "fastbert", modeling, config, checkpoint.prefix)
    difference = float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
    print(f"batch {args.predict_batch_size}, sequence length {args.max_seq_length}, {args.iterations} steps of each, medians")
    print(f"Google's graph, float32{' with XLA' if args.xla else ''}: {stock_ms:.3f} ms a step")
    padding = "padding removed" if args.remove_padding else "padded"
    print(f"tf_fastbert, {args.floatx}, {padding}: {op_ms:.3f} ms a step, {stock_ms / op_ms:.2f} times as fast")
    print(f"largest relative difference of the outputs (2-norm): {difference:.1e}")
    if args.profiling_output_file:
        times = {"stock_ms": stock_ms, "fastbert_ms": op_ms, "difference": difference}
        settings = {
            name: getattr(args, name) for name in ("floatx", "xla", "remove_padding", "predict_batch_size", "max_seq_length")
        }
        (args.output_dir / args.profiling_output_file).write_text(json.dumps({**times, **settings}) + "\n")


def main() -> None:
    args = parse_arguments()
    from tf_fastbert.checkpoint.errors import CheckpointError

    try:
        run(args)
    except (CheckpointError, ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
