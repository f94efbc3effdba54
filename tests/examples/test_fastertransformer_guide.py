"""A FasterTransformer user's shell history, on a tiny model: the commands are read from the guide, and their flags are used as they are.

"Paths aside": programs are ours under the same names, `$VARIABLES` are filled in, and model.ckpt-343, the last step of a training
on all of MRPC, is the last step of ours. Appended is only what makes a step small. docs/from_fastertransformer.md is this test in
prose.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.examples import fastertransformer_guide as guide
from tests.examples.many_programs import Ended, run_programs
from tests.quantization import tiny_quantized
from tests.wrap import tiny_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not guide.GUIDE.is_file(), reason="needs ../shared/seeds, which has the guide"),
]

# Heads of 64: profile_transformer_inference.py assumes them where there is no bert_config.json beside the checkpoint. 384 positions.
CONFIG = {**tiny_model.CONFIG, "hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 256, "max_position_embeddings": 384}
SMALLER = {
    "bert_example.py": "--batch_size 2 --num_layer 1 --head_number 2 --size_per_head 16 --iterations 2".split(),
    "run_classifier.py": ["--train_batch_size=2"],
    "profile_transformer_inference.py": ["--iterations=3"],
    # The random model likes padding, most of 384 tokens here. Google's post-processing lets it crowd out answers, the wrapper does
    # not (docs/guide_wrappers.md); with this many nobody is crowded out.
    "run_squad.py": ["--n_best_size=400"],
    "run_squad_wrap.py": ["--n_best_size=400"],
}
LAST_STEP = tiny_model.MRPC_PAIRS["train"] // 2 * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the steps that fetch would have brought, and a checkpoint with quantizers (the ancestor's tool for those is a repository
    of its own; here tools/ckpt_calibrate.py writes them)."""
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_model, "CONFIG", CONFIG)
        patch.setattr(tiny_model.variables, "__defaults__", (CONFIG, 1))
        patch.setattr(tiny_quantized, "HIDDEN", 64)
        base, squad = folder / "uncased_L-12_H-768_A-12", folder / "squad_model"
        tiny_model.write_model(base)
        tiny_model.write_model(squad)
        (squad / "QAT_KD_mode_2").mkdir()
        ranges = tiny_quantized.write_ranges(squad, "QAT_KD_mode_2/model.ckpt-27374", per_channel=False)
        assert ranges.endswith("model.ckpt-27374")
    for path in squad.glob("bert_model.ckpt*"):
        path.rename(squad / path.name.replace("bert_model", "model"))
    (folder / "glue_data" / "MRPC").mkdir(parents=True)
    tiny_model.write_mrpc(folder / "glue_data" / "MRPC")
    (folder / "squad_data").mkdir()
    for split in ("train", "dev"):
        tiny_model.write_squad(folder / "squad_data" / f"{split}-v1.1.json")
    return folder


def command_line(step: guide.Step, folder: Path) -> list[str]:
    program, *first = guide.PROGRAMS[step.program]
    base = f"{folder}/uncased_L-12_H-768_A-12"
    variables = {"$BERT_BASE_DIR": base, "$GLUE_DIR": f"{folder}/glue_data", "ckpt-343": f"ckpt-{LAST_STEP}"}
    arguments = []
    for argument in [*step.arguments, *SMALLER.get(step.program, [])]:
        for name, value in variables.items():
            argument = argument.replace(name, value)
        arguments.append(argument)
    return [str(tiny_model.REPO / program), *first, *arguments]


def test_every_step_is_known() -> None:
    found = guide.steps()
    assert {step.program for step in found} - set(guide.PROGRAMS) == guide.FETCHING
    assert {step.program for step in found} >= set(guide.PROGRAMS) and len(found) > 40


@pytest.fixture(scope="module")
def ended(folder: Path) -> list[tuple[guide.Step, Ended]]:
    """The steps for a checkpoint, in order; each needs what those before it wrote."""
    chosen = [step for step in guide.steps() if step.program not in guide.FETCHING | {"bert_gemm", "bert_example.py"}]
    results = run_programs([command_line(step, folder) for step in chosen], folder)
    done = list(zip(chosen, results))
    for step, result in done:
        assert result.status == 0, (step, result.output[-1000:], result.errors[-3000:])
    assert len(done) == len(chosen)
    return done


