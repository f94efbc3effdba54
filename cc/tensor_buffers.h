// Memory from TensorFlow's allocator, and errors as TensorFlow wants them.
#ifndef TF_FASTBERT_CC_TENSOR_BUFFERS_H_
#define TF_FASTBERT_CC_TENSOR_BUFFERS_H_

#include <cstddef>

#include "absl/status/status.h"
#include "cc/encoder.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_fastbert {

absl::Status ToAbsl(const Status& status);

// `bytes` bytes of the device's memory, 256-byte aligned, alive as long as *tensor. `what` names them if there are not enough.
absl::Status AllocateAligned(tensorflow::OpKernelContext* ctx, size_t bytes, const char* what, tensorflow::Tensor* tensor,
                             void** data);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_TENSOR_BUFFERS_H_
