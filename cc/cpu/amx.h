// What the AMX kernels (Intel, Sapphire Rapids and newer) share: are they there, and the tile registers' configuration.
#ifndef TF_FASTBERT_CC_CPU_AMX_H_
#define TF_FASTBERT_CC_CPU_AMX_H_

#include <cstddef>

namespace tf_fastbert {
namespace cpu {

// True where this build and this CPU have AMX with bfloat16 and int8 and AVX512_BF16, and the operating system lets the process
// use it (asked for on first use). DNNL_MAX_CPU_ISA is obeyed.
bool HasAmx();

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_AMX_H_