def outputs(ended: list[tuple[guide.Step, Ended]], program: str) -> list[Ended]:
    return [result for step, result in ended if step.program == program]


def test_mrpc_has_the_same_accuracy(ended: list[tuple[guide.Step, Ended]], folder: Path) -> None:
    def accuracy(result: Ended) -> float:
        return float(re.findall(r"eval_accuracy = ([\d.]+)", result.output + result.errors)[-1])

    stock, (float32, float16) = outputs(ended, "run_classifier.py")[0], outputs(ended, "run_classifier_wrap.py")
    assert accuracy(stock) == accuracy(float32)
    assert abs(accuracy(float16) - accuracy(stock)) <= 1 / tiny_model.MRPC_PAIRS["dev"] + 1e-6
    assert (folder / "mrpc_output_fp16" / "eval_results.txt").is_file()


def test_times_are_written_where_the_guide_says(ended: list[tuple[guide.Step, Ended]], folder: Path) -> None:
    assert len(outputs(ended, "profile_transformer_inference.py")) == 2
    for name, limit in (("mrpc_output", 1e-4), ("mrpc_output_fp16", 1e-2)):
        times = json.loads((folder / name / "time_elapsed").read_text())
        assert times["xla"] and times["stock_ms"] > 0 and times["fastbert_ms"] > 0 and times["difference"] < limit


def test_squad_has_the_same_answers(ended: list[tuple[guide.Step, Ended]], folder: Path) -> None:
    scores = [json.loads(result.output.splitlines()[-1]) for result in outputs(ended, "squad_evaluate_v1_1.py")]
    # Google's, float32, float16, float16 without padding, int8, int8 without padding.
    assert len(scores) == 6 and all(set(score) >= {"exact_match", "f1"} for score in scores)
    assert scores[0] == scores[1]

    def predictions(name: str) -> dict[str, str]:
        return json.loads((folder / name / "predictions.json").read_text())

    google = predictions("squad_tf_output/fp_32")
    assert predictions("squad_ft_output/fp_32") == google and len(google) == tiny_model.SQUAD_QUESTIONS
    half = predictions("squad_ft_output/fp_16")
    assert sum(google[question] != answer for question, answer in half.items()) <= 1  # the model is random
    assert set(predictions("squad_ft_output/int8_mode_2")) == set(google)
    assert set(predictions("squad_ft_output/int8_mode_2_effectiveTransformer")) == set(google)


def test_the_encoders_example(folder: Path) -> None:
    """float32, float16 and the int8 modes; in a process of its own, as they are TensorFlow 2 programs."""
    chosen = [step for step in guide.steps() if step.program == "bert_example.py"]
    assert len(chosen) == 4
    for step in (chosen[0], chosen[2]):  # the others are tests of tests/examples/test_bert_example.py
        program, *arguments = command_line(step, folder)
        result = tiny_model.run(Path(program).stem, *arguments)
        assert result.returncode == 0, result.stderr[-3000:]
        assert result.stdout.count("Cross check True") == 2
        for name in ("TF", "FT-OP", "EFF-OP"):
            assert float(re.search(rf"{name}-time +([\d.]+) ms", result.stdout)[1]) > 0


def test_gemm_tuning_says_that_it_needs_a_gpu(folder: Path) -> None:
    """`./bin/bert_gemm` runs on a GPU (tests/tools has its arguments); elsewhere one line says so, and the next step goes on."""
    step = next(step for step in guide.steps() if step.program == "bert_gemm")
    (result,) = run_programs([command_line(step, folder)], folder)
    if result.status:
        assert result.errors.splitlines()[-1].startswith("error: ") and "Traceback" not in result.errors


def test_the_models_numbers_are_finite(folder: Path) -> None:
    """That the tiny model decides at all: all-equal logits would make every comparison above pass."""
    nbest = json.loads((folder / "squad_tf_output/fp_32" / "nbest_predictions.json").read_text())
    probabilities = np.array([entries[0]["probability"] for entries in nbest.values()])
    assert np.isfinite(probabilities).all() and (probabilities > 0.1).any()
