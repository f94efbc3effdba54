"""@local_config_tf: headers, framework library and compiler flags of a TensorFlow installed with pip."""

load("//third_party/python:python.bzl", "PYTHON_ENV", "run_python")

# An op needs about 700 of the 10 000 headers that TensorFlow ships; more would make Bazel slow.
_HEADERS = [
    "include/tensorflow/core/*.h",
    "include/tensorflow/core/common_runtime/composite_device.h",
    "include/tensorflow/core/common_runtime/device_set.h",
    "include/tensorflow/core/common_runtime/dma_helper.h",
    "include/tensorflow/core/common_runtime/optimization_registry.h",
    "include/tensorflow/core/config/**/*.h",
    "include/tensorflow/core/example/**/*.h",
    "include/tensorflow/core/framework/**/*.h",
    "include/tensorflow/core/graph/**/*.h",
    "include/tensorflow/core/lib/**/*.h",
    "include/tensorflow/core/platform/**/*.h",
    "include/tensorflow/core/protobuf/**/*.h",
    "include/tensorflow/core/public/**/*.h",
    "include/tensorflow/core/util/**/*.h",
    "include/tensorflow/tsl/**/*.h",
    "include/tensorflow/compiler/xla/*.h",
    "include/tensorflow/compiler/xla/stream_executor/**/*.h",
    "include/tsl/**/*.h",
    "include/xla/*.h",
    "include/xla/stream_executor/**/*.h",
    "include/xla/tsl/**/*.h",
    "include/absl/**/*.h",
    "include/absl/**/*.inc",
    "include/google/protobuf/**/*.h",
    "include/google/protobuf/**/*.inc",
    "include/ml_dtypes/**/*.h",
    "include/Eigen/**",
    "include/unsupported/**",
    "include/third_party/eigen3/**",
]

_BUILD = """package(default_visibility = ["//visibility:public"])

cc_library(
    name = "headers",
    hdrs = glob({headers}),
    includes = ["include"],
)

cc_library(
    name = "framework",
    srcs = ["libtensorflow_framework.so.2"],
)
"""

_CONFIG = """\"\"\"What find_tensorflow.py found.\"\"\"

TF_VERSION = "{version}"
TF_COPTS = {copts}

# TF_FASTBERT_TF_VERSION: 215 for TensorFlow 2.15, 221 for 2.21.
TF_DEFINES = ["TF_FASTBERT_TF_VERSION={major_minor}", "TF_FASTBERT_TF_VERSION_STRING='\\"{version}\\"'"]
"""

def _impl(ctx):
    found = run_python(ctx, Label("//third_party/tensorflow:find_tensorflow.py"))
    ctx.symlink(found["include"], "include")
    ctx.symlink(found["library"], "libtensorflow_framework.so.2")
    ctx.file("BUILD", _BUILD.format(headers = repr(_HEADERS)))
    ctx.file("config.bzl", _CONFIG.format(
        version = found["version"],
        copts = repr(found["copts"].split(" ")),
        major_minor = found["major_minor"],
    ))

tensorflow_configure = repository_rule(
    implementation = _impl,
    configure = True,
    environ = [PYTHON_ENV],
    local = True,
)
