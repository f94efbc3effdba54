"""benchmarks/encoder.py as a program, with a stand-in for the GPU."""

from __future__ import annotations

import json

from tests.cuda.fake import ROOT, FakeCuda

PROGRAM = ROOT / "benchmarks" / "encoder.py"


def test_a_wrong_output_is_reported_and_not_timed(fake_cuda: FakeCuda, tmp_path) -> None:
    arguments = (
        "--model=minilm",
        "--rows=2x16",
        "--peers=fastbert",
        "--padded",
        "--quantization=int8_mode1",
        f"--out={tmp_path}",
    )
    result = fake_cuda.run(PROGRAM, *arguments)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "encoder.jsonl").read_text().splitlines()]
    modes = {(line["mode"], line["padded"]) for line in lines if line["name"] == "ours"}
    modes.remove(("CUDA graph, tuned, layers", False))
    assert modes == {(m, p) for m in ("calls", "CUDA graph", "calls, tuned", "CUDA graph, tuned") for p in (False, True)}
    # The stand-in returns its input.
    assert all("its output differs from the reference" in line["not_timed"] for line in lines)
    assert (lines[-1]["name"], lines[-1]["mode"]) == ("8-bit int8_mode1", "CUDA graph")
    assert lines[0]["device"].startswith("Fake GPU") and lines[0]["row"] == [2, 16]
    assert "| 2 | 16 | 16 |" in result.stdout and (tmp_path / "encoder.md").read_text().startswith("Fake GPU")


def test_without_a_gpu(fake_cuda: FakeCuda, tmp_path) -> None:
    result = fake_cuda.run(
        PROGRAM, "--model=minilm", "--rows=1x8", "--peers=fastbert", f"--out={tmp_path}", FAKE_CUDA_NO_DEVICE="1"
    )
    assert result.returncode == 0, result.stderr
    assert "- fastbert: not installed (cuInit: CUDA_ERROR_NO_DEVICE)" in result.stdout
    assert "- no floor: cuInit: CUDA_ERROR_NO_DEVICE" in result.stdout


def test_lengths_of_a_file(fake_cuda: FakeCuda, tmp_path) -> None:
    file = tmp_path / "lengths.txt"
    file.write_text("".join(f"{n}\n" for n in range(1, 33)))
    result = fake_cuda.run(
        PROGRAM, "--model=minilm", "--rows=4x16", "--peers=fastbert", f"--lengths_file={file}", f"--out={tmp_path}"
    )
    assert result.returncode == 0, result.stderr
    assert f"| 4 | 16 | {5 + 13 + 16 + 16} |" in result.stdout  # the ranks in the middle of each quarter, cut to S
    assert "- examples a second at 4x16: none timed" in result.stdout  # the stand-in's outputs are wrong
    file.write_text("12\n0\n")
    result = fake_cuda.run(PROGRAM, f"--lengths_file={file}")
    assert result.returncode == 2 and "lengths.txt, line 2: '0' is not a length" in result.stderr


def test_an_interpreter_that_is_not_there(fake_cuda: FakeCuda, tmp_path) -> None:
    python = "--python=torch=/no/such/python"
    result = fake_cuda.run(PROGRAM, "--model=minilm", "--rows=1x8", "--peers=torch_packed", python, f"--out={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert "torch: /no/such/python cannot be started: No such file or directory" in result.stdout


def test_bad_arguments(fake_cuda: FakeCuda) -> None:
    for argument, message in (
        ("--peers=torhc", "'torhc' is none of"),
        ("--python=torch", "is not FAMILY=INTERPRETER"),
        ("--quantization=int8", "'int8' is none of int8_mode1, int8_mode2, fp8"),
        ("--lengths_file=/no/such/file", "/no/such/file cannot be read"),
    ):
        result = fake_cuda.run(PROGRAM, argument)
        assert result.returncode == 2 and message in result.stderr
