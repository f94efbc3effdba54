// LayerNorm into operands in tiles; see tiles_layer_norm.h. As layer_norm_kernel.inc, with conversions in registers.
#include "cc/cpu/tiles_layer_norm.h"

#include <cmath>

#include "cc/cpu/float_types.h"
#include "cc/cpu/own_kernels.h"

#if TF_FASTBERT_OWN_KERNELS
#include <immintrin.h>
// g++ 12 finds its own intrinsics' "undefined" values uninitialized.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")

namespace tf_fastbert {
namespace cpu {
namespace {

#include "cc/cpu/vector512.inc"

template <OperandType kType>
void Normalize(const LayerNormTask& task) {
  for (int row = 0; row < task.rows; ++row) {
    const int64_t offset = static_cast<int64_t>(row) * task.width;
    const float* x = task.x + offset;
    __m512 sums[4] = {};
    for (int i = 0; i < task.width; i += 64) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) sums[j] = _mm512_add_ps(sums[j], _mm512_loadu_ps(x + i + 16 * j));
    }
    const auto total = [&] {
      return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
    };
    const __m512 mean = _mm512_set1_ps(total() / task.width);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sums[j] = _mm512_setzero_ps();
    for (int i = 0; i < task.width; i += 64) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const __m512 difference = _mm512_sub_ps(_mm512_loadu_ps(x + i + 16 * j), mean);
        sums[j] = _mm512_fmadd_ps(difference, difference, sums[j]);
      }
    }
    const __m512 inverse = _mm512_set1_ps(1.0f / std::sqrt(total() / task.width + task.epsilon));
    for (int i = 0; i < task.width; i += 32) {
      _mm_prefetch(x + task.width + i, _MM_HINT_T0);  // the next row
      _mm_prefetch(x + task.width + i + 16, _MM_HINT_T0);
      const auto normalized = [&](int at) {
        const __m512 scaled = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + at), mean), inverse);
        return _mm512_fmadd_ps(scaled, _mm512_loadu_ps(task.gamma + at), _mm512_loadu_ps(task.beta + at));
      };
      const __m512 low = normalized(i), high = normalized(i + 16);
      if (task.out != nullptr) {
        _mm512_storeu_ps(task.out + offset + i, low);
        _mm512_storeu_ps(task.out + offset + i + 16, high);
      }
      StoreOperand<kType>(OperandAddress(*task.operand, task.operand_row + row, i), low, high, task.operand->scale);
    }
  }
}

}  // namespace

void TilesLayerNorm(const LayerNormTask& task) {
  switch (task.operand->format.type) {
    case OperandType::kFloat32:
      return Normalize<OperandType::kFloat32>(task);
    case OperandType::kInt8:
      return Normalize<OperandType::kInt8>(task);
    case OperandType::kBFloat16x2:
      return Normalize<OperandType::kBFloat16x2>(task);
    case OperandType::kBFloat16x3:
      return Normalize<OperandType::kBFloat16x3>(task);
    default:
      return Normalize<OperandType::kBFloat16>(task);
  }
}

}  // namespace cpu
}  // namespace tf_fastbert

#else

namespace tf_fastbert {
namespace cpu {

// Never called: HasAvx512() is false.
void TilesLayerNorm(const LayerNormTask&) {}

}  // namespace cpu
}  // namespace tf_fastbert

#endif
