"""Runs one of Google's scripts through our op: flags, checks, patch, Google's main(), and the comparison with stock."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from tf_fastbert.wrap import ahead_of_imports, logs, phases
from tf_fastbert.wrap import flags as our_flags
from tf_fastbert.wrap.errors import WrapError
from tf_fastbert.wrap.scripts import SCRIPTS, Script

FLAGS = flags.FLAGS

# TensorFlow, and our modules that need it, are imported inside functions: a wrong flag is answered before that takes its seconds.


def main(script_name: str, usage: str, argv: Sequence[str] | None = None) -> None:
    """The whole program: ends the process with status 0, or with one line "error: ..." and status 1 or 2.

    Args:
      script_name: "run_squad" or "run_classifier".
      usage: what --help says before the flags.
      argv: the command line, the program's name first; sys.argv by default.
    """
    try:
        _run(SCRIPTS[script_name], usage, list(sys.argv if argv is None else argv))
    except WrapError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def _run(script: Script, usage: str, argv: list[str]) -> None:
    clock = phases.Phases(phases.process_start())
    # Python looks for garbage whenever some hundred objects are new; TensorFlow's million of them and SQuAD's features are none.
    gc.set_threshold(100_000, 20, 100)
    our_flags.define()
    our_flags.parse(argv, known_only=True)
    our_flags.check()
    logs.install(FLAGS.verbose)
    with ahead_of_imports.begun(script, argv), _errors_in_one_line():
        import tf_fastbert.compat

        tf_fastbert.compat.install()
        from tf_fastbert.wrap import google

        module = google.load(script.name, FLAGS.bert_dir)
        if {"-h", "--help", "--helpfull", "--helpshort"} & set(argv):
            print(our_flags.help_text(usage, [our_flags.__name__, module.__name__]))
            return
        our_flags.parse(argv)
        from tf_fastbert.wrap import preflight

        gc.freeze()  # what there is now is never looked at again
        clock.mark("imports")
        checked = preflight.check(script)
        for line in checked.notes:
            _say(line)
        clock.mark("checks")
        if FLAGS.allow_gemm_test:
            from tf_fastbert.wrap import gemm_test

            batch = FLAGS.predict_batch_size
            _say(gemm_test.run(FLAGS.bert_config_file, FLAGS.floatx, FLAGS.precision, batch, FLAGS.max_seq_length))
            clock.mark("gemm_test")
        _answer(script, module, clock)


def _answer(script: Script, module: types.ModuleType, clock: phases.Phases) -> None:
    """Google's main() through our op, then, for --compare_stock, as it is."""
    import tf_fastbert

    output_dir = FLAGS.output_dir
    options = {
        "floatx": FLAGS.floatx,
        "remove_padding": FLAGS.remove_padding,
        "precision": FLAGS.precision,
        "int8_mode": FLAGS.int8_mode,
        "quant_mode": FLAGS.quant_mode,
    }
    run_squad = module if script.name == "run_squad" else None
    with tf_fastbert.patched(module.modeling, run_squad=run_squad, **options), _fast_python(module), _teacher(module):
        ours = _google_main(script, module, "fastbert", {**options, "fast_python": FLAGS.fast_python}, clock)
    if ours is None or not FLAGS.compare_stock:
        return

    import tensorflow as tf

    from tf_fastbert.wrap import compare, progress

    stock_dir = os.path.join(output_dir, "stock")
    FLAGS.output_dir, FLAGS.do_train = stock_dir, False
    with _float32_checkpoint(tf.train.latest_checkpoint(output_dir) or FLAGS.init_checkpoint) as (checkpoint, note):
        FLAGS.init_checkpoint = checkpoint
        options = {"floatx": "float32", "remove_padding": False, "precision": "default", "fast_python": False}
        stock = _google_main(script, module, "stock", options, phases.Phases())
    comparison: dict[str, Any] = {"timing": {"stock": stock, "fastbert": ours}, "note": note}
    if FLAGS.do_predict:
        differences = compare.squad if script.name == "run_squad" else compare.labels
        comparison["predictions"] = differences(stock_dir, output_dir)
    if "do_eval" in FLAGS and FLAGS.do_eval:
        comparison["metrics"] = compare.metrics(stock_dir, output_dir)
    progress.write_json(os.path.join(output_dir, "fastbert_compare.json"), comparison)
    print(compare.report(comparison), flush=True)


