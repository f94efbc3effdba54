"""The implementations that benchmarks/cpu_encoder.py times; run by it, one family a process.

Reads one JSON object a line and answers with one: {"versions"}; {"check": name, "row": [B, S], "output": file} runs it once and
saves float32 [B, S, H]; {"time": name, "row": [B, S]} gives {"milliseconds"} of one call. {"failed": reason} if it cannot.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.case import Case, Row  # noqa: E402

STOCK = "TensorFlow float32"
CANDIDATES = {  # family -> names; a name's last word is its precision
    "tensorflow": (STOCK, "ours float32", "ours bfloat16", "ours int8"),
    "onnxruntime": ("ONNX Runtime float32", "ONNX Runtime dynamic int8"),
    "openvino": ("OpenVINO float32", "OpenVINO bfloat16"),
    "ctranslate2": ("CTranslate2 float32", "CTranslate2 bfloat16", "CTranslate2 int8"),
    "torch": ("torch float32", "torch bfloat16", "torch dynamic int8"),
    "torch_compile": ("torch.compile float32", "torch.compile bfloat16"),
    "native": ("ours without TensorFlow float32", "ours without TensorFlow bfloat16", "ours without TensorFlow int8"),
}

Run = Callable[[], np.ndarray]


class TensorFlow:
    """Google's graph in TensorFlow's operations, and the op."""

    def __init__(self, case: Case, threads: int):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self.tf = importlib.import_module("tensorflow")
        self.tf.config.threading.set_intra_op_parallelism_threads(threads)
        self.tf.config.threading.set_inter_op_parallelism_threads(1)
        self.case = case
        self.versions = f"TensorFlow {self.tf.__version__}"
        self.layers = self.variables("float32")

    def variables(self, dtype: str) -> list[Any]:
        from tf_fastbert.ops import LayerWeights

        tf = self.tf
        return [LayerWeights(**{n: tf.Variable(tf.cast(v, dtype)) for n, v in layer.items()}) for layer in self.case.layers]

    def prepare(self, name: str, row: Row) -> Run:
        from benchmarks.peers.tensorflow_peers import plain_encoder
        from tf_fastbert.ops import fast_bert_encoder, fast_bert_quantized_encoder

        tf = self.tf
        precision = name.split()[-1]
        lengths = np.array(row.lengths, np.int32)
        shape: dict[str, Any] = {"num_heads": self.case.num_heads, "size_per_head": self.case.size_per_head}
        x = tf.constant(self.case.input(row))
        no_autograph = functools.partial(tf.function, autograph=False)
        if name == STOCK:
            mask = tf.constant(np.where(row.mask(), 0, -10000)[:, None, None, :].astype(np.float32))
            function = no_autograph(lambda x: plain_encoder(x, mask, self.layers, self.case.num_heads))
        elif precision == "int8":
            layers, lists = self.quantize(row)
            shape["quantization"] = "int8_mode1"
            function = no_autograph(lambda x: fast_bert_quantized_encoder(x, lengths, layers, lists, **shape))
        else:
            layers = self.layers if precision == "float32" else self.variables(precision)
            x = tf.cast(x, precision)
            function = no_autograph(lambda x: fast_bert_encoder(x, lengths, layers, **shape))
        concrete = function.get_concrete_function(x)
        return lambda: concrete(x).numpy().astype(np.float32)

    def quantize(self, row: Row) -> tuple[list[Any], list[np.ndarray]]:
        """Kernels by output channel, inputs of the products by the largest values of this very batch."""
        from benchmarks.peers.tensorflow_peers import plain_encoder
        from tf_fastbert.quantization import amax_list, names

        tf = self.tf
        x = tf.constant(self.case.input(row))
        valid = row.mask()
        mask = tf.constant(np.where(valid, 0, -10000)[:, None, None, :].astype(np.float32))
        layers, lists = [], []
        for layer in self.layers:
            seen: dict[str, float] = {}
            values = plain_encoder(x, mask, [layer], self.case.num_heads, watch=lambda n, v: seen.update({n: _largest(v, valid)}))
            kernels, ranges = {}, {}
            for field in names.KERNELS:
                kernel = getattr(layer, field).numpy()
                ranges[field] = np.abs(kernel).max(axis=0)
                kernels[field] = tf.Variable(np.clip(np.round(kernel * (127 / ranges[field])), -127, 127).astype(np.int8))
            activations = {field: seen.get(field, 10.0) for field in names.ACTIVATIONS}
            layers.append(layer._replace(**kernels))
            lists.append(amax_list.build(activations, ranges, self.case.hidden_size, self.case.inner_size))
            x = values
        return layers, lists


def _largest(values: Any, valid: np.ndarray) -> float:
    """The largest absolute value of the valid tokens of [B, S, ...]."""
    return float(np.abs(values.numpy()[valid]).max())


class OnnxRuntime:
    """The model with fused operators, and what its dynamic quantization makes of it."""

    def __init__(self, case: Case, threads: int):
        self.runtime = importlib.import_module("onnxruntime")
        self.threads = threads
        self.case = case
        self.versions = f"ONNX Runtime {self.runtime.__version__}"
        self.model = make_onnx(case)

    def prepare(self, name: str, row: Row) -> Run:
        from benchmarks.peers.onnxruntime_peers import mask_index

        path = self.model
        if name.endswith("int8"):
            path = self.model.with_name("quantized.onnx")
            if not path.exists():
                quantization = importlib.import_module("onnxruntime.quantization")
                float_type = importlib.import_module("onnx").TensorProto.FLOAT
                # It cannot infer the types behind ONNX Runtime's own operators.
                options = {"DefaultTensorType": float_type}
                quantization.quantize_dynamic(str(self.model), str(path), per_channel=True, extra_options=options)
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = self.runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feeds = {"x": self.case.input(row), "mask_index": mask_index(row, starts=False)}
        return lambda: session.run(None, feeds)[0]


class OpenVino:
    """The model without ONNX Runtime's own operators."""

    def __init__(self, case: Case, threads: int):
        self.openvino = importlib.import_module("openvino")
        self.threads = threads
        self.case = case
        self.versions = f"OpenVINO {self.openvino.__version__.split('-')[0]}"

    def prepare(self, name: str, row: Row) -> Run:
        model = make_openvino(self.openvino, self.case, row)
        kind = {"float32": "f32", "bfloat16": "bf16"}[name.split()[-1]]
        config = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": self.threads, "PERFORMANCE_HINT": "LATENCY"}
        compiled = self.openvino.Core().compile_model(model, "CPU", config)
        request = compiled.create_infer_request()
        mask = np.where(row.mask(), 0, -10000)[:, None, None, :].astype(np.float32)
        feeds = [self.case.input(row), mask]
        return lambda: np.array(request.infer(feeds)[0])


