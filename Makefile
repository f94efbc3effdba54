# `make help` lists the targets. Each sets up what it needs (tools/setup/setup.sh), so `make test` works on a fresh machine.
PYTHON_IN_VENV := .venv/bin/python
CKPT ?=
DATA ?=
VERSIONS ?=

.DEFAULT_GOAL := help
.PHONY: help setup build test squad test-versions wheels lint clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1|/' | awk -F'|' '{printf "make %-14s %s\n", $$1, $$2}'

setup:  ## compiler, Bazel (apt as root, else npm), .venv with the pinned packages
	@tools/setup/setup.sh

build: setup  ## bazel build //... and say what was built
	@set -e; bazel=$$(tools/setup/find_bazel.sh); $$bazel build //...
	@TF_CPP_MIN_LOG_LEVEL=3 $(PYTHON_IN_VENV) -c 'import tf_fastbert; print("built:", tf_fastbert.build_info())'

test: build  ## every test that needs no GPU
	@tools/setup/run_tests.sh

squad: build  ## fine-tune, then answer questions with the stock graph and with the op; CKPT=dir DATA=dev.json: your own, no training
	@$(PYTHON_IN_VENV) examples/squad_demo.py $(if $(CKPT),--checkpoint_dir="$(CKPT)") $(if $(DATA),--predict_file="$(DATA)")

test-versions: setup  ## build for and test with TensorFlow 2.15 and 2.20, each in an environment of its own
	@tools/setup/test_tensorflow_version.sh 2.15
	@tools/setup/test_tensorflow_version.sh 2.20

wheels:  ## a wheel for each TensorFlow into dist/, CPU and CUDA in one; VERSIONS="2.21 2.20": these only
	@tools/setup/build_wheels.sh $(VERSIONS)

lint: setup  ## ruff, mypy, and clang-format on the C++ files that it has been applied to
	@tools/setup/dev_tools.sh
	@tools/setup/lint.sh

clean:  ## remove what was built; the virtual environments stay
	@set -e; bazel=$$(tools/setup/find_bazel.sh); $$bazel clean
	@rm -rf build dist *.egg-info .work/asan-*
