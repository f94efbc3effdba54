"""The families of benchmarks/cpu_peers.py that are modules of their own, on a tiny model: outputs against float64."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from benchmarks import cpu_encoder, cpu_peers, shapes
from benchmarks.case import Case, relative_error


@pytest.fixture
def case(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setitem(shapes.MODELS, "tiny", (2, 2, 32, 128))
    return Case.write(tmp_path, "tiny", "float32", [(3, 16), (1, 8)], {})


@pytest.mark.parametrize("family", ["native", "torch", "ctranslate2"])
def test_outputs_are_right(case: Case, family: str) -> None:
    try:
        peer = cpu_peers.find_family(family)(case, 2)
    except (ImportError, OSError) as error:
        pytest.skip(str(error))
    computed = 0
    for name in cpu_peers.CANDIDATES[family]:
        for row in case.rows:
            try:
                output = peer.prepare(name, row)()
            except ValueError as error:  # a type that this CPU has no instructions for
                assert family == "ctranslate2", error
                continue
            assert relative_error(row.select(output), case.reference(row)) < cpu_encoder.LIMITS[name.split()[-1]], name
            if family == "native":
                assert not output[~row.mask()].any()
            computed += 1
    assert computed >= 2


def test_native_needs_its_library(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_FASTBERT_CPU_LIBRARY", "/nonexistent/libfastbert_cpu.so")
    with pytest.raises(OSError, match="bazel build //cc/cpu:libfastbert_cpu.so"):
        cpu_peers.find_family("native")(case, 1)


def test_a_kept_case_is_used_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    again = cpu_encoder.open_case(case.folder, "tiny", [(1, 8)])
    assert [row.name for row in again.rows] == ["1x8"]
    np.testing.assert_array_equal(again.input(again.rows[0]), case.input(case.rows[1]))
    other = cpu_encoder.open_case(case.folder, "tiny", [(2, 4)])
    assert [row.name for row in other.rows] == ["2x4"] and other.reference(other.rows[0]).size
