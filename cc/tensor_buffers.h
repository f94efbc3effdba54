// Memory from TensorFlow's allocator, and types and errors between TensorFlow and cc/encoder.h.
#ifndef TF_FASTBERT_CC_TENSOR_BUFFERS_H_
#define TF_FASTBERT_CC_TENSOR_BUFFERS_H_

#include <cstddef>

#include "absl/status/status.h"
#include "cc/encoder.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_fastbert {

// float, half or bfloat16: what the ops' attribute T allows.
DataType FromTensorFlow(tensorflow::DataType dtype);

absl::Status ToAbsl(const Status& status);

// The status with the type of the kernel's op in front of its message.
absl::Status NameOp(const tensorflow::OpKernel& kernel, const absl::Status& status);

// `bytes` bytes of the device's memory, 256-byte aligned, alive as long as *tensor. `what` names them if there are not enough.
absl::Status AllocateAligned(tensorflow::OpKernelContext* ctx, size_t bytes, const char* what, tensorflow::Tensor* tensor,
                             void** data);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_TENSOR_BUFFERS_H_
