"""The two wrappers end to end on a tiny random model: Google's answers, no example dropped, training, 16 bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.google_bert import as_google_research
from tests.wrap import tiny_model
from tests.wrap.many_runs import Ended, run_many
from tf_fastbert.checkpoint.cast import cast_checkpoint

# 17 features in batches of 4: the last batch is partial.
SQUAD = ["--do_predict", "True", "--max_seq_length=48", "--doc_stride=16", "--max_query_length=16", "--predict_batch_size=4"]
SQUAD_FEATURES = 17
MRPC = [
    "--task_name=MRPC",
    "--max_seq_length=48",
    "--eval_batch_size=4",
    "--predict_batch_size=4",
    "--train_batch_size=2",
    "--num_train_epochs=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, data, 16-bit checkpoints, and a copy of Google's files as google-research/bert has them."""
    folder = tmp_path_factory.mktemp("wrappers")
    tiny_model.write_model(folder)
    tiny_model.write_squad(folder / "squad.json")
    tiny_model.write_mrpc(folder)
    for dtype in ("float16", "bfloat16"):
        cast_checkpoint(str(folder / "bert_model.ckpt"), str(folder / f"{dtype}.ckpt"), dtype)
    copy = folder / "google_research"
    copy.mkdir()
    for name in ("modeling", "optimization", "tokenization", "run_squad", "run_classifier"):
        (copy / f"{name}.py").write_text(as_google_research(name))
    return folder


@pytest.fixture(scope="module")
def squad(folder: Path) -> dict[str, Ended]:
    data = f"--predict_file={folder}/squad.json"
    lines = {
        dtype: [
            *tiny_model.model_flags(folder, f"{dtype}.ckpt"),
            *SQUAD,
            data,
            f"--output_dir={folder}/squad_{dtype}",
            f"--floatx={dtype}",
            "--compare_stock",
            "--remove_padding",
        ]
        for dtype in ("float16", "bfloat16")
    }
    lines["copy"] = [
        *tiny_model.model_flags(folder),
        *SQUAD,
        data,
        f"--output_dir={folder}/squad_copy",
        f"--bert_dir={folder}/google_research",
    ]
    lines["google's python"] = [
        *tiny_model.model_flags(folder),
        *SQUAD,
        data,
        f"--output_dir={folder}/squad_google",
        "--fast_python=false",
    ]
    lines["training"] = [
        *tiny_model.model_flags(folder),
        *SQUAD,
        data,
        f"--output_dir={folder}/squad_trained",
        "--do_train",
        f"--train_file={folder}/squad.json",
        "--train_batch_size=4",
        "--num_train_epochs=2",
        "--learning_rate=1e-3",
    ]
    # --init_checkpoint is left out: the trained checkpoint in --output_dir is used.
    lines["trained"] = [
        *tiny_model.model_flags(folder)[:2],
        *SQUAD,
        data,
        f"--output_dir={folder}/squad_trained",
        "--allow_gemm_test",
        "--compare_stock",
        # All there are: after three steps from random numbers, which logit is the twentieth best may hang on its last bit.
        "--n_best_size=48",
    ]
    lines["trained, float16"] = [*lines["trained"], "--floatx=float16"]
    lines["training in float16"] = [*lines["training"], "--floatx=float16"]
    lines["no vocabulary"] = [*lines["copy"], f"--vocab_file={folder}/none.txt"]
    lines["nothing to do"] = tiny_model.model_flags(folder) + [f"--output_dir={folder}/nothing"]
    return dict(zip(lines, run_many("run_squad_wrap", list(lines.values())), strict=True))


def read(path: Path):
    return json.loads(path.read_text())


