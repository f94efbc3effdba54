"""Prints, as `name=value` lines, what a build against the TensorFlow of this Python needs. Run by tensorflow_configure.bzl."""

import sys

try:
    import tensorflow as tf
except ImportError as error:
    sys.exit(f"cannot import tensorflow ({error}): run `make setup`, or set PYTHON_BIN_PATH to a Python that has it")

major, minor = (int(part) for part in tf.__version__.split(".")[:2])
print(f"version={tf.__version__}")
print(f"major_minor={major * 100 + minor}")
print(f"include={tf.sysconfig.get_include()}")
print(f"library={tf.sysconfig.get_lib()}/libtensorflow_framework.so.2")
# Without -I, which the rule's own include path replaces.
print("copts=" + " ".join(flag for flag in tf.sysconfig.get_compile_flags() if not flag.startswith("-I")))
