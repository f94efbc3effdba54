// Attention in bfloat16 with AMX; the AttentionTask of kernels.h.
#ifndef TF_FASTBERT_CC_CPU_AMX_ATTENTION_H_
#define TF_FASTBERT_CC_CPU_AMX_ATTENTION_H_

#include <cstddef>

#include "cc/cpu/kernels.h"

namespace tf_fastbert {
namespace cpu {

// Query, key, value in bfloat16; task.context in tiles of kBFloat16 or kInt8; size_per_head a multiple of 32. Needs HasAmx().
void AmxAttention(const AttentionTask& task);

size_t AmxAttentionScratchBytes(int size_per_head);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_AMX_ATTENTION_H_
