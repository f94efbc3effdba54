// Every instruction set's kernels against double, for the CPU that runs this; see kernels_test.h.
#include "cc/cpu/kernels_test.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cc/cpu/amx.h"
#include "cc/cpu/bfloat16_attention.h"
#include "cc/cpu/float_types.h"
#include "cc/cpu/kernels.h"
#include "cc/cpu/onednn.h"
#include "cc/cpu/reference_encoder.h"
#include "cc/cpu/tiles_layer_norm.h"

namespace tf_fastbert {
namespace cpu {
namespace {

using reference::Matrix;

int failures = 0;

void Expect(bool condition, Isa isa, const std::string& what) {
  if (condition) return;
  ++failures;
  std::fprintf(stderr, "FAILED: kernels of instruction set %d: %s\n", static_cast<int>(isa), what.c_str());
}

// One head of `depth` in rows [rows, 3 * depth]; scores of about +-10 * scale. The context goes into tiles or rows.
void TestAttention(Isa isa, void (*attention)(const AttentionTask&), int rows, int depth, bool bfloat16, double scale,
                   OperandFormat format) {
  std::mt19937 random(rows * 131 + depth);
  std::normal_distribution<float> normal;
  std::vector<float> qkv(static_cast<size_t>(rows) * 3 * depth);
  std::vector<uint16_t> qkv16(qkv.size());
  Matrix q, k, v, expected(static_cast<size_t>(rows) * depth);
  for (size_t i = 0; i < qkv.size(); ++i) {
    const size_t column = i % (3 * depth);
    qkv[i] = normal(random) * (column < static_cast<size_t>(depth) ? scale : 1);
    if (bfloat16) qkv[i] = BFloat16ToFloat(qkv16[i] = FloatToBFloat16(qkv[i]));
    (column < static_cast<size_t>(depth) ? q : column < static_cast<size_t>(2 * depth) ? k : v).push_back(qkv[i]);
  }
  reference::Attend(q, k, v, rows, depth, 0, depth, &expected);

  const int padded = (rows + 15) / 16 * 16;
  const int width = format.tiles ? (depth + 63) / 64 * 64 : depth;
  std::vector<char> out(format.Bytes(padded, width), static_cast<char>(0xff));
  const Operand context = {format, out.data(), width, 127 / 3.0f};
  const std::unique_ptr<float, void (*)(void*)> scratch(
      static_cast<float*>(std::aligned_alloc(256, AttentionScratchBytes(depth))), std::free);
  for (size_t i = 0; i < AttentionScratchBytes(depth) / sizeof(float); ++i) scratch.get()[i] = NAN;
  for (int first = 0; first < rows; first += 100) {
    AttentionTask task;
    const char* base = bfloat16 ? reinterpret_cast<char*>(qkv16.data()) : reinterpret_cast<char*>(qkv.data());
    const size_t part = depth * (bfloat16 ? 2 : 4);
    task.query = base;
    task.key = base + part;
    task.value = base + 2 * part;
    task.row_stride = 3 * depth;
    task.context = context;
    task.context_row = task.context_column = 0;
    task.size_per_head = depth;
    task.num_keys = rows;
    task.first_query = first;
    task.num_queries = std::min(100, rows - first);
    task.scratch = scratch.get();
    attention(task);
  }
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const char* at = OperandAddress(context, i / depth, i % depth);
    double value = *reinterpret_cast<const int8_t*>(at) / context.scale;
    if (format.type == OperandType::kFloat32) value = *reinterpret_cast<const float*>(at);
    if (format.type == OperandType::kBFloat16) value = BFloat16ToFloat(*reinterpret_cast<const uint16_t*>(at));
    // Some kernels round the probabilities to bfloat16 too.
    const double rounding = attention == AmxAttention || attention == Avx512Bfloat16Attention ? 0.01 : 0.005;
    double limit = bfloat16 ? rounding + rounding * std::fabs(expected[i]) : 1e-5 + 1e-6 * scale;
    if (format.type == OperandType::kInt8) {
      limit += 0.5 / context.scale;
      expected[i] = std::fmax(std::fmin(expected[i], 3), -3);
    }
    const double error = std::fabs(value - expected[i]) / limit;
    if (!(error <= worst)) worst = error;  // true for NaN
  }
  Expect(worst <= 1, isa, "attention " + std::to_string(rows) + " x " + std::to_string(depth) +
                                      (bfloat16 ? " bfloat16" : " float32") + ": error / limit " + std::to_string(worst));
}

void TestAttentions(Isa isa, void (*attention)(const AttentionTask&), const std::vector<int>& depths, bool bfloat16,
                    OperandFormat format) {
  for (int depth : depths) {
    for (int rows : {1, 15, 33, 130}) TestAttention(isa, attention, rows, depth, bfloat16, 1, format);
  }
  TestAttention(isa, attention, 1100, 64, bfloat16, 1, format);  // several key blocks
  TestAttention(isa, attention, 600, 32, bfloat16, 30, format);  // scores beyond +-100: powers underflow
  if (bfloat16) TestAttention(isa, attention, 600, 32, true, 1e9, format);  // far beyond float32's integers
}

// Scores of more than 1e6 whose differences are small: each is exact in float32, and so must their softmax be.
void TestLargeScores(void (*attention)(const AttentionTask&)) {
  constexpr int kRows = 40, kDepth = 32;
  std::vector<uint16_t> qkv(kRows * 3 * kDepth);
  Matrix q(kRows * kDepth), k(q.size()), v(q.size()), expected(q.size());
  for (int row = 0; row < kRows; ++row) {
    q[row * kDepth] = 2048, q[row * kDepth + 1] = 1;
    k[row * kDepth] = 4096, k[row * kDepth + 1] = row / 2;  // scores of 8388608 + row / 2, to be divided by sqrt(32)
    for (int d = 0; d < kDepth; ++d) v[row * kDepth + d] = row % 8 - d % 4;
    for (int d = 0; d < kDepth; ++d) {
      uint16_t* at = &qkv[row * 3 * kDepth + d];
      at[0] = FloatToBFloat16(q[row * kDepth + d]);
      at[kDepth] = FloatToBFloat16(k[row * kDepth + d]);
      at[2 * kDepth] = FloatToBFloat16(v[row * kDepth + d]);
    }
  }
  reference::Attend(q, k, v, kRows, kDepth, 0, kDepth, &expected);
  std::vector<uint16_t> out(q.size());
  const std::unique_ptr<void, void (*)(void*)> scratch(std::aligned_alloc(256, AttentionScratchBytes(kDepth)), std::free);
  const Operand context = {{OperandType::kBFloat16, false}, out.data(), kDepth, 1};
  attention({qkv.data(), &qkv[kDepth], &qkv[2 * kDepth], 3 * kDepth, context, 0, 0, kDepth, kRows, 0, kRows, scratch.get()});
  double worst = 0;
  for (size_t i = 0; i < out.size(); ++i) worst = std::fmax(worst, std::fabs(BFloat16ToFloat(out[i]) - expected[i]));
  Expect(worst <= 0.02 && !std::isnan(BFloat16ToFloat(out[0])), Isa::kAvx512, "large scores: largest error " + std::to_string(worst));
}

void TestLayerNorm(const Kernels& kernels, int width) {
  const int rows = 3;
  std::mt19937 random(width);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(rows) * width), gamma(width), beta(width), out(x.size());
  std::vector<uint16_t> out16(x.size());
  for (float& value : x) value = 30 + normal(random);
  for (float& value : gamma) value = normal(random);
  for (float& value : beta) value = normal(random);
  const Operand operand = {{OperandType::kBFloat16, false}, out16.data(), width, 1};
  kernels.layer_norm({x.data(), rows, width, gamma.data(), beta.data(), 1e-5f, out.data(), &operand, 0});
  const Matrix expected = reference::LayerNorm(Matrix(x.begin(), x.end()), rows, Matrix(gamma.begin(), gamma.end()),
                                               Matrix(beta.begin(), beta.end()), 1e-5f);
  bool ok = true;
  for (size_t i = 0; i < x.size(); ++i) {
    ok = ok && std::fabs(out[i] - expected[i]) <= 2e-5 * (1 + std::fabs(expected[i])) && out16[i] == FloatToBFloat16(out[i]);
  }
  Expect(ok, kernels.isa, "LayerNorm of width " + std::to_string(width));
}

// The same values as AVX-512's kernel writes, but for a last bit.
void TestTilesLayerNorm() {
  const int rows = 32, width = 192;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(rows * width), gamma(width), beta(width), out(x.size()), expected(x.size());
  for (std::vector<float>* values : {&x, &gamma, &beta}) {
    for (float& value : *values) value = normal(random);
  }
  std::vector<OperandType> types = {OperandType::kFloat32, OperandType::kInt8};
  if (HasFastBFloat16()) {
    types.insert(types.end(), {OperandType::kBFloat16, OperandType::kBFloat16x2, OperandType::kBFloat16x3});
  }
  for (OperandType type : types) {
    const OperandFormat format = {type, true};
    std::vector<char> wanted(format.Bytes(rows, width)), got(wanted.size());
    const Operand to_wanted = {format, wanted.data(), width, 30}, to_got = {format, got.data(), width, 30};
    BestKernels().layer_norm(
        {x.data(), rows, width, gamma.data(), beta.data(), 1e-5f, expected.data(), &to_wanted, 0});
    TilesLayerNorm({x.data(), rows, width, gamma.data(), beta.data(), 1e-5f, out.data(), &to_got, 0});
    bool ok = true;
    for (int i = 0; i < rows * width; ++i) {
      ok = ok && std::fabs(out[i] - expected[i]) <= 1e-5;
      const char *a = OperandAddress(to_wanted, i / width, i % width), *b = OperandAddress(to_got, i / width, i % width);
      double difference = std::abs(*a - *b) / 30.0;
      if (type == OperandType::kFloat32) {
        difference = *reinterpret_cast<const float*>(a) - *reinterpret_cast<const float*>(b);
      } else if (type != OperandType::kInt8) {
        difference = 0;
        for (int plane = 0; plane < format.planes(); ++plane) {
          const auto value = [&](const char* p) { return BFloat16ToFloat(*reinterpret_cast<const uint16_t*>(p + plane * 1024)); };
          difference += value(a) - value(b);
        }
      }
      const double limit = type == OperandType::kInt8 ? 1.01 / 30 : type == OperandType::kBFloat16 ? 0.04 : 1e-4;
      ok = ok && std::fabs(difference) <= limit;
    }
    Expect(ok, Isa::kAvx512, "LayerNorm into tiles of type " + std::to_string(static_cast<int>(type)));
  }
}

// Every 16-bit pattern to float32 and back; float32 values halfway and near, against the nearest by search.
void TestConversions(const Kernels& kernels, DataType type) {
  std::vector<uint16_t> bits(65536), back(65536);
  std::vector<float> values(65536);
  for (int i = 0; i < 65536; ++i) bits[i] = static_cast<uint16_t>(i);
  kernels.to_float(type, bits.data(), values.data(), 65536);
  kernels.from_float(type, values.data(), back.data(), 65536);
  const int mantissa = type == DataType::kFloat16 ? 10 : 7, bias = type == DataType::kFloat16 ? 15 : 127;
  int wrong = 0;
  for (int i = 0; i < 65536; ++i) {
    const int exponent = (i & 0x7fff) >> mantissa, fraction = i & ((1 << mantissa) - 1);
    if (exponent == (0x7fff >> mantissa)) {
      wrong += fraction != 0 ? !std::isnan(values[i]) : !std::isinf(values[i]) || back[i] != i;
      continue;
    }
    const double magnitude = exponent == 0 ? std::ldexp(fraction, 1 - bias - mantissa)
                                           : std::ldexp((1 << mantissa) + fraction, exponent - bias - mantissa);
    wrong += values[i] != static_cast<float>(i & 0x8000 ? -magnitude : magnitude) || back[i] != i;
  }
  // Halfway between neighbours (to even) and just beside it.
  for (int i = 0; i + 1 < (0x7fff >> mantissa) << mantissa; ++i) {
    const float middle = static_cast<float>((static_cast<double>(values[i]) + values[i + 1]) / 2);
    if (type == DataType::kBFloat16 && i < 256) continue;  // float32 denormals
    const float inputs[] = {std::nextafter(middle, 0.0f), middle, std::nextafter(middle, INFINITY)};
    uint16_t rounded[3];
    kernels.from_float(type, inputs, rounded, 3);
    wrong += rounded[0] != i || rounded[1] != i + (i & 1) || rounded[2] != i + 1;
  }
  const std::string name = "conversions of type " + std::to_string(static_cast<int>(type));
  Expect(wrong == 0, kernels.isa, name + ": wrong " + std::to_string(wrong));
}

}  // namespace