def test_run_squad_by_path(folder: Path) -> None:
    """As a user runs it: from a checkout, by path, the form of the ancestor's guide; answers are those of Google's encoder."""
    output = folder / "squad"
    result = tiny_model.run(
        "run_squad_wrap",
        *tiny_model.model_flags(folder),
        *SQUAD,
        f"--predict_file={folder}/squad.json",
        f"--output_dir={output}",
        "--floatx=float32",
        "--remove_padding",
        "True",
        "--allow_gemm_test=False",
        "--compare_stock",
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert f"0 of {tiny_model.SQUAD_QUESTIONS} answers differ" in result.stdout
    assert len(read(output / "predictions.json")) == tiny_model.SQUAD_QUESTIONS
    for path, mode, removed in ((output, "fastbert", True), (output / "stock", "stock", False)):
        timing = read(path / "fastbert_timing.json")
        assert (timing["mode"], timing["examples"], timing["first_batch_examples"]) == (mode, SQUAD_FEATURES, 4)
        assert (timing["floatx"], timing["remove_padding"]) == ("float32", removed)
        assert timing["seconds"] > 0 and timing["examples_per_second"] > 0
    # Google's log is there, but neither its first examples nor TensorFlow's deprecations.
    assert "Num split examples = 17" in result.stderr
    assert "input_ids" not in result.stderr and "deprecated" not in result.stderr


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_run_squad_in_16_bit(squad: dict[str, Ended], folder: Path, dtype: str) -> None:
    status, output = squad[dtype]
    assert status == 0, output
    assert f"({dtype} to float32 is exact)" in output
    comparison = read(folder / f"squad_{dtype}" / "fastbert_compare.json")
    assert comparison["timing"]["fastbert"]["floatx"] == dtype
    assert comparison["timing"]["stock"]["floatx"] == "float32"
    # The model is random: an answer may hang on the last bit of a logit.
    assert comparison["predictions"]["differing"] <= 1


def test_run_squad_of_a_local_copy(squad: dict[str, Ended], folder: Path) -> None:
    assert squad["copy"].status == 0, squad["copy"].output
    assert read(folder / "squad_copy" / "fastbert_timing.json")["examples"] == SQUAD_FEATURES


def test_run_squad_with_googles_python_gives_the_same_files(squad: dict[str, Ended], folder: Path) -> None:
    assert squad["google's python"].status == 0, squad["google's python"].output
    for name in ("predictions.json", "nbest_predictions.json"):
        assert (folder / "squad_google" / name).read_bytes() == (folder / "squad_copy" / name).read_bytes()
    for name, fast in (("squad_google", False), ("squad_copy", True)):
        timing = read(folder / name / "fastbert_timing.json")
        assert timing["fast_python"] is fast
        assert list(timing["parts"]) == ["imports", "checks", "features", "graph", "prediction", "answers"]
        assert timing["total_seconds"] == pytest.approx(sum(timing["parts"].values()))
        assert timing["total_seconds"] > timing["seconds"]
    assert "run as they are" not in squad["copy"].output


def test_run_squad_trains_and_uses_what_it_trained(squad: dict[str, Ended], folder: Path) -> None:
    assert squad["training"].status == 0, squad["training"].output
    assert (folder / "squad_trained" / "model.ckpt-3.index").exists()
    status, output = squad["trained"]
    assert status == 0, output
    assert "holds the trained checkpoint" in output and "model.ckpt-3: it is used" in output
    assert "no GEMM test (cuBLASLt's own choice is taken): " in output
    assert f"0 of {tiny_model.SQUAD_QUESTIONS} answers differ" in output


def test_run_squad_refuses(squad: dict[str, Ended], folder: Path) -> None:
    for case, status, culprit in (
        ("trained, float16", 1, "model.ckpt-3 is float32"),
        ("training in float16", 1, "--do_train with --floatx=float16"),
        ("no vocabulary", 1, f"--vocab_file={folder}/none.txt: there is no such file"),
        ("nothing to do", 2, "--do_predict=true"),
    ):
        assert squad[case].status == status, squad[case].output
        assert squad[case].output.splitlines()[-1].startswith("error: ")
        assert culprit in squad[case].output.splitlines()[-1]


def test_run_classifier_by_path(folder: Path) -> None:
    """Evaluation and prediction: every example counts, and both graphs agree."""
    output = folder / "mrpc"
    result = tiny_model.run(
        "run_classifier_wrap",
        *tiny_model.model_flags(folder),
        *MRPC,
        f"--data_dir={folder}",
        "--do_eval=true",
        "--do_predict=true",
        f"--output_dir={output}",
        "--remove_padding",
        "--compare_stock",
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert f"0 of {tiny_model.MRPC_PAIRS['test']} answers differ" in result.stdout
    assert len((output / "test_results.tsv").read_text().splitlines()) == tiny_model.MRPC_PAIRS["test"]
    timing = read(output / "fastbert_timing.json")
    assert [(loop["name"], loop["examples"]) for loop in timing["loops"]] == [
        ("evaluate", tiny_model.MRPC_PAIRS["dev"]),
        ("predict", tiny_model.MRPC_PAIRS["test"]),
    ]
    comparison = read(output / "fastbert_compare.json")
    assert comparison["predictions"]["max_probability_difference"] < 1e-5
    stock, ours = comparison["metrics"]["eval_accuracy"]
    assert stock == ours
    # A whole number of the 7 examples was right.
    assert ours * 7 == pytest.approx(round(ours * 7), abs=1e-4)


def test_run_classifier_in_16_bit_trained_and_refused(folder: Path) -> None:
    data = [f"--data_dir={folder}", *MRPC]
    lines = {
        "float16": [
            *tiny_model.model_flags(folder, "float16.ckpt"),
            *data,
            "--do_eval",
            "--do_predict",
            "--compare_stock",
            f"--output_dir={folder}/mrpc_float16",
            "--floatx=float16",
            "--remove_padding",
        ],
        "training": [*tiny_model.model_flags(folder), *data, "--do_train", "--do_eval", f"--output_dir={folder}/mrpc_trained"],
        "no such task": [*tiny_model.model_flags(folder), *data, "--do_eval", f"--output_dir={folder}/none", "--task_name=RTE"],
        "no file": [*tiny_model.model_flags(folder), *data, "--do_eval", f"--output_dir={folder}/none", "--task_name=MNLI"],
        "int8": [*tiny_model.model_flags(folder), *data, "--do_eval", f"--output_dir={folder}/none", "--int8_mode=2"],
    }
    ended = dict(zip(lines, run_many("run_classifier_wrap", list(lines.values())), strict=True))
    assert ended["float16"].status == 0, ended["float16"].output
    comparison = read(folder / "mrpc_float16" / "fastbert_compare.json")
    assert comparison["predictions"]["max_probability_difference"] < 0.02
    assert ended["training"].status == 0, ended["training"].output
    assert (folder / "mrpc_trained" / "model.ckpt-3.index").exists()
    assert (folder / "mrpc_trained" / "eval_results.txt").exists()
    for case, culprit in (
        ("no such task", "--task_name=RTE: Google's run_classifier.py knows"),
        ("no file", "dev_matched.tsv: there is no such"),
        ("int8", "calibrate it with tools/ckpt_calibrate.py --quant_mode=ft2, then quantize it with"),
    ):
        assert ended[case].status == 1
        assert culprit in ended[case].output.splitlines()[-1]
    assert not (folder / "none").exists()
