"""@local_config_cuda: nvcc, the CUDA runtime and the GPUs to compile for, or a CPU-only stand-in where there is no nvcc.

Environment:
  TF_FASTBERT_CUDA        0: build without CUDA; 1: fail without nvcc; unset: with CUDA if nvcc is found.
  TF_FASTBERT_CUDA_ARCHS  what to compile for, e.g. "sm_75;sm_90a;ptx" ("ptx": also PTX for the first of them, which newer GPUs
                          compile when they load it).
  CUDA_HOME               where to look for CUDA before /usr/local/cuda; nvcc on the PATH comes first.
"""

_SWITCH_ENV = "TF_FASTBERT_CUDA"
_ARCHS_ENV = "TF_FASTBERT_CUDA_ARCHS"
_HOME_ENV = "CUDA_HOME"
_DEFAULT_ARCHS = "sm_80;sm_90a;ptx"

_BUILD = """package(default_visibility = ["//visibility:public"])

cc_library(
    name = "cudart",
    srcs = ["libcudart_static.a"],
    hdrs = glob(["include/*.h", "include/*.hpp", "include/crt/**", "include/nvtx3/**", "include/nv/**"]),
    includes = ["include"],
    linkopts = ["-ldl", "-lpthread", "-lrt"],
)
"""

# Nothing that `bazel build //...` builds without CUDA depends on this.
_BUILD_WITHOUT_CUDA = """package(default_visibility = ["//visibility:public"])

cc_library(name = "cudart")
"""

_CONFIG = """\"\"\"What cuda_configure.bzl found.\"\"\"

HAS_CUDA = {has_cuda}
CUDA_ARCHS = "{archs}"
CUDA_VERSION = "{version}"
NVCC = "{nvcc}"
NVCC_GENCODE = {gencode}

def if_cuda(with_cuda, without_cuda = []):
    return with_cuda if HAS_CUDA else without_cuda
"""

def _find_nvcc(ctx):
    found = ctx.which("nvcc")
    if found:
        return found
    for home in [ctx.os.environ.get(_HOME_ENV, ""), "/usr/local/cuda"]:
        if home and ctx.path(home + "/bin/nvcc").exists:
            return ctx.path(home + "/bin/nvcc")
    return None

def _gencode(archs):
    flags = []
    first = None
    for arch in archs:
        number = arch[len("sm_"):]
        if arch == "ptx":
            number = (first or "80").rstrip("af")
            flags.append("-gencode=arch=compute_%s,code=compute_%s" % (number, number))
        elif arch.startswith("sm_") and number.rstrip("af").isdigit():
            first = first or number
            flags.append("-gencode=arch=compute_%s,code=sm_%s" % (number, number))
        else:
            fail("%s: \"%s\" is neither sm_NN nor ptx; an example: %s" % (_ARCHS_ENV, arch, _DEFAULT_ARCHS))
    return flags

def _impl(ctx):
    switch = ctx.os.environ.get(_SWITCH_ENV, "")
    nvcc = None if switch == "0" else _find_nvcc(ctx)
    if not nvcc:
        if switch == "1":
            fail("%s=1, but no nvcc on the PATH, in %s or in /usr/local/cuda" % (_SWITCH_ENV, _HOME_ENV))
        ctx.file("BUILD", _BUILD_WITHOUT_CUDA)
        ctx.file("config.bzl", _CONFIG.format(has_cuda = False, archs = "", version = "", nvcc = "", gencode = []))
        print("tf_fastbert: CPU only (%s)" % ("%s=0" % _SWITCH_ENV if switch == "0" else "no nvcc found"))
        return

    # nvcc itself knows where its toolkit is; the one on the PATH may be a link or a wrapper.
    dry_run = ctx.execute([nvcc, "--dryrun", "-E", "-x", "cu", "/dev/null"])
    top = [line[len("#$ TOP="):] for line in dry_run.stderr.split("\n") if line.startswith("#$ TOP=")]
    if dry_run.return_code != 0 or not top:
        fail("%s does not work: %s" % (nvcc, dry_run.stderr))
    home = ctx.path(top[0])
    for lib in ["lib64", "lib", "targets/x86_64-linux/lib"]:
        cudart = home.get_child(lib).get_child("libcudart_static.a")
        if cudart.exists:
            break
    if not cudart.exists:
        fail("%s has no libcudart_static.a; install the CUDA runtime's static library, or set %s=0" % (home, _SWITCH_ENV))
    ctx.symlink(cudart, "libcudart_static.a")
    ctx.symlink(home.get_child("include"), "include")

    release = ctx.execute([nvcc, "--version"]).stdout
    version = release[release.index("release ") + len("release "):].split(",")[0]
    archs = [arch.strip() for arch in (ctx.os.environ.get(_ARCHS_ENV, "") or _DEFAULT_ARCHS).replace(",", ";").split(";")]
    ctx.file("BUILD", _BUILD)
    ctx.file("config.bzl", _CONFIG.format(
        has_cuda = True,
        archs = ";".join(archs),
        version = version,
        nvcc = nvcc,
        gencode = repr(_gencode(archs)),
    ))
    print("tf_fastbert: with CUDA %s (%s) for %s" % (version, nvcc, ";".join(archs)))

cuda_configure = repository_rule(
    implementation = _impl,
    configure = True,
    environ = [_SWITCH_ENV, _ARCHS_ENV, _HOME_ENV, "PATH"],
    local = True,
)
