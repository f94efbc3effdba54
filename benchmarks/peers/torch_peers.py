"""PyTorch: eager, and compiled layer by layer inside one CUDA graph; padded with scaled_dot_product_attention, or packed with its
flash attention and cu_seqlens. Times by CUDA events (wall time on a CPU).

torch.compile gets one layer, with its weights as arguments: the same kernels as all layers at once, twelve times sooner.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Case, Row
from benchmarks.peers.worker import Candidate, Family, NotApplicable, NotInstalled, Prepared, require_gpu_build, wall_ms
from tf_fastbert.cuda.event_times import timed_bursts, timed_rounds

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    missing: Exception | None = error
else:
    missing = None

Layer = dict[str, Any]
Attention = Callable[..., Any]


def _layer(x: torch.Tensor, w: Layer, attention: Attention, *arguments: Any) -> torch.Tensor:
    """One post-LN layer with tanh-GELU. x: [..., H]; attention(qkv [..., 3H], *arguments) -> [..., H]."""
    context = attention(F.linear(x, w["qkv_kernel"], w["qkv_bias"]), *arguments)
    y = F.linear(context, w["attention_output_kernel"], w["attention_output_bias"])
    size = x.shape[-1:]
    x = F.layer_norm(x + y, size, w["attention_layer_norm_gamma"], w["attention_layer_norm_beta"], 1e-12)
    y = F.gelu(F.linear(x, w["intermediate_kernel"], w["intermediate_bias"]), approximate="tanh")
    y = F.linear(y, w["output_kernel"], w["output_bias"])
    return F.layer_norm(x + y, size, w["output_layer_norm_gamma"], w["output_layer_norm_beta"], 1e-12)


def _padded_attention(qkv: torch.Tensor, heads: int, mask: torch.Tensor) -> torch.Tensor:
    batch, seq_len, columns = qkv.shape
    q, k, v = qkv.view(batch, seq_len, 3, heads, -1).permute(2, 0, 3, 1, 4)
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return context.transpose(1, 2).reshape(batch, seq_len, columns // 3)


def _packed_attention(qkv: torch.Tensor, heads: int, ends: torch.Tensor, longest: int) -> torch.Tensor:
    q, k, v = qkv.view(len(qkv), 3, heads, -1).unbind(1)
    flash = torch.ops.aten._flash_attention_forward
    return flash(q, k, v, ends, ends, longest, longest, 0.0, False, False)[0].reshape(len(qkv), -1)


class _Torch:
    def __init__(self, case: Case):
        self.case = case
        self.gpu = torch.cuda.is_available()
        self.device = "cuda" if self.gpu else "cpu"
        if case.dtype == "tf32":
            torch.backends.cuda.matmul.allow_tf32 = True
        self.layers = [self._prepare_layer(layer) for layer in case.layers]

    def tensor(self, stored: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(stored))
        return (tensor.view(torch.bfloat16) if stored.dtype == np.uint16 else tensor).to(self.device)

    def _prepare_layer(self, layer: dict[str, np.ndarray]) -> Layer:
        w = {name: self.tensor(value) for name, value in layer.items()}
        # [out, in], as torch.nn.Linear has them.
        prepared = {name: value.t().contiguous() if name.endswith("kernel") else value for name, value in w.items()}
        names = ("query", "key", "value")
        prepared["qkv_kernel"] = torch.cat([prepared.pop(f"{n}_kernel") for n in names])
        prepared["qkv_bias"] = torch.cat([prepared.pop(f"{n}_bias") for n in names])
        return prepared

    def _event_ms(self, run: Callable[[], Any], calls: int) -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / calls

    def _median_ms(self, run: Callable[[], Any]) -> float:
        if not self.gpu:
            return wall_ms(run)
        return statistics.median(timed_rounds(lambda calls: self._event_ms(run, calls)))

    def _burst_ms(self, run: Callable[[], Any]) -> float:
        return statistics.median(timed_bursts(run, lambda calls: self._event_ms(run, calls)))

    def candidate(self, name: str, packed: bool, compiled: bool, graph: bool) -> Candidate:
        """mode: "eager" or "compiled", and ", CUDA graph"."""

        def prepare(row: Row) -> Prepared:
            inputs = self.tensor(self.case.input(row))
            if packed:
                if not self.gpu or self.case.storage_dtype == "float32":
                    raise NotApplicable("PyTorch's flash attention has no float32 and no CPU form")
                x = inputs[torch.from_numpy(row.mask()).to(self.device)]
                ends = torch.tensor([0, *np.cumsum(row.lengths).tolist()], dtype=torch.int32, device=self.device)
                arguments: tuple[Any, ...] = (_packed_attention, self.case.num_heads, ends, max(row.lengths))
            else:
                x = inputs
                mask = torch.zeros(row.batch, 1, 1, row.seq_len, dtype=inputs.dtype, device=self.device)
                mask.masked_fill_(~torch.from_numpy(row.mask()).to(self.device)[:, None, None, :], -10000.0)
                arguments = (_padded_attention, self.case.num_heads, mask.expand(-1, -1, row.seq_len, -1))
            layer = _layer
            if compiled:
                torch._dynamo.reset()
                layer = torch.compile(_layer, dynamic=False)

            @torch.no_grad()
            def run() -> torch.Tensor:
                y = x
                for w in self.layers:
                    y = layer(y, w, *arguments)
                return y

            if not (graph and self.gpu):
                return Prepared(lambda: run().float().cpu().numpy(), lambda: self._median_ms(run))
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                run()
            side.synchronize()
            captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(captured):
                result = run()

            def output() -> np.ndarray:
                result.fill_(float("nan"))
                captured.replay()
                return result.float().cpu().numpy()

            return Prepared(output, lambda: self._median_ms(captured.replay), lambda: self._burst_ms(captured.replay))

        mode = ("compiled" if compiled else "eager") + (", CUDA graph" if graph and self.gpu else "")
        return Candidate(name, mode, not packed, prepare)


def start(case: Case) -> Family:
    """Runs on a GPU if PyTorch sees one, else on the CPU."""
    if missing is not None:
        raise NotInstalled(str(missing))
    require_gpu_build(torch.cuda.is_available(), "torch")
    peer = _Torch(case)
    chosen = case.options["torch"]  # "part": only what need not be compiled
    candidates = [peer.candidate("torch packed", packed=True, compiled=False, graph=True)]
    if chosen == "all":
        candidates += [
            peer.candidate("torch packed", packed=True, compiled=True, graph=True),
            peer.candidate("torch", packed=False, compiled=False, graph=False),
            peer.candidate("torch", packed=False, compiled=True, graph=True),
        ]
    if peer.gpu:
        device = torch.cuda.get_device_name()
        versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
        return Family(versions, device, candidates, torch.cuda.empty_cache)
    return Family(f"torch {torch.__version__}", "CPU", candidates)
