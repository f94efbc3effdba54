// The CUDA encoder behind the interface of cc/encoder.h: an adapter to the C ABI of cuda/fastbert_cuda.h, with no arithmetic and
// no CUDA header.
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "cc/cuda_status.h"
#include "cc/encoder.h"
#include "cuda/fastbert_cuda.h"

namespace tf_fastbert {
namespace {

FastBertConfig ToCuda(const EncoderConfig& c) {
  FastBertConfig config = {};
  config.num_layers = c.num_layers;
  config.num_heads = c.num_heads;
  config.size_per_head = c.size_per_head;
  config.inner_size = c.inner_size;
  config.epsilon = c.epsilon;
  switch (c.activation) {
    case Activation::kGeluTanh: config.activation = FASTBERT_GELU_TANH; break;
    case Activation::kGeluErf: config.activation = FASTBERT_GELU_ERF; break;
    case Activation::kRelu: config.activation = FASTBERT_RELU; break;
  }
  config.layer_norm = c.layer_norm == LayerNormPlacement::kPre ? FASTBERT_PRE_LAYER_NORM : FASTBERT_POST_LAYER_NORM;
  config.dtype = ToCuda(c.dtype);
  config.precision = c.precision == Precision::kTf32 ? FASTBERT_PRECISION_TF32 : FASTBERT_PRECISION_DEFAULT;
  config.all_layers = c.all_layers ? 1 : 0;
  switch (c.quantization) {
    case Quantization::kNone: config.quantization = FASTBERT_NO_QUANTIZATION; break;
    case Quantization::kInt8Mode1: config.quantization = FASTBERT_INT8_MODE_1; break;
    case Quantization::kInt8Mode2: config.quantization = FASTBERT_INT8_MODE_2; break;
    case Quantization::kFp8: config.quantization = FASTBERT_FP8; break;
  }
  return config;
}

// The C ABI lists the weights in the same order as cc/encoder.h.
static_assert(std::is_standard_layout<LayerWeights>::value && sizeof(LayerWeights) == sizeof(FastBertLayerWeights) &&
                  offsetof(LayerWeights, output_layer_norm_beta) == offsetof(FastBertLayerWeights, output_layer_norm_beta) &&
                  offsetof(LayerWeights, intermediate_kernel) == offsetof(FastBertLayerWeights, intermediate_kernel),
              "LayerWeights and FastBertLayerWeights differ");
// Likewise the ranges.
static_assert(std::is_standard_layout<LayerRanges>::value && sizeof(LayerRanges) == sizeof(FastBertLayerRanges) &&
                  offsetof(LayerRanges, next_input) == offsetof(FastBertLayerRanges, next_input) &&
                  offsetof(LayerRanges, context) == offsetof(FastBertLayerRanges, context) &&
                  offsetof(LayerRanges, output_kernel) == offsetof(FastBertLayerRanges, output_kernel),
              "LayerRanges and FastBertLayerRanges differ");

class CudaWeights : public PreparedWeights {
 public:
  explicit CudaWeights(FastBertCudaWeights* weights) : weights_(weights) {}
  ~CudaWeights() override { fastbert_cuda_free_weights(weights_); }
  const FastBertCudaWeights* get() const { return weights_; }

 private:
  FastBertCudaWeights* const weights_;
};

class CudaEncoder : public Encoder {
 public:
  CudaEncoder(FastBertCudaEncoder* encoder, int num_layers) : encoder_(encoder), num_layers_(num_layers) {}
  ~CudaEncoder() override { fastbert_cuda_destroy(encoder_); }

  size_t PreparedBytes() const override { return fastbert_cuda_packed_bytes(encoder_); }

  Status Prepare(const LayerWeights* layers, const LayerRanges* ranges, void* buffer, void* stream,
                 const ParallelFor* /*parallel_for*/, std::unique_ptr<PreparedWeights>* prepared) const override {
    std::vector<FastBertLayerWeights> cuda_layers(num_layers_);
    std::memcpy(cuda_layers.data(), layers, num_layers_ * sizeof(FastBertLayerWeights));
    FastBertCudaWeights* weights = nullptr;
    Status status;
    if (ranges == nullptr) {
      status = FromCuda(fastbert_cuda_pack_weights(encoder_, cuda_layers.data(), buffer, stream, &weights));
    } else {
      std::vector<FastBertLayerRanges> cuda_ranges(num_layers_);
      std::memcpy(cuda_ranges.data(), ranges, num_layers_ * sizeof(FastBertLayerRanges));
      status = FromCuda(
          fastbert_cuda_pack_quantized_weights(encoder_, cuda_layers.data(), cuda_ranges.data(), buffer, stream, &weights));
    }
    if (status.ok()) *prepared = std::make_unique<CudaWeights>(weights);
    return status;
  }

  size_t WorkspaceBytes(int batch, int seq_len, int num_tokens, bool remove_padding, int /*num_threads*/) const override {
    return fastbert_cuda_workspace_bytes(encoder_, batch, seq_len, num_tokens, remove_padding);
  }

  Status Run(const PreparedWeights& weights, const EncoderCall& call) const override {
    FastBertCall cuda_call = {};
    cuda_call.input = call.input;
    cuda_call.output = call.output;
    cuda_call.batch = call.batch;
    cuda_call.seq_len = call.seq_len;
    cuda_call.sequence_length = call.sequence_length;
    cuda_call.mask = call.mask;
    cuda_call.remove_padding = call.remove_padding;
    // The caller has sized the workspace by WorkspaceBytes with the same numbers.
    const size_t workspace_bytes =
        fastbert_cuda_workspace_bytes(encoder_, call.batch, call.seq_len, call.num_tokens, call.remove_padding);
    return FromCuda(fastbert_cuda_forward(encoder_, static_cast<const CudaWeights&>(weights).get(), &cuda_call, call.workspace,
                                          workspace_bytes, call.stream));
  }

 private:
  FastBertCudaEncoder* const encoder_;
  const int num_layers_;
};

}  // namespace

Status CreateCudaEncoder(const EncoderConfig& config, std::unique_ptr<Encoder>* encoder) {
  const FastBertConfig cuda_config = ToCuda(config);
  FastBertCudaEncoder* created = nullptr;
  Status status = FromCuda(fastbert_cuda_create(&cuda_config, &created));
  if (status.ok()) *encoder = std::make_unique<CudaEncoder>(created, config.num_layers);
  return status;
}

}  // namespace tf_fastbert
