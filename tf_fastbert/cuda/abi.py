"""ctypes declarations of the C ABI in cuda/fastbert_cuda.h. Importing it loads nothing."""

from __future__ import annotations

import ctypes
import os
import pathlib
import threading

STATUS_NAMES = ("OK", "INVALID_ARGUMENT", "UNIMPLEMENTED", "OUT_OF_MEMORY", "INTERNAL")
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}
ACTIVATIONS = {"gelu_tanh": 0, "gelu_erf": 1, "relu": 2}
LAYER_NORMS = {"post": 0, "pre": 1}
PRECISIONS = {"default": 0, "tf32": 1}
QUANTIZATIONS = {"none": 0, "int8_mode1": 1, "int8_mode2": 2, "fp8": 3}
KERNELS = {"fastest": 0, "layers": 1, "fused": 2}
STEP_NAMES = (  # FastBertStepKind
    "nothing",
    "layout",
    "pack",
    "qkv",
    "attention",
    "attention_output",
    "layer_norm",
    "intermediate",
    "output",
)

WEIGHT_NAMES = (
    "query_kernel",
    "query_bias",
    "key_kernel",
    "key_bias",
    "value_kernel",
    "value_bias",
    "attention_output_kernel",
    "attention_output_bias",
    "attention_layer_norm_gamma",
    "attention_layer_norm_beta",
    "intermediate_kernel",
    "intermediate_bias",
    "output_kernel",
    "output_bias",
    "output_layer_norm_gamma",
    "output_layer_norm_beta",
)

RANGE_NAMES = (  # of one layer's quantizers: a number each
    "attention_input",
    "query_sum",
    "key_sum",
    "value_sum",
    "query",
    "key",
    "value",
    "softmax_input",
    "softmax_output",
    "context",
    "attention_output_sum",
    "intermediate_input",
    "intermediate_sum",
    "output_input",
    "output_sum",
    "next_input",
)
KERNEL_NAMES = tuple(name for name in WEIGHT_NAMES if name.endswith("kernel"))  # likewise, but one for each output channel


class FastBertError(RuntimeError):
    """A call of the C ABI failed; `status` is one of STATUS_NAMES."""

    def __init__(self, status: str, message: str):
        super().__init__(f"{status}: {message}")
        self.status = status


