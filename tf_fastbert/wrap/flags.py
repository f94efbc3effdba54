"""Our flags beside Google's, and how a command line is read. Imports absl only, so that a wrong flag is answered at once."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from tf_fastbert.wrap.errors import WrapError

_BOOLEAN_WORDS = {"true", "t", "1", "false", "f", "0"}


def define(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines our flags; Google's script defines its own when it is imported."""
    flags.DEFINE_enum(
        "floatx",
        "float32",
        ["float32", "float16", "bfloat16"],
        "Type of the model's weights and of the encoder's arithmetic. The checkpoint must hold this type: "
        "convert it with tools/ckpt_type_convert.py.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "remove_padding", False, "Whether the encoder skips padding tokens: faster, the answers are the same.", flag_values=values
    )
    flags.DEFINE_integer(
        "int8_mode",
        0,
        "0: no quantization. 1: products in int8, the rest in --floatx. 2: the residual stream in int8 too where that is "
        "faster. 3: as 2. The checkpoint must be quantized: tools/ckpt_calibrate.py, then tools/ckpt_quantization.py.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "quant_mode",
        None,
        ["ft1", "ft2", "ft3"],
        "Trains, and answers, with fake quantizers where --int8_mode 1, 2 or 3 rounds. The checkpoint must be calibrated: "
        "tools/ckpt_calibrate.py.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "distillation", False, "With --quant_mode and --do_train: a float model, --teacher, guides the training.",
        flag_values=values
    )
    flags.DEFINE_string("teacher", None, "The teacher's checkpoint, float32, of the same model and task.", flag_values=values)
    flags.DEFINE_float(
        "distillation_loss_scale", 10000.0, "Weight of the teacher's part in the loss; the labels' part has 1.",
        flag_values=values
    )
    flags.DEFINE_bool(
        "allow_gemm_test",
        False,
        "On a GPU: first times cuBLASLt's algorithms for this model's matrix multiplications and keeps the fastest in the user's "
        "cache folder, for this and later runs (tools/gemm_tune.py does the same).",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "precision",
        "default",
        ["default", "tf32", "float32", "fp8"],
        "How float32 matrix multiplications run on a GPU: in float32, in tf32 (faster, 10 bits of mantissa), or as "
        "TensorFlow's own (tf32 unless TensorFlow is told otherwise). fp8: products in 8-bit floating point, on Hopper GPUs "
        "and newer; the checkpoint must have been made with tools/ckpt_quantization.py --precision=fp8.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "compare_stock",
        False,
        "Also runs Google's own encoder on the same inputs, into <output_dir>/stock, and reports differing answers and the "
        "time of each.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "bert_dir",
        None,
        "A directory with Google's BERT (modeling.py, run_squad.py ...), used instead of the installed bert-tensorflow.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "fast_python",
        True,
        "Replaces Google's Python around the encoder (tokens, features, prediction loop, answers) by faster code that gives the "
        "same files; false: Google's own runs.",
        flag_values=values,
    )
    flags.DEFINE_bool("progress", True, "Shows progress: a bar on a terminal, a line now and then in a log.", flag_values=values)
    flags.DEFINE_bool(
        "verbose",
        False,
        "Keeps all of TensorFlow's and Google's log lines, and shows the traceback of an error.",
        flag_values=values,
    )


def join_booleans(argv: Sequence[str], values: flags.FlagValues) -> list[str]:
    """Turns `--remove_padding True` into `--remove_padding=True` for every boolean flag that `values` knows.

    absl takes the value of a boolean only after `=`; the ancestor's guide writes both forms.
    """
    joined: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        name = word.lstrip("-")
        boolean = word.startswith("-") and name in values and values[name].boolean
        if boolean and words and words[0].lower() in _BOOLEAN_WORDS:
            word = f"{word}={words.pop(0)}"
        joined.append(word)
    return joined


def parse(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS, *, known_only: bool = False) -> None:
    """Reads `argv` (the program's name first) into `values`.

    Args:
      known_only: leaves flags that are not defined yet, and anything else unknown, to a later call.

    Raises:
      WrapError: status 2: an unknown flag, an illegal value, or a word that is no flag.
    """
    # Google's tf.app.run lets unknown flags pass, so that a misspelt --remove_padding would silently do nothing, and stops
    # at the first word that is no flag. GNU style reads on, so that all that is left over can be reported.
    values.set_gnu_getopt(True)
    try:
        rest = values(join_booleans(argv, values), known_only=known_only)[1:]
    except flags.Error as error:
        raise WrapError(f"{str(error).splitlines()[0]} (--help lists the flags)", status=2) from error
    if rest and not known_only:
        raise WrapError(f"unexpected argument {rest[0]!r}: flags are written --name=value (--help lists them)", status=2)


def check(values: flags.FlagValues = flags.FLAGS) -> None:
    """Checks what can be known from our flags alone.

    Raises:
      WrapError: flags that have no such value or contradict each other.
    """
    mode, quant_mode, floatx = (values[name].value for name in ("int8_mode", "quant_mode", "floatx"))
    if mode not in (0, 1, 2, 3):
        raise WrapError(f"--int8_mode={mode}: it must be 0, 1, 2 or 3", status=2)
    if mode and values["precision"].value == "fp8":
        raise WrapError(f"--int8_mode={mode} and --precision=fp8 are two ways to quantize: choose one", status=2)
    if quant_mode and (mode or values["precision"].value == "fp8"):
        raise WrapError(
            f"--quant_mode={quant_mode} is for float checkpoints with quantizers, --int8_mode and --precision=fp8 are for "
            "quantized ones: choose one",
            status=2,
        )
    if quant_mode and floatx != "float32":
        raise WrapError(f"--quant_mode={quant_mode} runs in float32: leave --floatx={floatx} out", status=2)
    if values["distillation"].value and not (quant_mode and values["teacher"].value):
        raise WrapError("--distillation needs --quant_mode and --teacher", status=2)


def help_text(usage: str, modules: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> str:
    """The text of --help: `usage`, then the flags that `modules` define."""
    return "\n".join([usage, *(values.module_help(module) for module in modules)])
