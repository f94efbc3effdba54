// Tests of the CPU encoder without TensorFlow: random configurations against reference_encoder.h, many calls at once, refused
// configurations, and every instruction set's kernels. Workspace and output are poisoned before each call and have exactly the
// size asked for, so that AddressSanitizer sees every step outside.
//
// Usage: encoder_test [number of configurations [first seed]]
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cc/cpu/float_types.h"
#include "cc/cpu/kernels_test.h"
#include "cc/cpu/reference_encoder.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace {

using reference::Matrix;

int failures = 0;

void Expect(bool condition, const std::string& what) {
  if (condition) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

struct Buffer {
  explicit Buffer(size_t bytes, int poison) : bytes(bytes), data(static_cast<char*>(std::aligned_alloc(256, bytes))) {
    std::memset(data, poison, bytes);
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  const size_t bytes;
  char* const data;
};

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

double FromType(DataType type, const char* data, size_t i) {
  float value;
  uint16_t bits;
  if (type == DataType::kFloat32) {
    std::memcpy(&value, data + i * 4, 4);
    return value;
  }
  std::memcpy(&bits, data + i * 2, 2);
  return type == DataType::kFloat16 ? cpu::HalfToFloat(bits) : cpu::BFloat16ToFloat(bits);
}

void RunOnThreads(int64_t n, const std::function<void(int64_t)>& function) {
  std::vector<std::thread> threads;
  for (int64_t i = 1; i < n; ++i) threads.emplace_back([&function, i] { function(i); });
  function(0);
  for (std::thread& thread : threads) thread.join();
}

struct Case {
  EncoderConfig config;
  int batch, seq_len, num_tokens, num_threads;
  bool remove_padding, use_mask;
  std::vector<int32_t> lengths, mask;
  std::vector<reference::Layer> layers;
  Matrix input;
  std::vector<std::vector<char>> layer_data;  // 16 per layer, in the tensors' type
  std::vector<char> input_data;
  std::string name;
};

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

void FillTensors(std::mt19937* random, Case* c) {
  const size_t h = c->config.hidden_size, i = c->config.inner_size;
  const double kernel = 1 / std::sqrt(static_cast<double>(h));
  for (int layer = 0; layer < c->config.num_layers; ++layer) {
    reference::Layer w;
    for (int projection = 0; projection < 4; ++projection) {
      w.push_back(Normal(random, h * h, kernel));
      w.push_back(Normal(random, h, 0.1));
    }
    w.push_back(Normal(random, h, 0.1, 1));
    w.push_back(Normal(random, h, 0.1));
    w.push_back(Normal(random, h * i, kernel));
    w.push_back(Normal(random, i, 0.1));
    w.push_back(Normal(random, i * h, 1 / std::sqrt(static_cast<double>(i))));
    w.push_back(Normal(random, h, 0.1));
    w.push_back(Normal(random, h, 0.1, 1));
    w.push_back(Normal(random, h, 0.1));
    for (Matrix& m : w) c->layer_data.push_back(ToType(c->config.dtype, &m));
    c->layers.push_back(std::move(w));
  }
  c->input = Normal(random, static_cast<size_t>(c->batch) * c->seq_len * h, 1);
  c->input_data = ToType(c->config.dtype, &c->input);
}

void SetLengths(std::mt19937* random, Case* c) {
  c->num_tokens = 0;
  for (int b = 0; b < c->batch; ++b) {
    int length = Pick(random, {0, 1, c->seq_len, static_cast<int>((*random)() % (c->seq_len + 1)), (c->seq_len + 1) / 2});
    std::vector<int32_t> row(c->seq_len, 0);
    for (int s = 0; s < length; ++s) row[s] = 1 + s % 3;
    if (c->use_mask) {
      for (int s = 0; s < c->seq_len; ++s) std::swap(row[s], row[(*random)() % c->seq_len]);
    }
    c->mask.insert(c->mask.end(), row.begin(), row.end());
    c->lengths.push_back(length);
    c->num_tokens += length;
  }
}

Case RandomCase(int seed) {
  std::mt19937 generator(seed);
  std::mt19937* random = &generator;
  Case c;
  EncoderConfig& config = c.config;
  config.size_per_head = Pick(random, {32, 64, 16, 128, 2 + 2 * static_cast<int>(generator() % 64)});
  config.num_heads = 1 + generator() % 4;
  while (config.num_heads * config.size_per_head < 16) ++config.num_heads;  // LayerNorm of a few values amplifies every error
  config.hidden_size = config.num_heads * config.size_per_head;
  config.num_layers = 1 + generator() % 3;
  config.inner_size = Pick(random, {4 * config.hidden_size, 7, 33, 1, 64 + static_cast<int>(generator() % 200)});
  config.activation = Pick(random, {Activation::kGeluTanh, Activation::kGeluErf, Activation::kRelu});
  config.layer_norm = Pick(random, {LayerNormPlacement::kPost, LayerNormPlacement::kPre});
  config.dtype = Pick(random, {DataType::kFloat32, DataType::kFloat16, DataType::kBFloat16});
  config.epsilon = Pick(random, {1e-12f, 1e-5f});
  config.all_layers = generator() % 3 == 0;
  c.batch = 1 + generator() % 5;
  c.seq_len = Pick(random, {1, 2, 17, 64, 1 + static_cast<int>(generator() % 150)});
  c.num_threads = 1 + generator() % 4;
  c.remove_padding = generator() % 4 != 0;
  c.use_mask = generator() % 3 == 0;
  SetLengths(random, &c);
  FillTensors(random, &c);
  c.name = "seed " + std::to_string(seed) + ": L" + std::to_string(config.num_layers) + " heads " + std::to_string(config.num_heads) +
           "x" + std::to_string(config.size_per_head) + " inner " + std::to_string(config.inner_size) + " B" + std::to_string(c.batch) +
           " S" + std::to_string(c.seq_len) + " tokens " + std::to_string(c.num_tokens) + " dtype " +
           std::to_string(static_cast<int>(config.dtype)) + " activation " + std::to_string(static_cast<int>(config.activation)) +
           (config.layer_norm == LayerNormPlacement::kPre ? " pre" : " post") + (config.all_layers ? " all_layers" : "") +
           (c.use_mask ? " mask" : "") + (c.remove_padding ? "" : " padded") + " threads " + std::to_string(c.num_threads);
  return c;
}

// The encoder's whole output, [layers or 1, batch, seq_len, hidden]; padding is zero.
Matrix ReferenceOutput(const Case& c) {
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

void Compare(const Case& c, const Matrix& expected, const Buffer& output, const std::string& name) {
  double error2 = 0, norm2 = 0, largest_error = 0, largest = 1, padding = 0;
  const size_t h = c.config.hidden_size, rows = static_cast<size_t>(c.batch) * c.seq_len;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double value = FromType(c.config.dtype, output.data, i), error = std::fabs(value - expected[i]);
    if (c.mask[i / h % rows] == 0) padding += std::fabs(value);
    error2 += error * error;
    norm2 += expected[i] * expected[i];
    // Written so that NaN counts as the largest.
    if (!(error <= largest_error)) largest_error = error;
    largest = std::fmax(largest, std::fabs(expected[i]));
  }
  const double relative = norm2 > 0 ? std::sqrt(error2 / norm2) : std::sqrt(error2);
  const bool ok = c.config.dtype == DataType::kFloat32 ? largest_error <= 1e-4 * largest : relative <= 1e-2;
  Expect(ok && padding == 0, name + ": largest error " + std::to_string(largest_error) + ", relative " + std::to_string(relative) +
                                 ", in padding " + std::to_string(padding));
}

void TestCase(const Case& c, int concurrent_calls) {
  std::unique_ptr<Encoder> encoder;
  Status status = CreateCpuEncoder(c.config, &encoder);
  Expect(status.ok(), c.name + ": create: " + status.message);
  if (!status.ok()) return;

  const ParallelFor parallel_for = RunOnThreads;
  Buffer prepared_buffer(encoder->PreparedBytes(), 0xff);
  std::unique_ptr<PreparedWeights> prepared;
  {
    std::vector<LayerWeights> layers(c.config.num_layers);
    std::vector<std::vector<char>> data = c.layer_data;  // dies before Run: nothing may point into it
    for (size_t i = 0; i < data.size(); ++i) reinterpret_cast<const void**>(&layers[i / 16])[i % 16] = data[i].data();
    status = encoder->Prepare(layers.data(), prepared_buffer.data, nullptr, &parallel_for, &prepared);
  }
  Expect(status.ok(), c.name + ": prepare: " + status.message);
  if (!status.ok()) return;

  const Matrix expected = ReferenceOutput(c);
  const auto call_once = [&](int64_t index) {
    Buffer workspace(encoder->WorkspaceBytes(c.batch, c.seq_len, c.num_tokens, c.remove_padding, c.num_threads), 0xff);
    Buffer output(expected.size() * SizeOf(c.config.dtype), 0xab);
    EncoderCall call;
    call.input = c.input_data.data();
    call.output = output.data;
    call.batch = c.batch;
    call.seq_len = c.seq_len;
    call.sequence_length = c.lengths.data();
    call.num_tokens = c.num_tokens;
    call.mask = c.use_mask ? c.mask.data() : nullptr;
    call.remove_padding = c.remove_padding;
    call.workspace = workspace.data;
    call.parallel_for = &parallel_for;
    call.num_threads = c.num_threads;
    const Status ran = encoder->Run(*prepared, call);
    Expect(ran.ok(), c.name + ": run: " + ran.message);
    if (ran.ok()) Compare(c, expected, output, c.name + ", call " + std::to_string(index));
  };
  RunOnThreads(concurrent_calls, call_once);
}

void TestRefused() {
  const auto refused = [](const char* what, const char* named, void (*change)(EncoderConfig*)) {
    EncoderConfig config;
    config.num_layers = config.num_heads = 2;
    config.size_per_head = 32;
    config.hidden_size = 64;
    config.inner_size = 128;
    change(&config);
    std::unique_ptr<Encoder> encoder;
    const Status status = CreateCpuEncoder(config, &encoder);
    Expect(status.code == Status::kInvalidArgument && status.message.find(named) != std::string::npos && encoder == nullptr,
           std::string("refuse ") + what + ": " + status.message);
  };
  refused("no layers", "num_layers = 0", [](EncoderConfig* c) { c->num_layers = 0; });
  refused("odd head size", "size_per_head = 33", [](EncoderConfig* c) { c->size_per_head = 33; });
  refused("large head size", "size_per_head = 130", [](EncoderConfig* c) { c->size_per_head = 130; });
  refused("hidden size", "hidden_size = 65", [](EncoderConfig* c) { c->hidden_size = 65; });
  refused("inner size", "inner_size = 0", [](EncoderConfig* c) { c->inner_size = 0; });
  refused("epsilon", "epsilon = -1", [](EncoderConfig* c) { c->epsilon = -1; });
}

}  // namespace
}  // namespace tf_fastbert

int main(int argc, char** argv) {
  using namespace tf_fastbert;
  const int count = argc > 1 ? std::atoi(argv[1]) : 60;
  const int first_seed = argc > 2 ? std::atoi(argv[2]) : 1;
  failures += cpu::TestKernels();
  TestRefused();
  for (int seed = first_seed; seed < first_seed + count; ++seed) TestCase(RandomCase(seed), seed % 5 == 0 ? 3 : 1);
  std::printf("%s: %d configurations, %d failures\n", failures == 0 ? "OK" : "FAILED", count, failures);
  return failures == 0 ? 0 : 1;
}
