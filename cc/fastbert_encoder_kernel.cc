#include "cc/fastbert_encoder_kernel.h"

#include <algorithm>
#include <limits>
#include <mutex>

#include "cc/amax_list.h"
#include "cc/quantization_attr.h"
#include "cc/stream.h"
#include "cc/tensor_buffers.h"
#include "cc/thread_pool.h"
#include "cc/valid_tokens.h"
#include "cc/weight_fields.h"
#include "tensorflow/core/platform/tensor_float_32_utils.h"

namespace tf_fastbert {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

Status CreateEncoder(const EncoderConfig& config, bool on_gpu, std::unique_ptr<Encoder>* encoder) {
#ifdef TF_FASTBERT_CUDA
  if (on_gpu) return CreateCudaEncoder(config, encoder);
#endif
  return CreateCpuEncoder(config, encoder);
}

}  // namespace

FastBertEncoderKernel::FastBertEncoderKernel(OpKernelConstruction* ctx, bool on_gpu) : OpKernel(ctx), on_gpu_(on_gpu) {
  std::string activation, layer_norm, precision, weights;
  tensorflow::DataType dtype;
  OP_REQUIRES_OK(ctx, ctx->GetAttr("T", &dtype));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("num_layers", &config_.num_layers));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("num_heads", &config_.num_heads));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("size_per_head", &config_.size_per_head));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &config_.epsilon));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("activation", &activation));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("layer_norm", &layer_norm));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("remove_padding", &remove_padding_));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("all_layers", &config_.all_layers));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("precision", &precision));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("weights", &weights));
  OP_REQUIRES(ctx, int64_t{config_.num_heads} * config_.size_per_head <= kMaxInt,
              absl::InvalidArgumentError(type_string() + ": num_heads * size_per_head is too large"));
  config_.hidden_size = config_.num_heads * config_.size_per_head;
  config_.dtype = FromTensorFlow(dtype);
  config_.activation = activation == "relu"       ? Activation::kRelu
                       : activation == "gelu_erf" ? Activation::kGeluErf
                                                  : Activation::kGeluTanh;
  config_.layer_norm = layer_norm == "pre" ? LayerNormPlacement::kPre : LayerNormPlacement::kPost;
  config_.precision = precision == "tf32" ? Precision::kTf32 : Precision::kFull;
  follow_tensorflow_ = precision == "default" && on_gpu && config_.dtype == DataType::kFloat32;
  immutable_weights_ = weights == "immutable";
  if (ctx->HasAttr("quantization")) OP_REQUIRES_OK(ctx, NameOp(*this, ReadQuantization(ctx, &config_.quantization)));
}

void FastBertEncoderKernel::Compute(OpKernelContext* ctx) { OP_REQUIRES_OK(ctx, NameOp(*this, Run(ctx))); }

