// Random configurations; see encoder_test_case.h.
#include "cc/cpu/encoder_test_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <random>
#include <utility>

#include "cc/cpu/float_types.h"
#include "cc/cpu/onednn.h"

namespace tf_fastbert {
namespace {

using reference::Matrix;

// Rounds `values` to `type` in place, and returns them in that type.
std::vector<char> ToType(DataType type, Matrix* values) {
  std::vector<char> out(values->size() * SizeOf(type));
  for (size_t i = 0; i < values->size(); ++i) {
    float value = static_cast<float>((*values)[i]);
    if (type == DataType::kFloat32) {
      std::memcpy(&out[i * 4], &value, 4);
    } else {
      const bool half = type == DataType::kFloat16;
      const uint16_t bits = half ? cpu::FloatToHalf(value) : cpu::FloatToBFloat16(value);
      std::memcpy(&out[i * 2], &bits, 2);
      value = half ? cpu::HalfToFloat(bits) : cpu::BFloat16ToFloat(bits);
    }
    (*values)[i] = value;
  }
  return out;
}

// Rounds a kernel [k, n] to int8 values in place, by the range of each column or of all; returns the int8 values and the ranges.
std::vector<char> ToInt8(bool per_column, size_t n, Matrix* kernel, std::vector<float>* amax) {
  amax->assign(n, 0);
  for (size_t i = 0; i < kernel->size(); ++i) {
    (*amax)[i % n] = std::max((*amax)[i % n], static_cast<float>(std::fabs((*kernel)[i])));
  }
  if (!per_column) amax->assign(n, *std::max_element(amax->begin(), amax->end()));
  std::vector<char> out(kernel->size());
  for (size_t i = 0; i < kernel->size(); ++i) {
    const double unit = static_cast<double>((*amax)[i % n]) / 127;
    out[i] = static_cast<char>(std::lround((*kernel)[i] / unit));
    (*kernel)[i] = out[i] * unit;
  }
  return out;
}

template <typename T>
T Pick(std::mt19937* random, std::initializer_list<T> values) {
  return values.begin()[(*random)() % values.size()];
}

Matrix Normal(std::mt19937* random, size_t count, double scale, double mean = 0) {
  std::normal_distribution<double> distribution(mean, scale);
  Matrix out(count);
  for (double& value : out) value = distribution(*random);
  return out;
}

void FillTensors(std::mt19937* random, TestCase* c) {
  const size_t h = c->config.hidden_size, inner = c->config.inner_size;
  const double scale = 1 / std::sqrt(static_cast<double>(h));
  for (int layer = 0; layer < c->config.num_layers; ++layer) {
    reference::Layer w;
    for (int projection = 0; projection < 4; ++projection) {
      w.push_back(Normal(random, h * h, scale));
      w.push_back(Normal(random, h, 0.1));
    }
    w.push_back(Normal(random, h, 0.1, 1));
    w.push_back(Normal(random, h, 0.1));
    w.push_back(Normal(random, h * inner, scale));
    w.push_back(Normal(random, inner, 0.1));
    w.push_back(Normal(random, inner * h, 1 / std::sqrt(static_cast<double>(inner))));
    w.push_back(Normal(random, h, 0.1));
    w.push_back(Normal(random, h, 0.1, 1));
    w.push_back(Normal(random, h, 0.1));
    for (size_t i = 0; i < w.size(); ++i) {
      const bool is_kernel = i == 0 || i == 2 || i == 4 || i == 6 || i == 10 || i == 12;
      if (is_kernel && c->int8()) {
        c->kernel_amax.emplace_back();
        c->layer_data.push_back(ToInt8(c->config.quantization == Quantization::kInt8Mode1, w[i + 1].size(), &w[i],
                                       &c->kernel_amax.back()));
      } else {
        c->layer_data.push_back(ToType(c->config.dtype, &w[i]));
      }
    }
    c->layers.push_back(std::move(w));
  }
  c->input = Normal(random, static_cast<size_t>(c->batch) * c->seq_len * h, 1);
  c->input_data = ToType(c->config.dtype, &c->input);
}

void FillLengths(std::mt19937* random, TestCase* c) {
  for (int b = 0; b < c->batch; ++b) {
    const int any = static_cast<int>((*random)() % (c->seq_len + 1));
    const int length = Pick(random, {0, 1, c->seq_len, any, (c->seq_len + 1) / 2});
    std::vector<int32_t> row(c->seq_len, 0);
    for (int s = 0; s < length; ++s) row[s] = 1 + s % 3;
    if (c->use_mask) std::shuffle(row.begin(), row.end(), *random);
    c->mask.insert(c->mask.end(), row.begin(), row.end());
    c->lengths.push_back(length);
    c->num_tokens += length;
  }
}

// The valid tokens of a sequence, as rows of the input.
std::vector<size_t> TokensOf(const TestCase& c, int sequence) {
  std::vector<size_t> tokens;
  for (size_t s = 0; s < static_cast<size_t>(c.seq_len); ++s) {
    if (c.mask[sequence * c.seq_len + s] != 0) tokens.push_back(sequence * c.seq_len + s);
  }
  return tokens;
}

Matrix InputOf(const TestCase& c, const std::vector<size_t>& tokens) {
  const size_t h = c.config.hidden_size;
  Matrix x;
  for (size_t token : tokens) x.insert(x.end(), c.input.begin() + token * h, c.input.begin() + (token + 1) * h);
  return x;
}

// Ranges 0.9 of the largest values seen, so that some are clamped.
void Calibrate(TestCase* c) {
  c->quantizers.resize(c->config.num_layers);
  for (int b = 0; b < c->batch; ++b) {
    const std::vector<size_t> tokens = TokensOf(*c, b);
    reference::Encode(c->config, c->layers, InputOf(*c, tokens), static_cast<int>(tokens.size()), &c->quantizers);
  }
  for (int layer = 0; layer < c->config.num_layers; ++layer) {
    reference::Quantizers& q = c->quantizers[layer];
    LayerRanges r;
    const auto range = [](double* amax) { return static_cast<float>(*amax = static_cast<float>(std::fmax(0.9 * *amax, 1e-3))); };
    r.attention_input = range(&q.attention_input);
    r.context = range(&q.context);
    r.intermediate_input = range(&q.intermediate_input);
    r.output_input = range(&q.output_input);
    const float** kernels[] = {&r.query_kernel,            &r.key_kernel,          &r.value_kernel,
                               &r.attention_output_kernel, &r.intermediate_kernel, &r.output_kernel};
    for (int i = 0; i < 6; ++i) *kernels[i] = c->kernel_amax[6 * layer + i].data();
    c->ranges.push_back(r);
  }
}

std::string Describe(int seed, const TestCase& c) {
  const auto number = [](const char* label, int value) { return std::string(" ") + label + " " + std::to_string(value); };
  return number("seed", seed) + number("layers", c.config.num_layers) + number("heads", c.config.num_heads) +
         number("size_per_head", c.config.size_per_head) + number("inner", c.config.inner_size) + number("B", c.batch) +
         number("S", c.seq_len) + number("tokens", c.num_tokens) + number("dtype", static_cast<int>(c.config.dtype)) +
         number("quantization", static_cast<int>(c.config.quantization)) +
         number("activation", static_cast<int>(c.config.activation)) + number("threads", c.num_threads) +
         (c.config.layer_norm == LayerNormPlacement::kPre ? " pre" : " post") + (c.config.all_layers ? " all_layers" : "") +
         (c.use_mask ? " mask" : "") + (c.remove_padding ? "" : " padded");
}

}  // namespace

TestCase RandomCase(int seed) {
  std::mt19937 generator(seed);
  std::mt19937* random = &generator;
  const auto up_to = [&generator](int n) { return 1 + static_cast<int>(generator() % n); };
  TestCase c;
  EncoderConfig& config = c.config;
  config.size_per_head = Pick(random, {32, 64, 16, 128, 2 * up_to(64)});
  config.num_heads = up_to(4);
  while (config.num_heads * config.size_per_head < 16) ++config.num_heads;  // LayerNorm of a few values amplifies every error
  config.hidden_size = config.num_heads * config.size_per_head;
  config.num_layers = up_to(3);
  config.inner_size = Pick(random, {4 * config.hidden_size, 4 * config.hidden_size, 448, 7, 33, 1, 64 + up_to(200)});
  config.activation = Pick(random, {Activation::kGeluTanh, Activation::kGeluErf, Activation::kRelu});
  config.layer_norm = Pick(random, {LayerNormPlacement::kPost, LayerNormPlacement::kPre});
  config.dtype = Pick(random, {DataType::kFloat32, DataType::kFloat16, DataType::kBFloat16});
  config.epsilon = Pick(random, {1e-12f, 1e-5f});
  config.all_layers = up_to(3) == 1;
  c.batch = up_to(5);
  c.seq_len = Pick(random, {1, 2, 17, 64, up_to(150)});
  c.num_threads = up_to(4);
  c.remove_padding = up_to(4) != 1;
  c.use_mask = up_to(3) == 1;
  config.precision = Pick(random, {Precision::kFull, Precision::kTf32});
  config.quantization = Pick(random, {Quantization::kNone, Quantization::kNone, Quantization::kNone, Quantization::kInt8Mode1,
                                      Quantization::kInt8Mode2, Quantization::kFp8});
  FillCase(seed, &c);
  return c;
}

void FillCase(int seed, TestCase* c) {
  std::mt19937 random(seed);
  FillLengths(&random, c);
  FillTensors(&random, c);
  if (c->int8()) Calibrate(c);
  c->name = Describe(seed, *c);
}

Matrix ExpectedOutput(const TestCase& c) {
  const size_t h = c.config.hidden_size, slabs = c.config.all_layers ? c.config.num_layers : 1;
  const size_t rows = static_cast<size_t>(c.batch) * c.seq_len;
  Matrix out(slabs * rows * h, 0.0);
  // Where int8 products are slow, int8 layers are computed without rounding the inputs.
  const std::vector<reference::Quantizers>* quantizers = c.int8() && cpu::HasFastInt8() ? &c.quantizers : nullptr;
  for (int b = 0; b < c.batch; ++b) {
    const std::vector<size_t> tokens = TokensOf(c, b);
    const std::vector<Matrix> outputs = reference::Encode(c.config, c.layers, InputOf(c, tokens), static_cast<int>(tokens.size()),
                                                          nullptr, quantizers);
    for (size_t slab = 0; slab < slabs; ++slab) {
      const Matrix& from = outputs[outputs.size() - slabs + slab];
      for (size_t t = 0; t < tokens.size(); ++t) {
        std::copy(from.begin() + t * h, from.begin() + (t + 1) * h, out.begin() + (slab * rows + tokens[t]) * h);
      }
    }
  }
  return out;
}

double ElementAt(DataType type, const char* data, size_t i) {
  float value;
  uint16_t bits;
  if (type == DataType::kFloat32) {
    std::memcpy(&value, data + i * 4, 4);
    return value;
  }
  std::memcpy(&bits, data + i * 2, 2);
  return type == DataType::kFloat16 ? cpu::HalfToFloat(bits) : cpu::BFloat16ToFloat(bits);
}

}  // namespace tf_fastbert
