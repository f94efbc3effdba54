// The OpKernel of FastBertSpanLogits, the same for both devices: it checks the inputs and calls the backend.
#include <limits>
#include <string>

#include "cc/cpu_layer.h"
#include "cc/span_logits.h"
#include "cc/stream.h"
#include "cc/tensor_buffers.h"
#include "cc/valid_tokens.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_fastbert {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

enum Input { kHiddenStates, kWeights, kBias, kSequenceLength };

const void* Data(const Tensor& tensor) { return tensor.tensor_data().data(); }

absl::Status CheckShape(const char* name, const TensorShape& shape, const TensorShape& expected) {
  if (shape == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(std::string(name) + " has shape " + shape.DebugString() + ", expected " +
                                    expected.DebugString());
}

class SpanLogitsKernel : public tensorflow::OpKernel {
 public:
  SpanLogitsKernel(OpKernelConstruction* ctx, bool on_gpu) : OpKernel(ctx), on_gpu_(on_gpu) {
    tensorflow::DataType dtype, weights_dtype;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("T", &dtype));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("W", &weights_dtype));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("padding", &padding_));
    dtype_ = FromTensorFlow(dtype);
    weights_dtype_ = FromTensorFlow(weights_dtype);
  }

  void Compute(OpKernelContext* ctx) override { OP_REQUIRES_OK(ctx, NameOp(*this, Run(ctx))); }

 private:
  absl::Status Run(OpKernelContext* ctx) const {
    constexpr int64_t kMaxInt = std::numeric_limits<int>::max();
    const TensorShape& hidden = ctx->input(kHiddenStates).shape();
    if (hidden.dims() != 3 || hidden.dim_size(2) < 1 || hidden.dim_size(0) > kMaxInt || hidden.dim_size(1) > kMaxInt ||
        hidden.dim_size(2) > kMaxInt || (hidden.dim_size(1) > 0 && hidden.dim_size(0) > kMaxInt / hidden.dim_size(1))) {
      return absl::InvalidArgumentError("hidden_states has shape " + hidden.DebugString() +
                                        ", expected [batch, seq_len, hidden_size]");
    }
    TF_RETURN_IF_ERROR(CheckShape("weights", ctx->input(kWeights).shape(), TensorShape({2, hidden.dim_size(2)})));
    TF_RETURN_IF_ERROR(CheckShape("bias", ctx->input(kBias).shape(), TensorShape({2})));
    SpanLogitsCall call;
    call.batch = hidden.dim_size(0);
    call.seq_len = hidden.dim_size(1);
    call.hidden_size = hidden.dim_size(2);
    ValidTokens tokens;
    TF_RETURN_IF_ERROR(ReadValidTokens(ctx, ctx->input(kSequenceLength), call.batch, call.seq_len, &tokens));
    Tensor *start = nullptr, *end = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(0, {call.batch, call.seq_len}, &start));
    TF_RETURN_IF_ERROR(ctx->allocate_output(1, {call.batch, call.seq_len}, &end));
    if (start->NumElements() == 0) return absl::OkStatus();
    call.hidden_states = Data(ctx->input(kHiddenStates));
    call.weights = Data(ctx->input(kWeights));
    call.bias = Data(ctx->input(kBias));
    call.start_logits = start->flat<float>().data();
    call.end_logits = end->flat<float>().data();
    call.dtype = dtype_;
    call.weights_dtype = weights_dtype_;
    call.padding = padding_;
    call.sequence_length = tokens.sequence_length;
    call.mask = tokens.mask;
#ifdef TF_FASTBERT_CUDA
    if (on_gpu_) {
      call.stream = StreamOf(ctx, on_gpu_);
      return ToAbsl(RunCudaSpanLogits(call));
    }
#endif
    return RunOnCpu(ctx, CpuSpanLogitsWorkspaceBytes, RunCpuSpanLogits, call);
  }

  const bool on_gpu_;
  float padding_ = 0;
  DataType dtype_ = DataType::kFloat32;
  DataType weights_dtype_ = DataType::kFloat32;
};

class CpuKernel : public SpanLogitsKernel {
 public:
  explicit CpuKernel(OpKernelConstruction* ctx) : SpanLogitsKernel(ctx, /*on_gpu=*/false) {}
};

REGISTER_KERNEL_BUILDER(Name("FastBertSpanLogits").Device(tensorflow::DEVICE_CPU), CpuKernel);

#ifdef TF_FASTBERT_CUDA
class GpuKernel : public SpanLogitsKernel {
 public:
  explicit GpuKernel(OpKernelConstruction* ctx) : SpanLogitsKernel(ctx, /*on_gpu=*/true) {}
};

REGISTER_KERNEL_BUILDER(Name("FastBertSpanLogits").Device(tensorflow::DEVICE_GPU).HostMemory("sequence_length"), GpuKernel);
#endif

}  // namespace
}  // namespace tf_fastbert