class Config(ctypes.Structure):
    """FastBertConfig."""

    _fields_ = [
        ("num_layers", ctypes.c_int32),
        ("num_heads", ctypes.c_int32),
        ("size_per_head", ctypes.c_int32),
        ("inner_size", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        ("activation", ctypes.c_int32),
        ("layer_norm", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("precision", ctypes.c_int32),
        ("all_layers", ctypes.c_int32),
        ("quantization", ctypes.c_int32),
        ("min_quantized_rows", ctypes.c_int32),
    ]


class LayerWeights(ctypes.Structure):
    """FastBertLayerWeights."""

    _fields_ = [(name, ctypes.c_void_p) for name in WEIGHT_NAMES]


class LayerRanges(ctypes.Structure):
    """FastBertLayerRanges; the pointers are to host memory."""

    _fields_ = [(name, ctypes.c_float) for name in RANGE_NAMES] + [(name, ctypes.c_void_p) for name in KERNEL_NAMES]


class Call(ctypes.Structure):
    """FastBertCall."""

    _fields_ = [
        ("input", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("batch", ctypes.c_int32),
        ("seq_len", ctypes.c_int32),
        ("sequence_length", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("remove_padding", ctypes.c_int32),
    ]


class Step(ctypes.Structure):
    """FastBertStep."""

    _fields_ = [("kind", ctypes.c_int32), ("layer", ctypes.c_int32), ("milliseconds", ctypes.c_float)]


class Versions(ctypes.Structure):
    """FastBertVersions."""

    _fields_ = [
        ("runtime", ctypes.c_int32),
        ("driver", ctypes.c_int32),
        ("cublaslt", ctypes.c_uint64),
        ("cublaslt_path", ctypes.c_char_p),
    ]


def weight_shape(name: str, hidden_size: int, inner_size: int) -> tuple[int, ...]:
    """The shape of the weight `name` of one layer."""
    if name.endswith("kernel"):
        shapes = {"intermediate_kernel": (hidden_size, inner_size), "output_kernel": (inner_size, hidden_size)}
        return shapes.get(name, (hidden_size, hidden_size))
    return (inner_size,) if name == "intermediate_bias" else (hidden_size,)


def library_path() -> pathlib.Path:
    """The library: TF_FASTBERT_CUDA_LIBRARY, or what Bazel built without TensorFlow, or else the op library, which has the same
    functions.

    Raises:
      ImportError: it is nowhere; the message says how to get it.
    """
    named = os.environ.get("TF_FASTBERT_CUDA_LIBRARY")
    if named:
        if not os.path.isfile(named):
            raise ImportError(f"TF_FASTBERT_CUDA_LIBRARY names {named}, which does not exist.")
        return pathlib.Path(named)
    package = pathlib.Path(__file__).resolve().parent.parent
    places = [
        package.parent / "bazel-bin" / "cuda" / "libfastbert_cuda.so",
        package / "libtf_fastbert.so",
        package.parent / "bazel-bin" / "libtf_fastbert.so",
    ]
    for place in places:
        if place.is_file():
            return place
    raise ImportError(
        f"The CUDA library was not found ({' or '.join(map(str, places))}): run `bazel build //cuda:libfastbert_cuda.so` or "
        "`make build` where nvcc is, or set TF_FASTBERT_CUDA_LIBRARY to the file."
    )


_POINTER, _I32, _SIZE = ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t
_FUNCTIONS = {
    "create": (_I32, [ctypes.POINTER(Config), ctypes.POINTER(_POINTER)]),
    "destroy": (None, [_POINTER]),
    "packed_bytes": (_SIZE, [_POINTER]),
    "pack_weights": (_I32, [_POINTER, ctypes.POINTER(LayerWeights), _POINTER, _POINTER, ctypes.POINTER(_POINTER)]),
    "pack_quantized_weights": (
        _I32,
        [_POINTER, ctypes.POINTER(LayerWeights), ctypes.POINTER(LayerRanges), _POINTER, _POINTER, ctypes.POINTER(_POINTER)],
    ),
    "runs_quantized": (_I32, [_POINTER, ctypes.c_int64]),
    "free_weights": (None, [_POINTER]),
    "workspace_bytes": (_SIZE, [_POINTER, _I32, _I32, _I32, _I32]),
    "forward": (_I32, [_POINTER, _POINTER, ctypes.POINTER(Call), _POINTER, _SIZE, _POINTER]),
    "choose_kernels": (_I32, [_POINTER, _I32]),
    "tune": (_I32, [_POINTER, _POINTER, _I32, _POINTER, _SIZE, _POINTER]),
    "profile": (
        _I32,
        [_POINTER, _POINTER, ctypes.POINTER(Call), _POINTER, _SIZE, _POINTER, ctypes.POINTER(Step), _I32, ctypes.POINTER(_I32)],
    ),
    "tuned_table": (_I32, [_POINTER, ctypes.c_char_p, _SIZE, ctypes.POINTER(_SIZE)]),
    "load_tuned_table": (_I32, [ctypes.c_char_p]),
    "last_error": (ctypes.c_char_p, []),
}

_lock = threading.Lock()
_library: ctypes.CDLL | None = None


def library() -> ctypes.CDLL:
    """The loaded library, with its functions' types set. Thread-safe.

    Raises:
      ImportError: there is none, it cannot be loaded, or it was built without CUDA.
    """
    global _library
    with _lock:
        if _library is None:
            path = library_path()
            if path.name == "libtf_fastbert.so":
                from tf_fastbert import ops  # it needs TensorFlow's own library

                ops.load_library()
            try:
                loaded = ctypes.CDLL(str(path))
            except OSError as error:
                raise ImportError(f"{path} cannot be loaded: {error}") from error
            if not hasattr(loaded, "fastbert_cuda_create"):
                raise ImportError(f"{path} was built without CUDA. Build it again where nvcc is.")
            for name, (result, arguments) in _FUNCTIONS.items():
                if hasattr(loaded, "fastbert_cuda_" + name):  # an older library lacks newer functions: whoever needs one fails
                    function = getattr(loaded, "fastbert_cuda_" + name)
                    function.restype, function.argtypes = result, arguments
            _library = loaded
        return _library


def check(status: int) -> None:
    """Raises FastBertError, with the library's message, if `status` is not OK."""
    if status != 0:
        raise FastBertError(STATUS_NAMES[status], library().fastbert_cuda_last_error().decode())


def tuned_table(encoder: ctypes.c_void_p) -> str:
    """What an encoder (its handle) has tuned, or taken from a loaded table, as text for load_tuned_table()."""
    needed = _SIZE()
    check(library().fastbert_cuda_tuned_table(encoder, None, 0, ctypes.byref(needed)))
    buffer = ctypes.create_string_buffer(needed.value)
    check(library().fastbert_cuda_tuned_table(encoder, buffer, needed.value, ctypes.byref(needed)))
    return buffer.value.decode()


def load_tuned_table(text: str) -> None:
    """Keeps such a text for the encoders of this process that are created afterwards.

    Raises:
      FastBertError: the text is damaged; the message names the line.
    """
    check(library().fastbert_cuda_load_tuned_table(text.encode()))
