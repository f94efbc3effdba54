// The kernels for any CPU: four-lane vectors, which g++ maps to SSE2, NEON or plain code.

#include "cc/cpu/kernels.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cc/cpu/float_types.h"

namespace tf_fastbert {
namespace cpu {
namespace {

constexpr int kLanes = 4;
constexpr int kTileRows = 4;

#include "cc/cpu/vector.inc"
#include "cc/cpu/convert_kernel.inc"
#include "cc/cpu/attention_kernel.inc"
#include "cc/cpu/layer_norm_kernel.inc"

}  // namespace

const Kernels& BaselineKernels();
const Kernels& BaselineKernels() {
  static constexpr Kernels kKernels = {Isa::kBaseline, Attention<float>, Attention<uint16_t>, LayerNorm,
                                       ToFloat,     FromFloat,        WriteOperand};
  return kKernels;
}

}  // namespace cpu
}  // namespace tf_fastbert
