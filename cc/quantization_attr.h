// The attrs of FastBertQuantizedEncoder that say how its layers are quantized.
#ifndef TF_FASTBERT_CC_QUANTIZATION_ATTR_H_
#define TF_FASTBERT_CC_QUANTIZATION_ATTR_H_

#include <string>

#include "absl/status/status.h"
#include "cc/encoder.h"
#include "tensorflow/core/framework/types.h"

namespace tf_fastbert {

// Reads `quantization` and sees that the kernels' type W fits it and T. Context: an OpKernelConstruction or an InferenceContext.
template <typename Context>
absl::Status ReadQuantization(Context* ctx, Quantization* quantization) {
  std::string mode;
  tensorflow::DataType type, kernel_type;
  absl::Status status = ctx->GetAttr("quantization", &mode);
  if (status.ok()) status = ctx->GetAttr("T", &type);
  if (status.ok()) status = ctx->GetAttr("W", &kernel_type);
  if (!status.ok()) return status;
  *quantization = mode == "fp8"          ? Quantization::kFp8
                  : mode == "int8_mode2" ? Quantization::kInt8Mode2
                                         : Quantization::kInt8Mode1;
  const tensorflow::DataType expected = *quantization == Quantization::kFp8 ? type : tensorflow::DT_INT8;
  if (kernel_type == expected) return status;
  return absl::InvalidArgumentError("the kernels are " + tensorflow::DataTypeString(kernel_type) +
                                    ", but quantization = " + mode + " takes " + tensorflow::DataTypeString(expected) + " ones" +
                                    (expected == type ? ", like hidden_states" : ""));
}

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_QUANTIZATION_ATTR_H_
