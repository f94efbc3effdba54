#include "cc/tensor_buffers.h"

#include <cstdint>
#include <string>

#include "tensorflow/core/platform/errors.h"

namespace tf_fastbert {

DataType FromTensorFlow(tensorflow::DataType dtype) {
  return dtype == tensorflow::DT_FLOAT  ? DataType::kFloat32
         : dtype == tensorflow::DT_HALF ? DataType::kFloat16
                                        : DataType::kBFloat16;
}

absl::Status ToAbsl(const Status& status) {
  switch (status.code) {
    case Status::kOk:
      return absl::OkStatus();
    case Status::kInvalidArgument:
      return absl::InvalidArgumentError(status.message);
    case Status::kUnimplemented:
      return absl::UnimplementedError(status.message);
    case Status::kResourceExhausted:
      return absl::ResourceExhaustedError(status.message);
    case Status::kInternal:
      return absl::InternalError(status.message);
  }
  return absl::InternalError(status.message);
}

absl::Status NameOp(const tensorflow::OpKernel& kernel, const absl::Status& status) {
  if (status.ok()) return status;
  return tensorflow::errors::CreateWithUpdatedMessage(status, kernel.type_string() + ": " + std::string(status.message()));
}

absl::Status AllocateAligned(tensorflow::OpKernelContext* ctx, size_t bytes, const char* what, tensorflow::Tensor* tensor,
                             void** data) {
  constexpr size_t kAlignment = 256;
  // TensorFlow's CPU allocator aligns to 64 bytes only.
  const tensorflow::TensorShape shape({static_cast<int64_t>(bytes + kAlignment)});
  const absl::Status status = ctx->allocate_temp(tensorflow::DT_UINT8, shape, tensor);
  if (!status.ok()) {
    return absl::ResourceExhaustedError("no memory for " + std::string(what) + " of " + std::to_string(bytes) +
                                        " bytes: " + std::string(status.message()));
  }
  const uintptr_t address = reinterpret_cast<uintptr_t>(tensor->flat<uint8_t>().data());
  *data = reinterpret_cast<void*>((address + kAlignment - 1) / kAlignment * kAlignment);
  return absl::OkStatus();
}

}  // namespace tf_fastbert
