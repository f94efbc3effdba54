"""tools/profile_encoder.py with a stand-in for the GPU: its table, its file, its errors."""

from __future__ import annotations

import json

from tests.cuda.fake import ROOT, FakeCuda

TOOL = ROOT / "tools" / "profile_encoder.py"


def test_profile(fake_cuda: FakeCuda, tmp_path) -> None:
    result = fake_cuda.run(TOOL, "--model=minilm", "--rows=2x16", "--tune", "--no_ceilings", f"--json={tmp_path}/profile.json")
    assert result.returncode == 0, result.stderr
    assert "Fake GPU" in result.stdout and "tune 16" in result.stderr
    lines = {line.split("|")[1].strip(): line.split("|") for line in result.stdout.splitlines() if line.startswith("|")}
    # The steps together take 44 us more than a pass, of 423 us: 1 us is off each. FLOPs: 6 layers of [16, 384] x [384, 1152].
    assert [cell.strip() for cell in lines["qkv"][2:6]] == ["6", "10.0", "60.0", "14%"]
    assert float(lines["qkv"][6]) == round(6 * 2 * 16 * 384 * 1152 / 1e9, 1)
    assert lines["layer_norm"][2].strip() == "12"
    document = json.loads((tmp_path / "profile.json").read_text())
    profile = document["profiles"][0]
    assert profile["tokens"] == 16 and len(profile["layers"]) == 6
    assert abs(profile["layers"][5]["layer_norm"] - 0.020) < 1e-6


def test_no_gpu(fake_cuda: FakeCuda) -> None:
    result = fake_cuda.run(TOOL, FAKE_CUDA_NO_DEVICE="1")
    assert (result.returncode, result.stderr) == (1, "error: cuInit: CUDA_ERROR_NO_DEVICE\n")


def test_bad_rows(fake_cuda: FakeCuda) -> None:
    result = fake_cuda.run(TOOL, "--rows=8")
    assert result.returncode == 2 and "'8' is not BATCHxLENGTH, such as 8x128" in result.stderr
