"""Prints, as `name=value` lines, where pip put oneDNN's headers and library. Run by onednn_configure.bzl and setup.py."""

import sys
from importlib import metadata
from pathlib import Path


def find_file(package: str, suffix: str) -> Path:
    """Returns the installed file of `package` whose path ends with `suffix`; raises FileNotFoundError that says what to install."""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"the Python package {package} is missing: run `make setup`, or pip install it") from None
    for file in distribution.files or ():
        path = Path(distribution.locate_file(file))
        if path.name == Path(suffix).name and path.resolve().parent.match(str(Path("*", suffix).parent)) and path.exists():
            return path.resolve().parent / path.name
    raise FileNotFoundError(f"the Python package {package} {distribution.version} does not hold {suffix}: reinstall it")


def find() -> dict[str, str]:
    """Returns the include folder and the library's path, named as the environment variables of onednn_configure.bzl."""
    header = find_file("onednn-devel-cpu-gomp", "include/oneapi/dnnl/dnnl.hpp")
    library = find_file("onednn-cpu-gomp", "lib/libdnnl.so.3")
    return {"TF_FASTBERT_ONEDNN_INCLUDE": str(header.parents[2]), "TF_FASTBERT_ONEDNN_LIBRARY": str(library)}


if __name__ == "__main__":
    try:
        for name, value in find().items():
            print(f"{name}={value}")
    except FileNotFoundError as error:
        sys.exit(str(error))
