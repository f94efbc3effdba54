"""All checks between the command line and Google's main(): nothing has been written and no graph built when one of them fails."""

from __future__ import annotations

import dataclasses
import os

import tensorflow as tf
from absl import flags

from tf_fastbert.wrap import checkpoints, inputs
from tf_fastbert.wrap.errors import WrapError
from tf_fastbert.wrap.inputs import BertSizes
from tf_fastbert.wrap.quantized import Wanted
from tf_fastbert.wrap.scripts import TASKS, Script, Task

FLAGS = flags.FLAGS

_GPU_BATCH = 64  # sequences


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the checks found out.

    Attributes:
      sizes: those of bert_config.json.
      notes: lines that the user should see.
    """

    sizes: BertSizes
    notes: tuple[str, ...]


def check(script: Script) -> Checked:
    """Checks the flags of both kinds and every file they name. Sets --init_checkpoint to the prefix that was found.

    Raises:
      WrapError: one sentence about the first thing that is wrong.
    """
    phases = [phase for phase in script.phases if FLAGS[phase].value]
    _check_flags(script, phases)
    sizes = inputs.read_config(FLAGS.bert_config_file)
    inputs.check_vocab(FLAGS.vocab_file, sizes)
    if not 4 <= FLAGS.max_seq_length <= sizes.max_position_embeddings:
        raise WrapError(
            f"--max_seq_length={FLAGS.max_seq_length}: it must be from 4 to {sizes.max_position_embeddings} "
            f"(max_position_embeddings in {FLAGS.bert_config_file})"
        )
    if FLAGS.compare_stock and sizes.encoder.hidden_act.lower() not in ("gelu", "relu"):
        raise WrapError(
            f"--compare_stock: Google's own encoder has no {sizes.encoder.hidden_act} (hidden_act in {FLAGS.bert_config_file})"
        )
    num_labels = _check_squad() if script.name == "run_squad" else _check_task(phases)
    notes = [_encoder_note(), *_batch_notes(phases)]
    notes += _check_checkpoints(script, sizes, num_labels)
    return Checked(sizes, tuple(notes))


def _wanted() -> Wanted:
    return Wanted(FLAGS.int8_mode, FLAGS.precision == "fp8", FLAGS.quant_mode)


def _encoder_note() -> str:
    if FLAGS.quant_mode:
        return f"Google's encoder in float32 with fake quantizers ({FLAGS.quant_mode})"
    quantization = f"int8_mode {FLAGS.int8_mode}, " if FLAGS.int8_mode else ""
    if FLAGS.precision == "fp8":
        quantization = "fp8, " if _has_fp8() else f"no GPU with FP8 here: products in {FLAGS.floatx}, not in fp8, "
    return f"encoder in {quantization}{FLAGS.floatx}, padding {'removed' if FLAGS.remove_padding else 'kept'}"


def _batch_notes(phases: list[str]) -> list[str]:
    """A hint where batches are too small for a GPU: Google's default of 8 leaves most of one idle."""
    names = [phase.removeprefix("do_") + "_batch_size" for phase in phases]
    small = [f"--{name}={FLAGS[name].value}" for name in names if FLAGS[name].value < _GPU_BATCH // 2]
    if not small or not tf.config.list_physical_devices("GPU"):
        return []
    larger = " ".join(f"--{flag.lstrip('-').partition('=')[0]}={_GPU_BATCH}" for flag in small)
    return [f"{' '.join(small)} is small for a GPU: {larger} would be faster, with the same answers"]


def _has_fp8() -> bool:
    details = [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices("GPU")]
    # On a GPU float32 models are not quantized: their products would gain less than their casts cost.
    return FLAGS.floatx != "float32" and any(d.get("compute_capability", (0, 0)) >= (9, 0) for d in details)


def _check_flags(script: Script, phases: list[str]) -> None:
    for name in script.required:
        if not FLAGS[name].value:
            raise WrapError(f"--{name} is required", status=2)
    if not phases and not FLAGS.do_train:
        choices = ", ".join(f"--{name}=true" for name in ("do_train", *script.phases))
        raise WrapError(f"nothing to do: pass at least one of {choices}", status=2)
    if FLAGS.use_tpu:
        raise WrapError("--use_tpu: the op has no TPU kernel; run Google's own script on a TPU", status=2)
    if FLAGS.do_train and FLAGS.floatx != "float32":
        raise WrapError(
            f"--do_train with --floatx={FLAGS.floatx}: training is Google's own code, in float32; train with "
            "--floatx=float32, convert with tools/ckpt_type_convert.py, then answer with --floatx=" + FLAGS.floatx
        )
    if FLAGS.do_train and (FLAGS.int8_mode or FLAGS.precision == "fp8"):
        raise WrapError(
            f"--do_train with {_wanted().flag}: a quantized model cannot be trained; train the float model with --quant_mode, "
            "quantize it with tools/ckpt_quantization.py, then answer with " + _wanted().flag
        )
    if FLAGS.compare_stock and not phases:
        raise WrapError(
            "--compare_stock compares answers: it needs " + " or ".join(f"--{name}=true" for name in script.phases), status=2
        )
    for name in ("train_batch_size", *(phase.removeprefix("do_") + "_batch_size" for phase in script.phases)):
        if FLAGS[name].value < 1:
            raise WrapError(f"--{name}={FLAGS[name].value}: it must be positive", status=2)
    output_dir = FLAGS.output_dir
    if tf.io.gfile.exists(output_dir) and not tf.io.gfile.isdir(output_dir):
        raise WrapError(f"--output_dir={output_dir}: it is a file")
    if FLAGS.compare_stock and "://" in output_dir:
        raise WrapError(f"--output_dir={output_dir}: --compare_stock needs a local directory")
    if FLAGS.compare_stock and tf.train.latest_checkpoint(os.path.join(output_dir, "stock")):
        raise WrapError(
            f"{output_dir}/stock holds a trained checkpoint, which Google's Estimator would use instead of the one to be "
            "compared; use another --output_dir"
        )


def _check_squad() -> int:
    """Checks the SQuAD files in use; returns the rows of the head."""
    for phase, flag in (("do_train", "train_file"), ("do_predict", "predict_file")):
        if FLAGS[phase].value:
            if not FLAGS[flag].value:
                raise WrapError(f"--{phase} needs --{flag}", status=2)
            training = phase == "do_train"
            inputs.check_squad(FLAGS[flag].value, flag, training=training, version_2=FLAGS.version_2_with_negative)
    if FLAGS.max_seq_length <= FLAGS.max_query_length + 3:
        raise WrapError(
            f"--max_seq_length={FLAGS.max_seq_length}: it must be greater than --max_query_length "
            f"({FLAGS.max_query_length}) plus 3"
        )
    return 2


def _check_task(phases: list[str]) -> int | None:
    """Checks the TSV files in use; returns the number of labels, or None where a local copy of Google's code knows better."""
    if not tf.io.gfile.isdir(FLAGS.data_dir):
        raise WrapError(f"--data_dir={FLAGS.data_dir}: there is no such directory")
    if FLAGS.bert_dir is not None:
        return None
    task: Task | None = TASKS.get(FLAGS.task_name.lower())
    if task is None:
        raise WrapError(f"--task_name={FLAGS.task_name}: Google's run_classifier.py knows {', '.join(sorted(TASKS))}")
    for phase in (*(["do_train"] if FLAGS.do_train else []), *phases):
        inputs.check_tsv(FLAGS.data_dir, FLAGS.task_name, task, phase.removeprefix("do_"))
    return len(task.labels)


def _check_checkpoints(script: Script, sizes: BertSizes, num_labels: int | None) -> list[str]:
    """Checks --init_checkpoint and what --output_dir holds; returns notes."""
    notes: list[str] = []
    if FLAGS.distillation and FLAGS.do_train:
        FLAGS.teacher = checkpoints.check_for_inference(
            FLAGS.teacher, "--teacher", script, sizes, num_labels, "float32", restored=False
        )
    trained = tf.train.latest_checkpoint(FLAGS.output_dir)
    if FLAGS.init_checkpoint:
        flag = "--init_checkpoint"
        if FLAGS.do_train or trained:
            FLAGS.init_checkpoint, random = checkpoints.check_for_training(
                FLAGS.init_checkpoint, flag, script, sizes, num_labels, _wanted()
            )
            if random and not trained:
                notes.append(
                    f"{FLAGS.init_checkpoint} lacks {random[0]} ({len(random)} of BERT's variables in all): they start at random"
                )
        else:
            FLAGS.init_checkpoint = checkpoints.check_for_inference(
                FLAGS.init_checkpoint, flag, script, sizes, num_labels, FLAGS.floatx, restored=False, wanted=_wanted()
            )
    elif not FLAGS.do_train and not trained:
        raise WrapError(
            f"no model: pass --init_checkpoint, or an --output_dir that holds a trained one (there is none in {FLAGS.output_dir})"
        )
    if trained:
        checkpoints.check_for_inference(
            trained,
            "the trained checkpoint in --output_dir, which the Estimator uses",
            script,
            sizes,
            num_labels,
            FLAGS.floatx,
            restored=True,
            wanted=_wanted(),
        )
        what = (
            "training goes on from it"
            if FLAGS.do_train
            else "it is used, not --init_checkpoint"
            if FLAGS.init_checkpoint
            else "it is used"
        )
        notes.append(f"--output_dir holds the trained checkpoint {trained}: {what}")
    return notes
