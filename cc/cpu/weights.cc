// Packs the weights; see weights.h.
#include "cc/cpu/weights.h"

#include <cstring>

#include "cc/cpu/kernels.h"
#include "cc/cpu/onednn.h"
#include "cc/cpu/parallel.h"

namespace tf_fastbert {
namespace cpu {
namespace {

constexpr size_t kAlignment = 256;
size_t Align(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Byte offsets of a product's weights.
struct ProductLayout {
  size_t packed, bias, scales;
};

// Byte offsets within a layer's part of the buffer.
struct LayerLayout {
  ProductLayout qkv, attention_output, intermediate, output;
  size_t attention_gamma, attention_beta, output_gamma, output_beta;
  size_t bytes;
};

LayerLayout MakeLayout(const EncoderConfig& config, const LayerProducts& products) {
  LayerLayout layout;
  size_t offset = 0;
  const auto take = [&offset](size_t bytes) {
    const size_t at = offset;
    offset += Align(bytes);
    return at;
  };
  const auto take_product = [&](const Product& product) {
    ProductLayout l;
    l.packed = take(product.PackedBytes());
    l.bias = take(product.shape().n * sizeof(float));
    l.scales = product.shape().in.type == OperandType::kInt8 ? take(product.shape().n * sizeof(float)) : 0;
    return l;
  };
  layout.qkv = take_product(*products.qkv);
  layout.attention_output = take_product(*products.attention_output);
  layout.intermediate = take_product(*products.intermediate);
  layout.output = take_product(*products.output);
  const size_t hidden = config.hidden_size * sizeof(float);
  layout.attention_gamma = take(hidden);
  layout.attention_beta = take(hidden);
  layout.output_gamma = take(hidden);
  layout.output_beta = take(hidden);
  layout.bytes = offset;
  return layout;
}

// Some columns of a product's weights: kernel [k, columns] and bias [columns] of the tensors' type; an int8 kernel has its ranges
// in `amax` [columns].
struct Source {
  const void* kernel;
  const void* bias;
  const float* amax;
  int columns;
};

class Packer {
 public:
  Packer(DataType type, bool int8_kernels, char* base) : type_(type), int8_kernels_(int8_kernels), base_(base) {}

  const float* Vector(const void* source, size_t offset, int count) const {
    float* out = reinterpret_cast<float*>(base_ + offset);
    BestKernels().to_float(type_, source, out, count);
    return out;
  }

  // Puts `sources` side by side, in the type that the product wants, and packs them. `input_amax`: of the int8 input.
  Status Pack(const Product& product, std::initializer_list<Source> sources, float input_amax, const ProductLayout& layout,
              ProductWeights* weights) const {
    const ProductShape& shape = product.shape();
    const bool int8_product = shape.in.type == OperandType::kInt8;
    weights->packed = base_ + layout.packed;
    weights->bias = reinterpret_cast<float*>(base_ + layout.bias);
    float* scales = reinterpret_cast<float*>(base_ + layout.scales);
    if (int8_product) weights->scales = scales;
    int first = 0;
    for (const Source& source : sources) {
      Vector(source.bias, layout.bias + first * sizeof(float), source.columns);
      for (int i = 0; int8_product && i < source.columns; ++i) scales[first + i] = source.amax[i] / 127 * (input_amax / 127);
      first += source.columns;
    }

    const size_t from_size = int8_kernels_ ? 1 : SizeOf(type_);
    const bool convert = int8_kernels_ ? !int8_product : shape.in.type != OperandType::kBFloat16;
    const size_t size = convert ? sizeof(float) : from_size;
    if (sources.size() == 1 && !(convert && (int8_kernels_ || type_ != DataType::kFloat32))) {
      return product.Pack(sources.begin()->kernel, base_ + layout.packed);
    }
    return CatchErrors(shape.name, [&] {
      const std::unique_ptr<char[]> joined(new char[static_cast<size_t>(shape.k) * shape.n * size]);
      for (int row = 0; row < shape.k; ++row) {
        char* out = joined.get() + static_cast<size_t>(row) * shape.n * size;
        for (const Source& source : sources) {
          const char* from = static_cast<const char*>(source.kernel) + static_cast<size_t>(row) * source.columns * from_size;
          if (convert) {
            ToFloat(from, source, reinterpret_cast<float*>(out));
          } else {
            std::memcpy(out, from, source.columns * size);
          }
          out += source.columns * size;
        }
      }
      return product.Pack(joined.get(), base_ + layout.packed);
    });
  }

 private:
  // One row of the source.
  void ToFloat(const char* from, const Source& source, float* out) const {
    if (!int8_kernels_) return BestKernels().to_float(type_, from, out, source.columns);
    for (int i = 0; i < source.columns; ++i) out[i] = static_cast<float>(static_cast<int8_t>(from[i])) * (source.amax[i] / 127);
  }

  const DataType type_;
  const bool int8_kernels_;
  char* const base_;
};

}  // namespace

Status CreateLayerProducts(const EncoderConfig& config, const Policy& policy, LayerProducts* products) {
  const int hidden = config.hidden_size, inner = config.inner_size;
  Epilogue activation = Epilogue::kGeluTanh;
  if (config.activation == Activation::kGeluErf) activation = Epilogue::kGeluErf;
  if (config.activation == Activation::kRelu) activation = Epilogue::kRelu;
  const DataType residual = DataType::kFloat32;
  const bool bfloat16 = policy.bfloat16_weights;
  const std::pair<ProductShape, std::unique_ptr<Product>*> all[] = {
      {{"query, key and value product", hidden, 3 * hidden, policy.operand, Epilogue::kStore, policy.attention, bfloat16},
       &products->qkv},
      {{"attention output product", hidden, hidden, policy.operand, Epilogue::kAccumulate, residual, bfloat16},
       &products->attention_output},
      {{"intermediate product", hidden, inner, policy.operand, activation, residual, bfloat16}, &products->intermediate},
      {{"output product", inner, hidden, policy.operand, Epilogue::kAccumulate, residual, bfloat16}, &products->output},
  };
  for (const auto& product : all) {
    const Status status = CreateProduct(product.first, product.second);
    if (!status.ok()) return status;
  }
  return Status::Ok();
}

size_t PreparedWeightsBytes(const EncoderConfig& config, const LayerProducts& products) {
  return config.num_layers * MakeLayout(config, products).bytes;
}

Status PrepareWeights(const EncoderConfig& config, const LayerProducts& products, const LayerWeights* layers,
                      const LayerRanges* ranges, void* buffer, const ParallelFor* parallel_for,
                      std::unique_ptr<PreparedWeights>* prepared) {
  const bool int8 = HasInt8Kernels(config);
  if (int8 && ranges == nullptr) return Status::Internal("CPU encoder: int8 layers without ranges");
  const LayerLayout layout = MakeLayout(config, products);
  const int hidden = config.hidden_size;
  auto result = std::make_unique<CpuPreparedWeights>();
  result->layers.resize(config.num_layers);

  const auto pack = [&](int64_t, int64_t task) {
    const LayerWeights& from = layers[task / 4];
    const LayerRanges range = int8 ? ranges[task / 4] : LayerRanges();
    PreparedLayer& to = result->layers[task / 4];
    const Packer packer(config.dtype, int8, static_cast<char*>(buffer) + task / 4 * layout.bytes);
    switch (task % 4) {
      case 0:
        to.attention_layer_norm = {packer.Vector(from.attention_layer_norm_gamma, layout.attention_gamma, hidden),
                                   packer.Vector(from.attention_layer_norm_beta, layout.attention_beta, hidden)};
        to.output_layer_norm = {packer.Vector(from.output_layer_norm_gamma, layout.output_gamma, hidden),
                                packer.Vector(from.output_layer_norm_beta, layout.output_beta, hidden)};
        if (int8) {
          to.qkv_scale = 127 / range.attention_input;
          to.context_scale = 127 / range.context;
          to.intermediate_scale = 127 / range.intermediate_input;
          to.output_scale = 127 / range.output_input;
        }
        return packer.Pack(*products.qkv,
                           {{from.query_kernel, from.query_bias, range.query_kernel, hidden},
                            {from.key_kernel, from.key_bias, range.key_kernel, hidden},
                            {from.value_kernel, from.value_bias, range.value_kernel, hidden}},
                           range.attention_input, layout.qkv, &to.qkv);
      case 1:
        return packer.Pack(*products.attention_output,
                           {{from.attention_output_kernel, from.attention_output_bias, range.attention_output_kernel, hidden}},
                           range.context, layout.attention_output, &to.attention_output);
      case 2:
        return packer.Pack(*products.intermediate,
                           {{from.intermediate_kernel, from.intermediate_bias, range.intermediate_kernel, config.inner_size}},
                           range.intermediate_input, layout.intermediate, &to.intermediate);
      default:
        return packer.Pack(*products.output, {{from.output_kernel, from.output_bias, range.output_kernel, hidden}},
                           range.output_input, layout.output, &to.output);
    }
  };
  const int64_t tasks = 4 * static_cast<int64_t>(config.num_layers);
  const Status status = RunTasks(parallel_for, tasks, tasks, pack);
  if (status.ok()) *prepared = std::move(result);
  return status;
}

}  // namespace cpu
}  // namespace tf_fastbert
