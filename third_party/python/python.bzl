"""Which Python the repository rules ask for the packages installed with pip."""

PYTHON_ENV = "PYTHON_BIN_PATH"

def python_bin(ctx):
    """The path of the Python to build for: PYTHON_BIN_PATH, else the workspace's .venv, else python3 of the PATH."""
    path = ctx.os.environ.get(PYTHON_ENV, "")
    if path:
        if not ctx.path(path).exists:
            fail("%s=%s: no such file" % (PYTHON_ENV, path))
        return path
    venv = ctx.path(Label("//:WORKSPACE")).dirname.get_child(".venv").get_child("bin").get_child("python")
    if venv.exists:
        return str(venv)
    path = ctx.which("python3")
    if not path:
        fail("no Python found: run `make setup`, or set %s" % PYTHON_ENV)
    return str(path)

def run_python(ctx, script):
    """Runs `script` (a Label) and returns the `name=value` lines of its output as a dict."""
    python = python_bin(ctx)
    environment = {
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    result = ctx.execute([python, str(ctx.path(script))], environment = environment, quiet = True)
    if result.return_code != 0:
        fail("%s (chosen by %s, .venv or PATH): %s" % (python, PYTHON_ENV, result.stderr.strip().split("\n")[-1]))
    lines = [line.split("=", 1) for line in result.stdout.strip().split("\n")]
    return {line[0]: line[1] for line in lines if len(line) == 2}