absl::Status FastBertEncoderKernel::Run(OpKernelContext* ctx) {
  const Tensor& hidden_states = ctx->input(0);
  TF_RETURN_IF_ERROR(CheckHiddenStates(hidden_states));
  const int64_t batch = hidden_states.dim_size(0);
  const int64_t seq_len = hidden_states.dim_size(1);
  ValidTokens tokens;
  TF_RETURN_IF_ERROR(ReadValidTokens(ctx, ctx->input(1), batch, seq_len, &tokens));
  Layers layers(config_.num_layers);
  int inner_size = 0;
  TF_RETURN_IF_ERROR(ReadWeights(ctx, &layers, &inner_size));
  AmaxLists amax_lists;
  TF_RETURN_IF_ERROR(ReadAmaxLists(ctx, inner_size, &amax_lists));
  Model* model = nullptr;
  TF_RETURN_IF_ERROR(FindModel(inner_size, &model));

  TensorShape output_shape;
  if (config_.all_layers) output_shape.AddDim(config_.num_layers);
  for (int i = 0; i < 3; ++i) TF_RETURN_IF_ERROR(output_shape.AddDimWithStatus(hidden_states.dim_size(i)));
  Tensor* output = nullptr;
  TF_RETURN_IF_ERROR(ctx->allocate_output(0, output_shape, &output));
  if (output->NumElements() == 0) return absl::OkStatus();

  const auto* workers = on_gpu_ ? nullptr : ctx->device()->tensorflow_cpu_worker_threads();
  const ParallelFor parallel_for = MakeParallelFor(workers);
  void* stream = StreamOf(ctx, on_gpu_);
  std::shared_ptr<WeightSet> weights;
  TF_RETURN_IF_ERROR(model->weights.Get(ctx, *model->encoder, layers.data(), amax_lists.data(), stream, &parallel_for, &weights));

  EncoderCall call;
  call.input = hidden_states.tensor_data().data();
  call.output = const_cast<char*>(output->tensor_data().data());
  call.batch = batch;
  call.seq_len = seq_len;
  call.sequence_length = tokens.sequence_length;
  call.num_tokens = tokens.num_tokens;
  call.mask = tokens.mask;
  call.remove_padding = remove_padding_;
  call.stream = stream;
  call.parallel_for = &parallel_for;
  call.num_threads = NumThreads(workers);
  Tensor workspace;
  const size_t bytes = model->encoder->WorkspaceBytes(batch, seq_len, tokens.num_tokens, remove_padding_, call.num_threads);
  // 0 with tokens to compute: planning failed, as Run will say; without a workspace it cannot go on even if it plans again.
  if (bytes > 0 || tokens.num_tokens == 0) {
    TF_RETURN_IF_ERROR(AllocateAligned(ctx, bytes, "workspace", &workspace, &call.workspace));
  }
  return ToAbsl(model->encoder->Run(weights->prepared(), call));
}

absl::Status FastBertEncoderKernel::CheckHiddenStates(const Tensor& hidden_states) const {
  const TensorShape& shape = hidden_states.shape();
  if (shape.dims() != 3 || shape.dim_size(2) != config_.hidden_size) {
    return absl::InvalidArgumentError("hidden_states has shape " + shape.DebugString() +
                                      ", expected [batch, seq_len, " + std::to_string(config_.hidden_size) +
                                      "], because num_heads = " + std::to_string(config_.num_heads) +
                                      " and size_per_head = " + std::to_string(config_.size_per_head));
  }
  // Backends count tokens in an int. Checked by division: one of the two may be 0.
  if (shape.dim_size(1) > 0 && shape.dim_size(0) > kMaxInt / shape.dim_size(1)) {
    return absl::InvalidArgumentError("hidden_states has too many tokens: shape " + shape.DebugString());
  }
  return absl::OkStatus();
}

absl::Status FastBertEncoderKernel::ReadWeights(OpKernelContext* ctx, Layers* layers, int* inner_size) const {
  const Tensor& kernel = ctx->input(WeightInput(kIntermediateKernelField, 0, config_.num_layers));
  const int64_t inner = kernel.dims() == 2 ? kernel.dim_size(1) : 0;
  if (inner < 1 || inner > kMaxInt) {
    return absl::InvalidArgumentError("intermediate_kernel[0] has shape " + kernel.shape().DebugString() +
                                      ", expected [" + std::to_string(config_.hidden_size) + ", inner size of 1 or more]");
  }
  for (int field = 0; field < kNumWeightFields; ++field) {
    const WeightField& f = kWeightFields[field];
    const int rank = f.columns == Dim::kNone ? 1 : 2;
    const int64_t rows = f.rows == Dim::kHidden ? config_.hidden_size : inner;
    const int64_t columns = f.columns == Dim::kHidden ? config_.hidden_size : inner;
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      const Tensor& tensor = ctx->input(WeightInput(field, layer, config_.num_layers));
      if (tensor.dims() != rank || tensor.dim_size(0) != rows || (rank == 2 && tensor.dim_size(1) != columns)) {
        return absl::InvalidArgumentError("" + std::string(f.name) + "[" + std::to_string(layer) +
                                          "] has shape " + tensor.shape().DebugString() + ", expected [" + std::to_string(rows) +
                                          (rank == 2 ? "," + std::to_string(columns) : "") + "]");
      }
      (*layers)[layer].*f.member = tensor.tensor_data().data();
    }
  }
  *inner_size = inner;
  return absl::OkStatus();
}

