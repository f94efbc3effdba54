"""The op against the float64 reference on random configurations. tests/gpu has larger ones."""

from __future__ import annotations

import pytest

from tests.op_runner import as_arrays, run_op
from tests.random_configs import check_output, make_inputs, random_config


@pytest.mark.parametrize("seed", range(60))
def test_random_config(seed: int, device: str) -> None:
    config = random_config(seed, small=True)
    print(config)
    inputs = make_inputs(config)
    # Both ways to know that weights have not changed.
    layers = as_arrays(inputs) if seed % 3 == 0 else None
    check_output(config, inputs, run_op(config, inputs, device, layers))
