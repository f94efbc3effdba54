// The kernels for AVX2 with FMA.
// The pragma comes after every header, so that no inline function of theirs is compiled for this instruction set.
#include "cc/cpu/kernels.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cc/cpu/float_types.h"

#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")

namespace tf_fastbert {
namespace cpu {
namespace {

constexpr int kLanes = 8;
constexpr int kTileRows = 6;

#include "cc/cpu/vector.inc"
#include "cc/cpu/convert_kernel.inc"
#include "cc/cpu/attention_kernel.inc"
#include "cc/cpu/layer_norm_kernel.inc"

}  // namespace

const Kernels& Avx2Kernels();
const Kernels& Avx2Kernels() {
  static constexpr Kernels kKernels = {Isa::kAvx2, Attention<float>, Attention<uint16_t>, LayerNorm,
                                       ToFloat,     FromFloat,        WriteOperand};
  return kKernels;
}

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // __x86_64__