absl::Status FastBertEncoderKernel::ReadAmaxLists(OpKernelContext* ctx, int inner_size, AmaxLists* lists) const {
  if (config_.quantization == Quantization::kNone) return absl::OkStatus();
  const int64_t size = AmaxListSize(config_.hidden_size, inner_size);
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    const Tensor& tensor = ctx->input(FirstAmaxInput(config_.num_layers) + layer);
    if (tensor.dims() != 1 || tensor.dim_size(0) != size) {
      return absl::InvalidArgumentError("amax_list[" + std::to_string(layer) + "] has shape " + tensor.shape().DebugString() +
                                        ", expected [" + std::to_string(size) + "]");
    }
    lists->push_back(reinterpret_cast<const float*>(tensor.tensor_data().data()));
  }
  return absl::OkStatus();
}

absl::Status FastBertEncoderKernel::FindModel(int inner_size, Model** model) {
  EncoderConfig config = config_;
  config.inner_size = inner_size;
  // Asked on each call: users may change TensorFlow's setting at any time, and its own products follow it at once.
  if (follow_tensorflow_ && tensorflow::tensor_float_32_execution_enabled()) config.precision = Precision::kTf32;
  const auto find = [&] {
    const auto found = std::find_if(models_.begin(), models_.end(), [&](const auto& m) {
      return m->config.inner_size == config.inner_size && m->config.precision == config.precision;
    });
    *model = found == models_.end() ? nullptr : found->get();
    return *model != nullptr;
  };
  {
    std::shared_lock<std::shared_mutex> lock(models_mutex_);
    if (find()) return absl::OkStatus();
  }
  std::unique_lock<std::shared_mutex> lock(models_mutex_);
  if (find()) return absl::OkStatus();
  auto created = std::make_unique<Model>(config, immutable_weights_, on_gpu_);
  TF_RETURN_IF_ERROR(ToAbsl(CreateEncoder(config, on_gpu_, &created->encoder)));
  *model = created.get();
  models_.push_back(std::move(created));
  return absl::OkStatus();
}

namespace {

class CpuKernel : public FastBertEncoderKernel {
 public:
  explicit CpuKernel(OpKernelConstruction* ctx) : FastBertEncoderKernel(ctx, /*on_gpu=*/false) {}
};

#define REGISTER_CPU(T)                                                                                             \
  REGISTER_KERNEL_BUILDER(Name("FastBertEncoder").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), CpuKernel); \
  REGISTER_KERNEL_BUILDER(Name("FastBertQuantizedEncoder").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), CpuKernel)
REGISTER_CPU(float);
REGISTER_CPU(Eigen::half);
REGISTER_CPU(Eigen::bfloat16);
#undef REGISTER_CPU

#ifdef TF_FASTBERT_CUDA
class GpuKernel : public FastBertEncoderKernel {
 public:
  explicit GpuKernel(OpKernelConstruction* ctx) : FastBertEncoderKernel(ctx, /*on_gpu=*/true) {}
};

// sequence_length stays on the host: its values are checked and its sum sizes everything without waiting for the GPU. amax_list
// does, because its ranges are checked and become arguments of kernels.
#define REGISTER_GPU(T)                                                                                                      \
  REGISTER_KERNEL_BUILDER(                                                                                                   \
      Name("FastBertEncoder").Device(tensorflow::DEVICE_GPU).HostMemory("sequence_length").TypeConstraint<T>("T"), GpuKernel); \
  REGISTER_KERNEL_BUILDER(Name("FastBertQuantizedEncoder")                                                                   \
                              .Device(tensorflow::DEVICE_GPU)                                                                \
                              .HostMemory("sequence_length")                                                                 \
                              .HostMemory("amax_list")                                                                       \
                              .TypeConstraint<T>("T"),                                                                       \
                          GpuKernel)
REGISTER_GPU(float);
REGISTER_GPU(Eigen::half);
REGISTER_GPU(Eigen::bfloat16);
#undef REGISTER_GPU
#endif

}  // namespace
}  // namespace tf_fastbert