def make_onnx(case: Case) -> pathlib.Path:
    """The encoder of benchmarks.peers.onnxruntime_peers as a file."""
    from benchmarks.peers.onnxruntime_peers import make_model

    path = case.folder / "model.onnx"
    path.write_bytes(make_model(case, packed=False))
    return path


def make_openvino(openvino: Any, case: Case, row: Row) -> Any:
    """Inputs: hidden states [B, S, H], additive mask [B, 1, 1, S]."""
    ops = importlib.import_module("openvino.opset14")
    batch, seq_len, hidden, heads, size = row.batch, row.seq_len, case.hidden_size, case.num_heads, case.size_per_head
    x = start = ops.parameter([batch, seq_len, hidden], np.float32)
    mask = ops.parameter([batch, 1, 1, seq_len], np.float32)

    def constant(value: Any, dtype: Any = np.float32) -> Any:
        return ops.constant(np.asarray(value, dtype))

    def dense(y: Any, w: dict[str, np.ndarray], name: str) -> Any:
        return ops.add(ops.matmul(y, constant(w[f"{name}_kernel"]), False, False), constant(w[f"{name}_bias"]))

    def norm(y: Any, w: dict[str, np.ndarray], name: str) -> Any:
        y = ops.mvn(y, constant([-1], np.int64), True, 1e-12, "INSIDE_SQRT")
        return ops.add(ops.multiply(y, constant(w[f"{name}_gamma"])), constant(w[f"{name}_beta"]))

    def split(y: Any) -> Any:
        y = ops.reshape(y, constant([batch, seq_len, heads, size], np.int64), False)
        return ops.transpose(y, constant([0, 2, 1, 3], np.int64))

    for w in case.layers:
        q, k, v = (split(dense(x, w, name)) for name in ("query", "key", "value"))
        scores = ops.multiply(ops.matmul(q, k, False, True), constant(size**-0.5))
        context = ops.matmul(ops.softmax(ops.add(scores, mask), 3), v, False, False)
        context = ops.transpose(context, constant([0, 2, 1, 3], np.int64))
        context = ops.reshape(context, constant([batch, seq_len, hidden], np.int64), False)
        x = norm(ops.add(x, dense(context, w, "attention_output")), w, "attention_layer_norm")
        inner = ops.gelu(dense(x, w, "intermediate"), "tanh")
        x = norm(ops.add(x, dense(inner, w, "output")), w, "output_layer_norm")
    return openvino.Model([x], [start, mask], "encoder")


FAMILIES = {"tensorflow": TensorFlow, "onnxruntime": OnnxRuntime, "openvino": OpenVino}
ELSEWHERE = {  # family -> module in benchmarks.peers, class
    "ctranslate2": ("ctranslate2_cpu", "CTranslate2"),
    "torch": ("torch_cpu", "Torch"),
    "torch_compile": ("torch_cpu", "Torch"),
    "native": ("native_cpu", "Native"),
}


def find_family(name: str) -> Any:
    """The class; raises ImportError where the peer is not installed."""
    if name in FAMILIES:
        return FAMILIES[name]
    module, class_name = ELSEWHERE[name]
    return getattr(importlib.import_module(f"benchmarks.peers.{module}"), class_name)


def answer(family: Any, runs: dict[tuple[str, int, int], Run], request: dict[str, Any]) -> dict[str, Any]:
    """Does what one line asks for."""
    if "versions" in request:
        return {"versions": family.versions}
    name = request.get("check") or request["time"]
    key = (name, *request["row"])
    if key not in runs:
        for other in [k for k in runs if k[1:] != key[1:]]:  # of rows that are done
            del runs[other]
        runs[key] = family.prepare(name, Row(*request["row"]))
    begin = time.perf_counter()
    output = runs[key]()
    milliseconds = 1e3 * (time.perf_counter() - begin)
    if "check" in request:
        np.save(request["output"], output)
    return {"milliseconds": milliseconds}


def main() -> None:
    name, folder, threads = sys.argv[1:]
    family: Any = None
    runs: dict[tuple[str, int, int], Run] = {}
    for line in sys.stdin:
        try:
            family = family or find_family(name)(Case.read(pathlib.Path(folder)), int(threads))
            reply = answer(family, runs, json.loads(line))
        except Exception as error:  # whatever a peer raises is its result; the other ones go on
            reply = {"failed": f"{type(error).__name__}: {(str(error).strip() or repr(error)).splitlines()[0][:200]}"}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
