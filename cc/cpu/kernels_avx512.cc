// The kernels for AVX-512 (F, BW, DQ, VL).
// The pragma comes after every header, so that no inline function of theirs is compiled for this instruction set.
#include "cc/cpu/kernels.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cc/cpu/float_types.h"

#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")

namespace tf_fastbert {
namespace cpu {
namespace {

constexpr int kLanes = 16;
constexpr int kTileRows = 8;

#include "cc/cpu/vector.inc"
#include "cc/cpu/convert_kernel.inc"
#include "cc/cpu/attention_kernel.inc"
#include "cc/cpu/layer_norm_kernel.inc"

}  // namespace

const Kernels& Avx512Kernels();
const Kernels& Avx512Kernels() {
  static constexpr Kernels kKernels = {Isa::kAvx512, Attention<float>, Attention<uint16_t>, LayerNorm,
                                       ToFloat,     FromFloat,        WriteOperand};
  return kKernels;
}

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // __x86_64__
