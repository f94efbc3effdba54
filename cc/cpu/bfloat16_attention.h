// Attention in bfloat16; the AttentionTask of kernels.h.
#ifndef TF_FASTBERT_CC_CPU_BFLOAT16_ATTENTION_H_
#define TF_FASTBERT_CC_CPU_BFLOAT16_ATTENTION_H_

#include <cstddef>

#include "cc/cpu/kernels.h"

namespace tf_fastbert {
namespace cpu {

// Query, key, value in bfloat16; task.context of kBFloat16, kInt8 or (in tiles) kFloat32; size_per_head a multiple of 32. With AMX (needs HasAmx()) or
// AVX512_BF16 (needs HasFastBFloat16()).
void AmxAttention(const AttentionTask& task);
void Avx512Bfloat16Attention(const AttentionTask& task);

// Of either.
size_t Bfloat16AttentionScratchBytes(int size_per_head);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_BFLOAT16_ATTENTION_H_
