// Random configurations; see encoder_test_case.h.
#include "cc/cpu/encoder_test_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <random>
#include <utility>

#include "cc/cpu/float_types.h"

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
    for (Matrix& m : w) c->layer_data.push_back(ToType(c->config.dtype, &m));
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

std::string Describe(int seed, const TestCase& c) {
  const auto number = [](const char* label, int value) { return std::string(" ") + label + " " + std::to_string(value); };
  return number("seed", seed) + number("layers", c.config.num_layers) + number("heads", c.config.num_heads) +
         number("size_per_head", c.config.size_per_head) + number("inner", c.config.inner_size) + number("B", c.batch) +
         number("S", c.seq_len) + number("tokens", c.num_tokens) + number("dtype", static_cast<int>(c.config.dtype)) +
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
  config.inner_size = Pick(random, {4 * config.hidden_size, 7, 33, 1, 64 + up_to(200)});
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
  FillCase(seed, &c);
  return c;
}

void FillCase(int seed, TestCase* c) {
  std::mt19937 random(seed);
  FillLengths(&random, c);
  FillTensors(&random, c);
  c->name = Describe(seed, *c);
}

Matrix ExpectedOutput(const TestCase& c) {
  const size_t h = c.config.hidden_size, slabs = c.config.all_layers ? c.config.num_layers : 1;
  const size_t rows = static_cast<size_t>(c.batch) * c.seq_len;
  Matrix out(slabs * rows * h, 0.0);
  for (int b = 0; b < c.batch; ++b) {
    std::vector<size_t> tokens;
    for (size_t s = 0; s < static_cast<size_t>(c.seq_len); ++s) {
      if (c.mask[b * c.seq_len + s] != 0) tokens.push_back(b * c.seq_len + s);
    }
    Matrix x;
    for (size_t token : tokens) x.insert(x.end(), c.input.begin() + token * h, c.input.begin() + (token + 1) * h);
    const std::vector<Matrix> outputs = reference::Encode(c.config, c.layers, x, static_cast<int>(tokens.size()));
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
