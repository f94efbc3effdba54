// Chooses among the instruction sets' kernels.
#include "cc/cpu/kernels.h"

#include <algorithm>

#include "cc/cpu/bfloat16_attention.h"

namespace tf_fastbert {
namespace cpu {

const Kernels& BaselineKernels();
#if defined(__x86_64__)
const Kernels& Avx2Kernels();
const Kernels& Avx512Kernels();
#endif

const Kernels* KernelsFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &Avx2Kernels() : nullptr;
  if (isa == Isa::kAvx512) {
    const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return supported ? &Avx512Kernels() : nullptr;
  }
#endif
  return isa == Isa::kBaseline ? &BaselineKernels() : nullptr;
}

const Kernels& BestKernels() {
  static const Kernels* const best = [] {
    for (Isa isa : {Isa::kAvx512, Isa::kAvx2}) {
      if (const Kernels* kernels = KernelsFor(isa)) return kernels;
    }
    return KernelsFor(Isa::kBaseline);
  }();
  return *best;
}

size_t AttentionScratchBytes(int size_per_head) {
  // For the widest vectors: 32 columns per step, 8 rows per tile (see attention_kernel.inc for what each part holds).
  const size_t columns = (static_cast<size_t>(size_per_head) + 31) / 32 * 32;
  const size_t rows = kMaxQueriesPerTask + 8;
  const size_t floats = kKeyBlock * columns * 2 + rows * (columns + 2) + 8 * columns + 8 * (kKeyBlock + 16);
  const size_t bytes = std::max(floats * sizeof(float), Bfloat16AttentionScratchBytes(size_per_head));
  return (bytes + 255) / 256 * 256;
}

}  // namespace cpu
}  // namespace tf_fastbert