@contextlib.contextmanager
def _teacher(module: types.ModuleType) -> Iterator[None]:
    """--distillation."""
    if not (FLAGS.distillation and FLAGS.do_train):
        yield
        return
    from tf_fastbert.quantization import distillation

    with distillation.distilled(module, FLAGS.teacher, FLAGS.distillation_loss_scale):
        yield


@contextlib.contextmanager
def _fast_python(module: types.ModuleType) -> Iterator[None]:
    """Replaces Google's Python around the encoder, unless --fast_python=false."""
    if not FLAGS.fast_python:
        yield
        return
    from tf_fastbert import pipeline

    with pipeline.patched(module) as unchanged:
        if unchanged:
            _say(f"{', '.join(unchanged)}: not as Google wrote them, so they run as they are, not faster")
        yield


def _google_main(
    script: Script, module: types.ModuleType, mode: str, settings: dict[str, Any], clock: phases.Phases
) -> dict[str, Any] | None:
    """Calls Google's main() with a progress bar; returns what write_timing does, or None if nothing was predicted."""
    import tensorflow.compat.v1 as tf

    from tf_fastbert.wrap import progress

    folder = FLAGS.output_dir
    records = {"predict": script.phases["do_predict"], "evaluate": script.phases.get("do_eval", "")}

    def total(loop: str) -> int | None:
        return progress.count_records(os.path.join(folder, records[loop]))

    with (
        _no_half_outputs(folder, script.outputs),
        progress.watched(tf.estimator.tpu.TPUEstimator, total, show=FLAGS.progress, mark=clock.mark) as loops,
    ):
        module.main([script.name])
    clock.mark("answers")
    if not loops:
        return None
    for loop in loops:
        _say(f"{mode}: {loop.line()}")
    _say(f"{mode}: {clock.line()}")
    settings = {**settings, "parts": clock.seconds, "total_seconds": clock.total()}
    return progress.write_timing(os.path.join(folder, "fastbert_timing.json"), mode, loops, settings)


@contextlib.contextmanager
def _float32_checkpoint(checkpoint: str) -> Iterator[tuple[str, str]]:
    """Yields `checkpoint` if it is float32, else a float32 copy that lives as long as the context; and a note on that."""
    from tf_fastbert.wrap import checkpoints

    dtype = checkpoints.float_type(checkpoint)
    if dtype == "float32" and not FLAGS.int8_mode:
        yield checkpoint, ""
        return
    with tempfile.TemporaryDirectory(prefix="fastbert_") as folder:
        copy = os.path.join(folder, "model.ckpt")
        checkpoints.write_float32_copy(checkpoint, copy)
        stored = f"int8 and {dtype}" if FLAGS.int8_mode else dtype
        yield copy, f"stock ran in float32 on the same weights ({stored} to float32 is exact): Google's graph cannot load {stored}"


@contextlib.contextmanager
def _no_half_outputs(folder: str, names: Sequence[str]) -> Iterator[None]:
    """When the body fails, removes those of the named files in `folder` that it had begun to write."""

    def changed() -> dict[str, int]:
        paths = [os.path.join(folder, name) for name in names]
        return {path: os.stat(path).st_mtime_ns for path in paths if os.path.isfile(path)}

    before = changed()
    try:
        yield
    except BaseException:
        for path, time_ns in changed().items():
            if before.get(path) != time_ns:
                os.remove(path)
        raise


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Turns what Google's code and TensorFlow raise about flags, files and memory into a WrapError; bugs keep their traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise _wrap_error(error, str(error)) from error
    except Exception as error:
        # Known only once TensorFlow is imported, and a WrapError must not wait for that.
        if "tensorflow" not in sys.modules or not isinstance(error, sys.modules["tensorflow"].errors.OpError):
            raise
        raise _wrap_error(error, error.message) from error


def _wrap_error(error: Exception, message: str) -> WrapError:
    if FLAGS.verbose:
        traceback.print_exception(error)
    text = " ".join(message.split())
    text = text if len(text) <= 400 else text[:400] + " ..."
    return WrapError(f"{type(error).__name__}: {text} (--verbose shows where)")


def _say(line: str) -> None:
    print(f"tf_fastbert: {line}", file=sys.stderr, flush=True)
