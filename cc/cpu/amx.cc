// Detection of AMX; see amx.h.
#include "cc/cpu/amx.h"

#include "cc/cpu/onednn.h"
#include "cc/cpu/own_kernels.h"
#include "dnnl.hpp"

#if TF_FASTBERT_OWN_KERNELS
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tf_fastbert {
namespace cpu {

bool HasAmx() {
#if defined(TF_FASTBERT_EMULATE_AMX)
  return HasFastBFloat16();
#elif TF_FASTBERT_OWN_KERNELS
  static const bool has = [] {
    // oneDNN's bit masks contain those they build on: AVX512_BF16, AVX512_VNNI and the rest of AVX-512 are in it.
    const int needed = static_cast<int>(dnnl::cpu_isa::avx512_core_amx);
    if ((static_cast<int>(dnnl::get_effective_cpu_isa()) & needed) != needed) return false;
    constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return has;
#else
  return false;
#endif
}

}  // namespace cpu
}  // namespace tf_fastbert
