"""Fixture: programs run as if there were a GPU; see fake_cuda.c."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class FakeCuda:
    """A folder with the stand-in for the driver and our library."""

    def __init__(self, folder: Path):
        self.library = folder / "libcuda.so.1"
        source = Path(__file__).with_name("fake_cuda.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-O1", "-o", self.library, source], check=True)

    def run(self, *arguments: Any, **environment: str) -> subprocess.CompletedProcess:
        """Runs this Python with `arguments` from another folder than the repository's."""
        env = {**os.environ, "LD_LIBRARY_PATH": str(self.library.parent), "TF_FASTBERT_CUDA_LIBRARY": str(self.library)}
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**env, **environment},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="session")
def fake_cuda(tmp_path_factory: pytest.TempPathFactory) -> FakeCuda:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc to build the stand-in for CUDA")
    return FakeCuda(tmp_path_factory.mktemp("fake_cuda"))
