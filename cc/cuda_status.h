// Statuses and types between cc/encoder.h and the CUDA backend's C ABI.
#ifndef TF_FASTBERT_CC_CUDA_STATUS_H_
#define TF_FASTBERT_CC_CUDA_STATUS_H_

#include <string>
#include <utility>

#include "cc/encoder.h"
#include "cuda/fastbert_cuda.h"

namespace tf_fastbert {

inline Status FromCuda(FastBertStatus status) {
  if (status == FASTBERT_OK) return Status::Ok();
  std::string message = fastbert_cuda_last_error();
  switch (status) {
    case FASTBERT_INVALID_ARGUMENT: return Status::InvalidArgument(std::move(message));
    case FASTBERT_UNIMPLEMENTED: return Status::Unimplemented(std::move(message));
    case FASTBERT_OUT_OF_MEMORY: return Status::ResourceExhausted(std::move(message));
    default: return Status::Internal(std::move(message));
  }
}

inline FastBertDataType ToCuda(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat16: return FASTBERT_FLOAT16;
    case DataType::kBFloat16: return FASTBERT_BFLOAT16;
    default: return FASTBERT_FLOAT32;
  }
}

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CUDA_STATUS_H_
