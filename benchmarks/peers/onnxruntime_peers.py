"""ONNX Runtime with the fused operators that its transformers optimizer makes: Attention or PackedAttention,
SkipLayerNormalization, FastGelu. On a GPU the times are by CUDA events on a stream of ours that it is told to use; with a CUDA
graph where it can be captured (a packed pass cannot: its token count is read on the host).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Row
from benchmarks.peers.worker import Candidate, Family, NotApplicable, NotInstalled, Prepared, require_gpu_build, wall_ms

try:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    missing: Exception | None = error
else:
    missing = None

_DOMAIN = "com.microsoft"


def make_model(case: Case, packed: bool) -> bytes:
    """The encoder as a serialized ONNX model.

    Inputs: "x", [B, S, H] or packed [T, H]; then "mask_index", int32, in a form that Attention knows; or, packed, "token_offset",
    int32 [B, S], and "ends", int32 [B + 1]. Output: "y", like x.
    """
    nodes, weights = [], []
    tensor_type = TensorProto.FLOAT16 if case.dtype == "float16" else TensorProto.FLOAT

    def node(op: str, inputs: list[str], output: str, domain: str = _DOMAIN, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attributes))
        return output

    def initializer(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    x = "x"
    for i, layer in enumerate(case.layers):
        w = {
            name: initializer(f"{i}_{name}", value)
            for name, value in layer.items()
            if name.split("_")[0] not in ("query", "key", "value")
        }
        qkv_kernel = initializer(f"{i}_qkv_kernel", np.concatenate([layer[f"{n}_kernel"] for n in ("query", "key", "value")], 1))
        qkv_bias = initializer(f"{i}_qkv_bias", np.concatenate([layer[f"{n}_bias"] for n in ("query", "key", "value")]))
        if packed:
            inputs = [x, qkv_kernel, qkv_bias, "token_offset", "ends"]
            context = node("PackedAttention", inputs, f"{i}_context", num_heads=case.num_heads)
        else:
            context = node("Attention", [x, qkv_kernel, qkv_bias, "mask_index"], f"{i}_context", num_heads=case.num_heads)

        def skip_norm(y: str, skip: str, bias: str, norm: str, output: str, w: dict[str, str] = w) -> str:
            inputs = [y, skip, w[f"{norm}_gamma"], w[f"{norm}_beta"], w[bias]]
            return node("SkipLayerNormalization", inputs, output, epsilon=1e-12)

        y = node("MatMul", [context, w["attention_output_kernel"]], f"{i}_projection", "")
        x = skip_norm(y, x, "attention_output_bias", "attention_layer_norm", f"{i}_middle")
        y = node("MatMul", [x, w["intermediate_kernel"]], f"{i}_inner", "")
        y = node("FastGelu", [y, w["intermediate_bias"]], f"{i}_gelu")
        y = node("MatMul", [y, w["output_kernel"]], f"{i}_output", "")
        last = i + 1 == len(case.layers)
        x = skip_norm(y, x, "output_bias", "output_layer_norm", "y" if last else f"{i}_end")

    shape = ["T", case.hidden_size] if packed else ["B", "S", case.hidden_size]
    indices = {"token_offset": ["B", "S"], "ends": ["E"]} if packed else {"mask_index": ["M"]}
    inputs = [helper.make_tensor_value_info("x", tensor_type, shape)]
    inputs += [helper.make_tensor_value_info(name, TensorProto.INT32, sizes) for name, sizes in indices.items()]
    graph = helper.make_graph(nodes, "encoder", inputs, [helper.make_tensor_value_info("y", tensor_type, shape)], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def mask_index(row: Row, starts: bool) -> np.ndarray:
    """Attention's int32 mask: lengths [B]; with `starts` [3B + 2], lengths and where each sequence's queries and keys start."""
    lengths = np.array(row.lengths, np.int32)
    if not starts:
        return lengths
    where = np.arange(row.batch + 1, dtype=np.int32) * row.seq_len
    return np.concatenate([lengths, where, where])


def packed_indices(row: Row) -> dict[str, np.ndarray]:
    """PackedAttention's indices: the rows of the tokens, then those of the padding; and where each sequence ends."""
    valid = row.mask().reshape(-1)
    rows = np.concatenate([np.flatnonzero(valid), np.flatnonzero(~valid)]).astype(np.int32)
    ends = np.concatenate([[0], np.cumsum(row.lengths)]).astype(np.int32)
    return {"token_offset": rows.reshape(row.batch, row.seq_len), "ends": ends}


class _OnnxRuntime:
    def __init__(self, case: Case):
        self.case = case
        self.gpu = None
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            from tf_fastbert.cuda.driver import Gpu

            self.gpu = Gpu()
        self.models: dict[bool, bytes] = {}

    def session(self, packed: bool, graph: bool) -> Any:
        if packed not in self.models:
            self.models[packed] = make_model(self.case, packed)
        providers: list[Any] = ["CPUExecutionProvider"]
        if self.gpu is not None:
            options = {"user_compute_stream": str(self.gpu.stream.value), "use_tf32": "1" if self.case.dtype == "tf32" else "0"}
            if graph:
                options["enable_cuda_graph"] = "1"
            providers.insert(0, ("CUDAExecutionProvider", options))
        return onnxruntime.InferenceSession(self.models[packed], providers=providers)

    def candidate(self, mode: str, packed: bool, starts: bool = False, graph: bool = False) -> Candidate:
        def prepare(row: Row) -> Prepared:
            if self.case.dtype == "bfloat16":
                raise NotApplicable("its fused operators have no bfloat16")
            if self.gpu is None and (packed or starts):
                raise NotApplicable("a CUDA operator")
            x = self.case.input(row)
            feeds = {"x": x[row.mask()] if packed else x}
            feeds |= packed_indices(row) if packed else {"mask_index": mask_index(row, starts)}
            session = self.session(packed, graph)
            if self.gpu is None:
                return Prepared(
                    lambda: session.run(None, feeds)[0].astype(np.float32), lambda: wall_ms(lambda: session.run(None, feeds))
                )
            values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value, "cuda", 0) for name, value in feeds.items()}
            result = onnxruntime.OrtValue.ortvalue_from_numpy(np.full_like(feeds["x"], np.nan), "cuda", 0)
            binding = session.io_binding()
            for name, value in values.items():
                binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output("y", result)
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")

            def run() -> None:
                session.run_with_iobinding(binding, options)

            def output() -> np.ndarray:
                for _ in range(3):  # it warms up, captures, replays
                    run()
                self.gpu.synchronize()
                return result.numpy().astype(np.float32)

            # `values` must outlive the binding's use.
            return Prepared(output, lambda values=values: self.gpu.median_ms(run), lambda values=values: self.gpu.burst_ms(run))

        return Candidate("ORT packed" if packed else "ORT", mode, not packed, prepare)


def start(case: Case) -> Family:
    """On a GPU if ONNX Runtime was built for it, else on the CPU."""
    if missing is not None:
        raise NotInstalled(str(missing))
    require_gpu_build("CUDAExecutionProvider" in onnxruntime.get_available_providers(), "onnxruntime")
    peer = _OnnxRuntime(case)
    candidates = [peer.candidate("lengths", packed=False)]
    if peer.gpu is not None:
        candidates = [
            peer.candidate("lengths, CUDA graph", packed=False, graph=True),
            peer.candidate("lengths and starts, CUDA graph", packed=False, starts=True, graph=True),
            peer.candidate("calls", packed=True),
        ]
    device = peer.gpu.name if peer.gpu is not None else "CPU"
    return Family(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}", device, candidates)
