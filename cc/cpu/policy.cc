// Chooses by the CPU's instruction sets; see policy.h.
#include "cc/cpu/policy.h"

#include "cc/cpu/amx.h"
#include "cc/cpu/avx512_gemm.h"
#include "cc/cpu/onednn.h"

namespace tf_fastbert {
namespace cpu {

Policy ChoosePolicy(const EncoderConfig& config) {
  const bool int8 = HasInt8Kernels(config), bfloat16 = !int8 && config.dtype == DataType::kBFloat16;
  const bool fits = config.hidden_size % 64 == 0 && config.inner_size % 64 == 0 && config.size_per_head % 32 == 0;
  const bool amx = fits && HasAmx(), avx512 = fits && !amx && HasAvx512();
  Policy policy;
  policy.operand.tiles = amx || avx512;
  const bool dot = HasFastBFloat16() && (amx || Bfloat16DotIsFast());
  // oneDNN has only a slow reference for int8 to bfloat16.
  const bool attend_in_bfloat16 = dot && (bfloat16 || (int8 && policy.operand.tiles));
  policy.attention = attend_in_bfloat16 ? DataType::kBFloat16 : DataType::kFloat32;
  if (int8 && (avx512 ? HasAvx512Vnni() : HasFastInt8())) {
    policy.operand.type = OperandType::kInt8;
  } else if (bfloat16 && avx512 && !dot) {
    policy.bfloat16_weights = true;
  } else if (bfloat16 && dot) {
    policy.operand.type = OperandType::kBFloat16;
  } else if (amx) {
    const bool exact = config.dtype == DataType::kFloat32 && config.precision == Precision::kFull;
    policy.operand.type = exact ? OperandType::kBFloat16x3 : OperandType::kBFloat16x2;
  }
  return policy;
}

}  // namespace cpu
}  // namespace tf_fastbert
