"""The modes of training and of running: which quantizers are on.

ft1, ft2 and ft3 are the ancestor's names of where fake quantizers stand in training; int8_mode 1, 2 and 3 run what they trained.
On are the quantizers at which our kernels round, which are fewer than the ancestor's:
- The attention is computed in the model's float type. The ancestor rounds query, key, value and the probabilities too, and
  probabilities in steps of 1/127 cost more accuracy than the inputs of all products together.
- Sums are rounded (ft2, ft3) where they leave for the residual stream, not those that a bias and an activation follow at once.
- Kernels have a range for each output channel in all modes, as that costs our kernels nothing; query, key and value share none.
  The ancestor's ft2 and ft3 have one range a kernel, which its checkpoints may go on to have.
So ft2 and ft3 are the same here. A quantizer that is off has a range all the same, as amaxList has a place for it.
"""

from __future__ import annotations

import dataclasses

# The four inputs of the six matrix products with weights.
PRODUCT_INPUTS = frozenset({"attention_input", "context", "intermediate_input", "output_input"})
# What is added to the residual stream.
RESIDUAL_SUMS = frozenset({"attention_output_sum", "output_sum"})


@dataclasses.dataclass(frozen=True)
class Mode:
    """How a layer is quantized.

    Attributes:
      name: ft1, ft2, ft3 or fp8.
      on: fields of the activations that are quantized.
      residual: the residual connections carry the quantized layer input and intermediate input.
      fp8: E4M3 numbers instead of int8, and one range a kernel.
    """

    name: str
    on: frozenset[str]
    residual: bool = False
    fp8: bool = False


FT1 = Mode("ft1", PRODUCT_INPUTS)
FT2 = Mode("ft2", PRODUCT_INPUTS | RESIDUAL_SUMS, residual=True)
FT3 = Mode("ft3", PRODUCT_INPUTS | RESIDUAL_SUMS, residual=True)
FP8 = Mode("fp8", PRODUCT_INPUTS, fp8=True)

BY_NAME = {mode.name: mode for mode in (FT1, FT2, FT3, FP8)}
QUANT_MODES = ("ft1", "ft2", "ft3")
# The flag --int8_mode -> the mode of training that belongs to it.
BY_INT8_MODE = {1: FT1, 2: FT2, 3: FT3}
