"""cuda_objects: compiles .cu files with nvcc, one action and one object a file, for the srcs of a cc_library."""

load("@local_config_cuda//:config.bzl", "CUDA_VERSION", "HAS_CUDA", "NVCC", "NVCC_GENCODE")

_FLAGS = [
    "-std=c++17",
    "-O3",
    "-I.",
    "--expt-relaxed-constexpr",
    "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall",
]

def _impl(ctx):
    if not HAS_CUDA:
        fail("%s needs nvcc, which was not found (or TF_FASTBERT_CUDA=0 is set)" % ctx.label)
    objects = []
    for src in ctx.files.srcs:
        output = ctx.actions.declare_file("%s/%s.pic.o" % (ctx.label.name, src.basename))
        arguments = ctx.actions.args()
        arguments.add_all(_FLAGS)
        arguments.add_all(NVCC_GENCODE)
        arguments.add_all(ctx.attr.copts)
        arguments.add("-c", src)
        arguments.add("-o", output)
        ctx.actions.run(
            executable = NVCC,
            arguments = [arguments],
            inputs = [src] + ctx.files.hdrs,
            outputs = [output],
            mnemonic = "CudaCompile",
            progress_message = "Compiling %s with nvcc %s" % (src.short_path, CUDA_VERSION),
            use_default_shell_env = True,
        )
        objects.append(output)
    return [DefaultInfo(files = depset(objects))]

cuda_objects = rule(
    implementation = _impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".cu"]),
        "hdrs": attr.label_list(allow_files = [".h", ".cuh"]),
        "copts": attr.string_list(),
    },
)
