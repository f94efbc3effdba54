// The OpKernel of FastBertEmbedding, the same for both devices: it checks the inputs and calls the backend.
#include <limits>
#include <string>

#include "cc/cpu_layer.h"
#include "cc/embedding.h"
#include "cc/stream.h"
#include "cc/tensor_buffers.h"
#include "cc/valid_tokens.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_fastbert {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

enum Input { kInputIds, kTokenTypeIds, kWords, kPositions, kTokenTypes, kGamma, kBeta, kSequenceLength };
constexpr const char* kNames[] = {"input_ids",           "token_type_ids", "word_embeddings", "position_embeddings",
                                  "token_type_embeddings", "gamma",          "beta"};

const void* Data(const Tensor& tensor) { return tensor.tensor_data().data(); }

absl::Status Wrong(OpKernelContext* ctx, Input input, const std::string& expected) {
  return absl::InvalidArgumentError(std::string(kNames[input]) + " has shape " + ctx->input(input).shape().DebugString() +
                                    ", expected " + expected);
}

class EmbeddingKernel : public tensorflow::OpKernel {
 public:
  EmbeddingKernel(OpKernelConstruction* ctx, bool on_gpu) : OpKernel(ctx), on_gpu_(on_gpu) {
    tensorflow::DataType dtype;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("T", &dtype));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &epsilon_));
    int num_lengths = 0;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_lengths", &num_lengths));
    OP_REQUIRES(ctx, num_lengths <= 1, absl::InvalidArgumentError("FastBertEmbedding: num_lengths must be 0 or 1"));
    OP_REQUIRES(ctx, epsilon_ >= 0, absl::InvalidArgumentError("FastBertEmbedding: epsilon must not be negative"));
    dtype_ = FromTensorFlow(dtype);
  }

  void Compute(OpKernelContext* ctx) override { OP_REQUIRES_OK(ctx, NameOp(*this, Run(ctx))); }

 private:
  absl::Status Run(OpKernelContext* ctx) const {
    EmbeddingCall call;
    TF_RETURN_IF_ERROR(ReadShapes(ctx, &call));
    ValidTokens tokens;
    if (ctx->num_inputs() > kSequenceLength) {
      TF_RETURN_IF_ERROR(ReadValidTokens(ctx, ctx->input(kSequenceLength), call.batch, call.seq_len, &tokens));
      call.sequence_length = tokens.sequence_length;
      call.mask = tokens.mask;
    }
    Tensor* output = nullptr;
    TF_RETURN_IF_ERROR(ctx->allocate_output(0, {call.batch, call.seq_len, call.hidden_size}, &output));
    if (output->NumElements() == 0) return absl::OkStatus();
    call.input_ids = static_cast<const int32_t*>(Data(ctx->input(kInputIds)));
    call.token_type_ids = static_cast<const int32_t*>(Data(ctx->input(kTokenTypeIds)));
    call.word_embeddings = Data(ctx->input(kWords));
    call.position_embeddings = Data(ctx->input(kPositions));
    call.token_type_embeddings = Data(ctx->input(kTokenTypes));
    call.gamma = Data(ctx->input(kGamma));
    call.beta = Data(ctx->input(kBeta));
    call.output = const_cast<char*>(output->tensor_data().data());
    call.epsilon = epsilon_;
    call.dtype = dtype_;
#ifdef TF_FASTBERT_CUDA
    if (on_gpu_) {
      call.stream = StreamOf(ctx, on_gpu_);
      return ToAbsl(RunCudaEmbedding(call));
    }
#endif
    return RunOnCpu(ctx, CpuEmbeddingWorkspaceBytes, RunCpuEmbedding, call);
  }

  static absl::Status ReadShapes(OpKernelContext* ctx, EmbeddingCall* call) {
    constexpr int64_t kMaxInt = std::numeric_limits<int>::max();
    const auto& ids = ctx->input(kInputIds).shape();
    if (ids.dims() != 2 || ids.num_elements() > kMaxInt || ids.dim_size(0) > kMaxInt || ids.dim_size(1) > kMaxInt) {
      return Wrong(ctx, kInputIds, "[batch, seq_len]");
    }
    if (ctx->input(kTokenTypeIds).shape() != ids) return Wrong(ctx, kTokenTypeIds, ids.DebugString() + " like input_ids");
    const auto& words = ctx->input(kWords).shape();
    if (words.dims() != 2 || words.dim_size(0) > kMaxInt || words.dim_size(1) < 1 || words.dim_size(1) > kMaxInt) {
      return Wrong(ctx, kWords, "[vocabulary, hidden_size]");
    }
    const std::string hidden = std::to_string(words.dim_size(1)) + "]";
    for (const Input table : {kPositions, kTokenTypes}) {
      const auto& shape = ctx->input(table).shape();
      if (shape.dims() != 2 || shape.dim_size(0) > kMaxInt || shape.dim_size(1) != words.dim_size(1)) {
        return Wrong(ctx, table, "[rows, " + hidden);
      }
    }
    for (const Input vector : {kGamma, kBeta}) {
      const auto& shape = ctx->input(vector).shape();
      if (shape.dims() != 1 || shape.dim_size(0) != words.dim_size(1)) return Wrong(ctx, vector, "[" + hidden);
    }
    if (ctx->input(kPositions).dim_size(0) < ids.dim_size(1)) {
      return Wrong(ctx, kPositions, "a row for each of seq_len = " + std::to_string(ids.dim_size(1)) + " positions");
    }
    call->batch = ids.dim_size(0);
    call->seq_len = ids.dim_size(1);
    call->hidden_size = words.dim_size(1);
    call->vocab_size = words.dim_size(0);
    call->num_token_types = ctx->input(kTokenTypes).dim_size(0);
    return absl::OkStatus();
  }

  const bool on_gpu_;
  float epsilon_ = 0;
  DataType dtype_ = DataType::kFloat32;
};

class CpuKernel : public EmbeddingKernel {
 public:
  explicit CpuKernel(OpKernelConstruction* ctx) : EmbeddingKernel(ctx, /*on_gpu=*/false) {}
};

#define REGISTER_CPU(T) \
  REGISTER_KERNEL_BUILDER(Name("FastBertEmbedding").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), CpuKernel)
REGISTER_CPU(float);
REGISTER_CPU(Eigen::half);
REGISTER_CPU(Eigen::bfloat16);
#undef REGISTER_CPU

#ifdef TF_FASTBERT_CUDA
class GpuKernel : public EmbeddingKernel {
 public:
  explicit GpuKernel(OpKernelConstruction* ctx) : EmbeddingKernel(ctx, /*on_gpu=*/true) {}
};

// The ids stay on the host, as the lengths do: they become arguments of kernels, and nobody waits for a copy of them.
#define REGISTER_GPU(T)                                       \
  REGISTER_KERNEL_BUILDER(Name("FastBertEmbedding")           \
                              .Device(tensorflow::DEVICE_GPU) \
                              .HostMemory("input_ids")        \
                              .HostMemory("token_type_ids")   \
                              .HostMemory("sequence_length")  \
                              .TypeConstraint<T>("T"),        \
                          GpuKernel)
REGISTER_GPU(float);
REGISTER_GPU(Eigen::half);
REGISTER_GPU(Eigen::bfloat16);
#undef REGISTER_GPU
#endif

}  // namespace
}  // namespace tf_fastbert