int TestKernels() {
  for (Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    const Kernels* kernels = KernelsFor(isa);
    if (kernels == nullptr) {
      std::printf("skipped: this CPU lacks instruction set %d\n", static_cast<int>(isa));
      continue;
    }
    for (bool bfloat16 : {false, true}) {
      const auto attention = bfloat16 ? kernels->attention_bfloat16 : kernels->attention_float;
      TestAttentions(isa, attention, {2, 10, 32, 48, 64, 128}, bfloat16,
                     {bfloat16 ? OperandType::kBFloat16 : OperandType::kFloat32, false});
      if (bfloat16) TestAttentions(isa, attention, {10, 64}, bfloat16, {OperandType::kInt8, false});
    }
    for (int width : {2, 15, 64, 129, 768}) TestLayerNorm(*kernels, width);
    for (DataType type : {DataType::kFloat16, DataType::kBFloat16}) TestConversions(*kernels, type);
  }
  for (OperandType type : {OperandType::kBFloat16, OperandType::kInt8}) {
    if (HasFastBFloat16()) TestAttentions(Isa::kAvx512, Avx512Bfloat16Attention, {32, 64, 96, 128}, true, {type, false});
    if (HasFastBFloat16()) TestAttentions(Isa::kAvx512, Avx512Bfloat16Attention, {32, 64, 96, 128}, true, {type, true});
    if (HasAmx()) TestAttentions(Isa::kAvx512, AmxAttention, {32, 64, 96, 128}, true, {type, true});
  }
  if (HasFastBFloat16()) TestLargeScores(Avx512Bfloat16Attention);
  if (HasAmx()) TestLargeScores(AmxAttention);
  if (HasAvx512()) {
    TestAttentions(Isa::kAvx512, BestKernels().attention_float, {32, 64, 96, 128}, false, {OperandType::kFloat32, true});
    TestTilesLayerNorm();
  }
  return failures;
}

}  // namespace cpu
}  // namespace tf_fastbert
