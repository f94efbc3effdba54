#include "cuda/encoder_checks.h"

#include <algorithm>
#include <cmath>

#include "cuda/attention.h"
#include "cuda/layer_norm.h"
#include "cuda/quantized_rows.h"
#include "cuda/quantized_weights.h"

namespace tf_fastbert {
namespace cuda {

std::string Named(const char* name, int64_t value) { return std::string(name) + " = " + std::to_string(value); }

Status CheckConfig(const FastBertConfig& c) {
  const auto at_least_1 = [](const char* name, int32_t value) {
    return value >= 1 ? Status::Ok() : Status::InvalidArgument(Named(name, value) + " must be at least 1");
  };
  FASTBERT_RETURN_IF_ERROR(at_least_1("num_layers", c.num_layers));
  FASTBERT_RETURN_IF_ERROR(at_least_1("num_heads", c.num_heads));
  FASTBERT_RETURN_IF_ERROR(at_least_1("size_per_head", c.size_per_head));
  FASTBERT_RETURN_IF_ERROR(at_least_1("inner_size", c.inner_size));
  if (c.size_per_head % 2 != 0) return Status::InvalidArgument(Named("size_per_head", c.size_per_head) + " must be even");
  if (c.size_per_head > kMaxHeadSize) {
    return Status::Unimplemented(Named("size_per_head", c.size_per_head) + " is above the largest supported, " +
                                 std::to_string(kMaxHeadSize));
  }
  const int64_t hidden = int64_t{c.num_heads} * c.size_per_head;
  if (hidden > kMaxHiddenSize) {
    return Status::Unimplemented(Named("hidden size num_heads * size_per_head", hidden) + " is above the largest supported, " +
                                 std::to_string(kMaxHiddenSize));
  }
  if (c.inner_size > (1 << 20)) {
    return Status::Unimplemented(Named("inner_size", c.inner_size) + " is above the largest supported, " +
                                 std::to_string(1 << 20));
  }
  if (!(c.epsilon >= 0.0f) || std::isinf(c.epsilon)) {
    return Status::InvalidArgument("epsilon = " + std::to_string(c.epsilon) + " must be a number of at least 0");
  }
  const auto known = [](const char* name, int32_t value, int32_t last) {
    return value >= 0 && value <= last ? Status::Ok()
                                       : Status::InvalidArgument(Named(name, value) + " is not one of the enum's values");
  };
  FASTBERT_RETURN_IF_ERROR(known("activation", c.activation, FASTBERT_RELU));
  FASTBERT_RETURN_IF_ERROR(known("layer_norm", c.layer_norm, FASTBERT_PRE_LAYER_NORM));
  FASTBERT_RETURN_IF_ERROR(known("dtype", c.dtype, FASTBERT_BFLOAT16));
  FASTBERT_RETURN_IF_ERROR(known("precision", c.precision, FASTBERT_PRECISION_TF32));
  FASTBERT_RETURN_IF_ERROR(known("quantization", c.quantization, FASTBERT_FP8));
  if (c.min_quantized_rows < 0) {
    return Status::InvalidArgument(Named("min_quantized_rows", c.min_quantized_rows) + " is negative");
  }
  return Status::Ok();
}

Status CheckPointer(const char* name, const void* pointer, uintptr_t alignment) {
  if (pointer == nullptr) return Status::InvalidArgument(std::string(name) + " is null");
  if (reinterpret_cast<uintptr_t>(pointer) % alignment == 0) return Status::Ok();
  return Status::InvalidArgument(std::string(name) + " is not " + std::to_string(alignment) + "-byte aligned");
}

// Below, the time goes into launches and into reading the weights. On an H100, BERT-base, ms a call: float16 0.45 at 640 rows, 0.55 at
// 1,024; mode 1, mode 2 and FP8 0.47, 0.48 and 0.47 at 768, 0.49, 0.49 and 0.48 at 1,024.
int MinQuantizedRows(const FastBertConfig& config, const Dimensions& d) {
  const int rows_of_base = HasInt8Stream(config) ? 896 : 768;
  return std::max(513, rows_of_base * 768 / d.hidden);
}

bool FitsQuantizedKernels(const FastBertConfig& config, const Dimensions& d) {
  return config.dtype != FASTBERT_FLOAT32 && d.head == d.padded_head && d.hidden % 32 == 0 && d.inner % 32 == 0 &&
         d.hidden <= kMaxQuantizedHiddenSize;
}

}  // namespace cuda
}  // namespace tf_fastbert
