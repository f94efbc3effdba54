"""@onednn: headers and library of the oneDNN that pip installed (onednn-cpu-gomp, onednn-devel-cpu-gomp)."""

load("//third_party/python:python.bzl", "PYTHON_ENV", "run_python")

# Set by setup.py, where pip puts the build requirements into an environment of their own.
_INCLUDE_ENV = "TF_FASTBERT_ONEDNN_INCLUDE"
_LIBRARY_ENV = "TF_FASTBERT_ONEDNN_LIBRARY"

_BUILD = """package(default_visibility = ["//visibility:public"])

cc_library(
    name = "onednn",
    srcs = ["libdnnl.so.3"],
    hdrs = glob(["include/*.h", "include/*.hpp", "include/oneapi/**"]),
    includes = ["include"],
)
"""

def _impl(ctx):
    include = ctx.os.environ.get(_INCLUDE_ENV, "")
    library = ctx.os.environ.get(_LIBRARY_ENV, "")
    if not include or not library:
        found = run_python(ctx, Label("//third_party/onednn:find_onednn.py"))
        include = found[_INCLUDE_ENV]
        library = found[_LIBRARY_ENV]

    # The headers one by one: in a virtual environment include/ also holds Python's.
    for name in ["oneapi"] + [path.basename for path in ctx.path(include).readdir() if path.basename.startswith("dnnl")]:
        ctx.symlink(include + "/" + name, "include/" + name)
    ctx.symlink(library, "libdnnl.so.3")
    ctx.file("BUILD", _BUILD)

onednn_configure = repository_rule(
    implementation = _impl,
    configure = True,
    environ = [PYTHON_ENV, _INCLUDE_ENV, _LIBRARY_ENV],
    local = True,
)
