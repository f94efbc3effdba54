// The engine and the thread guard; see onednn.h.
#include "cc/cpu/onednn.h"

#include <omp.h>

#include "cc/cpu/own_kernels.h"

namespace tf_fastbert {
namespace cpu {

const dnnl::engine& CpuEngine() {
  // Never destroyed: streams of threads that outlive main() refer to it.
  static const dnnl::engine* const engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::stream& CpuStream() {
  thread_local dnnl::stream stream(CpuEngine());
  return stream;
}

SingleThreadedOpenMp::SingleThreadedOpenMp() : saved_(omp_get_max_threads()) {
  if (saved_ != 1) omp_set_num_threads(1);
}

SingleThreadedOpenMp::~SingleThreadedOpenMp() {
  if (saved_ != 1) omp_set_num_threads(saved_);
}

namespace {

// Instruction sets are bit masks that contain those they build on.
bool Has(dnnl::cpu_isa isa) {
  const int needed = static_cast<int>(isa);
  return (static_cast<int>(dnnl::get_effective_cpu_isa()) & needed) == needed;
}

}  // namespace

bool HasFastBFloat16() { return Has(dnnl::cpu_isa::avx512_core_bf16); }

bool HasAvx512() { return TF_FASTBERT_OWN_KERNELS && Has(dnnl::cpu_isa::avx512_core); }

bool HasAvx512Vnni() { return TF_FASTBERT_OWN_KERNELS && Has(dnnl::cpu_isa::avx512_core_vnni); }

bool HasFastInt8() { return Has(dnnl::cpu_isa::avx512_core_vnni) || Has(dnnl::cpu_isa::avx2_vnni); }

}  // namespace cpu
}  // namespace tf_fastbert
