"""Ours through the C ABI, without TensorFlow. Times by CUDA events.

"calls": forward passes queued one behind the other, as a program makes them; the library decides by the number of tokens how a
pass runs (ordinary launches or a CUDA graph of its own, fused kernels or not). "CUDA graph": the same captured by the caller and
replayed. "layers": the same, but never with fused kernels. "tuned": after fastbert_cuda_tune. Quantized: 8-bit products where they
pay, with ranges that hold all of the checked sequences' values.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Case, Row, to_float32
from benchmarks.peers.worker import Candidate, Family, NotApplicable, NotInstalled, Prepared
from benchmarks.shapes import MODELS
from tf_fastbert.cuda import abi
from tf_fastbert.cuda.driver import CudaError, Gpu
from tf_fastbert.cuda.encoder import Batch, EncoderConfig, GpuEncoder

QUANTIZED_LIMIT = 0.25  # random weights are hard on 8 bits; accuracy is measured on real tasks, this tells right from wrong


class _Ours:
    def __init__(self, case: Case, gpu: Gpu):
        layers, heads, size, inner = MODELS[case.model]
        precision = "tf32" if case.dtype == "tf32" else "default"
        self.case, self.gpu = case, gpu
        self.config = EncoderConfig(layers, heads, size, inner, dtype=case.storage_dtype, precision=precision)
        self.encoders: dict[tuple[str, bool, str], GpuEncoder] = {}
        self.batches: dict[tuple[Any, ...], Batch] = {}

    def encoder(self, quantization: str, tuned: bool, kernels: str) -> GpuEncoder:
        key = (quantization, tuned, kernels)  # tuning and choosing kernels change an encoder
        if key not in self.encoders:
            config = dataclasses.replace(self.config, quantization=quantization)
            ranges = None if quantization == "none" else self.case.ranges()
            self.encoders[key] = GpuEncoder(self.gpu, config, self.case.layers, ranges)
            if kernels != "fastest":
                self.encoders[key].choose_kernels(kernels)
        return self.encoders[key]

    def batch(self, row: Row, remove_padding: bool, quantization: str, tuned: bool, kernels: str) -> Batch:
        key = (row.name, remove_padding, quantization, tuned, kernels)
        if key not in self.batches:
            encoder = self.encoder(quantization, tuned, kernels)
            self.batches[key] = encoder.batch(self.case.input(row), row.lengths, remove_padding)
            if tuned:
                encoder.tune(row.tokens if remove_padding else row.batch * row.seq_len)
        return self.batches[key]

    def candidate(
        self, tuned: bool, graph: bool, padded: bool, quantization: str = "none", kernels: str = "fastest"
    ) -> Candidate:
        def prepare(row: Row) -> Prepared:
            if quantization != "none" and self.config.dtype != "float16":
                raise NotApplicable("quantized layers are timed in float16 here")
            encoder = self.encoder(quantization, tuned, kernels)
            batch = self.batch(row, not padded, quantization, tuned, kernels)

            def forward() -> None:
                encoder.forward(batch)

            run: Callable[[], None] = self.gpu.capture(forward) if graph else forward

            def output() -> np.ndarray:
                for _ in range(3):  # a library that captures a graph of its own does so in one of the first calls
                    self.gpu.fill(batch.output, 0xFF)
                    run()
                return to_float32(encoder.output(batch))

            return Prepared(output, lambda: self.gpu.median_ms(run), lambda: self.gpu.burst_ms(run))

        mode = ("CUDA graph" if graph else "calls") + (", tuned" if tuned else "") + (", layers" if kernels == "layers" else "")
        if quantization == "none":
            return Candidate("ours", mode, padded, prepare)
        return Candidate(f"8-bit {quantization}", mode, padded, prepare, limit=QUANTIZED_LIMIT)


def start(case: Case) -> Family:
    """Needs a GPU and the CUDA library; see abi.library_path."""
    try:
        gpu = Gpu()
        library = abi.library_path()
        ours = _Ours(case, gpu)
    except (CudaError, ImportError) as error:
        raise NotInstalled(str(error)) from error
    candidates = [
        ours.candidate(tuned, graph, padded)
        for padded in ((False, True) if case.options["padded"] else (False,))
        for tuned in ((False, True) if case.options["tune"] else (False,))
        for graph in (False, True)
    ]
    candidates.append(ours.candidate(case.options["tune"], True, False, kernels="layers"))
    candidates += [ours.candidate(False, True, False, quantization) for quantization in case.options["quantization"]]
    driver = "{}.{}".format(*gpu.driver_version)
    versions = f"tf_fastbert C ABI ({os.path.basename(library)}), driver for CUDA {driver}"
    return Family(versions, gpu.name, candidates, ours.batches.clear)
