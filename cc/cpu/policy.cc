// Chooses by the CPU's instruction sets; see policy.h.
#include "cc/cpu/policy.h"

#include "cc/cpu/amx.h"
#include "cc/cpu/onednn.h"

namespace tf_fastbert {
namespace cpu {

Policy ChoosePolicy(const EncoderConfig& config) {
  const bool int8 = HasInt8Kernels(config);
  Policy policy;
  policy.operand.tiles =
      config.hidden_size % 64 == 0 && config.inner_size % 64 == 0 && config.size_per_head % 32 == 0 && HasAmx();
  const bool bfloat16 = HasFastBFloat16() && (int8 || config.dtype == DataType::kBFloat16);
  policy.attention = bfloat16 ? DataType::kBFloat16 : DataType::kFloat32;
  if (int8 && HasFastInt8()) {
    policy.operand.type = OperandType::kInt8;
  } else if (policy.attention == DataType::kBFloat16) {
    policy.operand.type = OperandType::kBFloat16;
  } else if (policy.operand.tiles) {
    const bool exact = config.dtype == DataType::kFloat32 && config.precision == Precision::kFull;
    policy.operand.type = exact ? OperandType::kBFloat16x3 : OperandType::kBFloat16x2;
  }
  return policy;
}

}  // namespace cpu
}  // namespace tf_fastbert
