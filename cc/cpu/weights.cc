// Packs the weights; see weights.h.
#include "cc/cpu/weights.h"

#include <cstring>

#include "cc/cpu/kernels.h"
#include "cc/cpu/parallel.h"

namespace tf_fastbert {
namespace cpu {
namespace {

constexpr size_t kAlignment = 256;
size_t Align(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Byte offsets within a layer's part of the buffer.
struct LayerLayout {
  size_t qkv, attention_output, intermediate, output;
  size_t qkv_bias, attention_output_bias, intermediate_bias, output_bias;
  size_t attention_gamma, attention_beta, output_gamma, output_beta;
  size_t bytes;
};

LayerLayout MakeLayout(const EncoderConfig& config, const LayerGemms& gemms) {
  LayerLayout layout;
  size_t offset = 0;
  const auto take = [&offset](size_t bytes) {
    const size_t at = offset;
    offset += Align(bytes);
    return at;
  };
  const size_t hidden = config.hidden_size * sizeof(float);
  layout.qkv = take(gemms.qkv->PackedBytes());
  layout.attention_output = take(gemms.attention_output->PackedBytes());
  layout.intermediate = take(gemms.intermediate->PackedBytes());
  layout.output = take(gemms.output->PackedBytes());
  layout.qkv_bias = take(3 * hidden);
  layout.attention_output_bias = take(hidden);
  layout.intermediate_bias = take(config.inner_size * sizeof(float));
  layout.output_bias = take(hidden);
  layout.attention_gamma = take(hidden);
  layout.attention_beta = take(hidden);
  layout.output_gamma = take(hidden);
  layout.output_beta = take(hidden);
  layout.bytes = offset;
  return layout;
}

// Some columns of a product's weights: kernel [k, columns] and bias [columns] of the tensors' type.
struct Source {
  const void* kernel;
  const void* bias;
  int columns;
};

// Puts `sources` side by side, in the type of the product, and packs them.
Status PackSources(const Gemm& gemm, DataType type, std::initializer_list<Source> sources, void* packed, float* bias,
                   GemmWeights* weights) {
  const Kernels& kernels = BestKernels();
  const GemmShape& shape = gemm.shape();
  const size_t size = SizeOf(shape.in);
  int first = 0;
  for (const Source& source : sources) {
    kernels.to_float(type, source.bias, bias + first, source.columns);
    first += source.columns;
  }
  if (sources.size() == 1 && type == shape.in) return gemm.Pack(sources.begin()->kernel, packed, bias, weights);

  return CatchErrors(shape.name, [&] {
    const std::unique_ptr<char[]> joined(new char[static_cast<size_t>(shape.k) * shape.n * size]);
    for (int row = 0; row < shape.k; ++row) {
      char* out = joined.get() + static_cast<size_t>(row) * shape.n * size;
      for (const Source& source : sources) {
        const char* from = static_cast<const char*>(source.kernel) + static_cast<size_t>(row) * source.columns * SizeOf(type);
        if (type == shape.in) {
          std::memcpy(out, from, source.columns * size);
        } else {
          kernels.to_float(type, from, reinterpret_cast<float*>(out), source.columns);
        }
        out += source.columns * size;
      }
    }
    return gemm.Pack(joined.get(), packed, bias, weights);
  });
}

}  // namespace

Status CreateLayerGemms(const EncoderConfig& config, DataType compute, LayerGemms* gemms) {
  const int hidden = config.hidden_size;
  Epilogue activation = Epilogue::kGeluTanh;
  if (config.activation == Activation::kGeluErf) activation = Epilogue::kGeluErf;
  if (config.activation == Activation::kRelu) activation = Epilogue::kRelu;
  const DataType residual = DataType::kFloat32;
  const std::pair<GemmShape, std::unique_ptr<Gemm>*> products[] = {
      {{"query, key and value product", hidden, 3 * hidden, compute, compute, Epilogue::kNone}, &gemms->qkv},
      {{"attention output product", hidden, hidden, compute, residual, Epilogue::kAccumulate}, &gemms->attention_output},
      {{"intermediate product", hidden, config.inner_size, compute, compute, activation}, &gemms->intermediate},
      {{"output product", config.inner_size, hidden, compute, residual, Epilogue::kAccumulate}, &gemms->output},
  };
  for (const auto& product : products) {
    const Status status = Gemm::Create(product.first, product.second);
    if (!status.ok()) return status;
  }
  return Status::Ok();
}

size_t PreparedWeightsBytes(const EncoderConfig& config, const LayerGemms& gemms) {
  return config.num_layers * MakeLayout(config, gemms).bytes;
}

Status PrepareWeights(const EncoderConfig& config, const LayerGemms& gemms, const LayerWeights* layers, void* buffer,
                      const ParallelFor* parallel_for, std::unique_ptr<PreparedWeights>* prepared) {
  const LayerLayout layout = MakeLayout(config, gemms);
  const int hidden = config.hidden_size;
  auto result = std::make_unique<CpuPreparedWeights>();
  result->layers.resize(config.num_layers);

  const auto pack = [&](int64_t, int64_t task) {
    const LayerWeights& from = layers[task / 4];
    PreparedLayer& to = result->layers[task / 4];
    char* base = static_cast<char*>(buffer) + task / 4 * layout.bytes;
    const auto floats = [base](size_t offset) { return reinterpret_cast<float*>(base + offset); };
    const auto vector = [&](const void* source, size_t offset) {
      BestKernels().to_float(config.dtype, source, floats(offset), hidden);
      return floats(offset);
    };
    switch (task % 4) {
      case 0:
        to.attention_layer_norm = {vector(from.attention_layer_norm_gamma, layout.attention_gamma),
                                   vector(from.attention_layer_norm_beta, layout.attention_beta)};
        to.output_layer_norm = {vector(from.output_layer_norm_gamma, layout.output_gamma),
                                vector(from.output_layer_norm_beta, layout.output_beta)};
        return PackSources(*gemms.qkv, config.dtype,
                           {{from.query_kernel, from.query_bias, hidden},
                            {from.key_kernel, from.key_bias, hidden},
                            {from.value_kernel, from.value_bias, hidden}},
                           base + layout.qkv, floats(layout.qkv_bias), &to.qkv);
      case 1:
        return PackSources(*gemms.attention_output, config.dtype,
                           {{from.attention_output_kernel, from.attention_output_bias, hidden}}, base + layout.attention_output,
                           floats(layout.attention_output_bias), &to.attention_output);
      case 2:
        return PackSources(*gemms.intermediate, config.dtype,
                           {{from.intermediate_kernel, from.intermediate_bias, config.inner_size}}, base + layout.intermediate,
                           floats(layout.intermediate_bias), &to.intermediate);
      default:
        return PackSources(*gemms.output, config.dtype, {{from.output_kernel, from.output_bias, hidden}}, base + layout.output,
                           floats(layout.output_bias), &to.output);
    }
  };
  const int64_t tasks = 4 * static_cast<int64_t>(config.num_layers);
  const Status status = RunTasks(parallel_for, tasks, tasks, pack);
  if (status.ok()) *prepared = std::move(result);
  return status;
}

}  // namespace cpu
}  // namespace tf_fastbert
