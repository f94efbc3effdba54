// Every kind of product this CPU has, by oneDNN and by AMX, with every epilogue, against double; see product_test.h.
#include "cc/cpu/product_test.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cc/cpu/amx.h"
#include "cc/cpu/float_types.h"
#include "cc/cpu/kernels.h"
#include "cc/cpu/onednn.h"
#include "cc/cpu/product.h"
#include "cc/cpu/reference_encoder.h"

namespace tf_fastbert {
namespace cpu {
namespace {

using reference::Matrix;

int failures = 0;

struct Memory {
  explicit Memory(size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, std::max<size_t>(bytes, 1)) != 0) std::abort();
    data = static_cast<char*>(memory);
    std::memset(data, 0xff, bytes);
  }
  ~Memory() { std::free(data); }
  Memory(const Memory&) = delete;
  char* data;
};

float ReadOperand(const Operand& operand, int row, int column) {
  const char* at = OperandAddress(operand, row, column);
  if (operand.format.type == OperandType::kInt8) return *reinterpret_cast<const int8_t*>(at) / operand.scale;
  float value = 0;
  if (operand.format.type == OperandType::kFloat32) {
    std::memcpy(&value, at, 4);
    return value;
  }
  for (int plane = 0; plane < operand.format.planes(); ++plane) {
    uint16_t bits;
    std::memcpy(&bits, at + plane * 1024, 2);
    value += BFloat16ToFloat(bits);
  }
  return value;
}

// One product: random operand, weights and bias; columns and depth divided where the product allows it.
class Case {
 public:
  Case(OperandFormat format, bool bfloat16_weights, int rows, int k, int n)
      : bfloat16_weights_(bfloat16_weights), rows_(rows), k_(k), n_(n), in_memory_(format.Bytes(rows, k)) {
    std::mt19937 random(rows * 31 + k + n + static_cast<int>(format.type));
    std::normal_distribution<float> normal;
    in_ = {format, in_memory_.data, k, 127 / 3.0f};
    std::vector<float> row(k);
    for (int r = 0; r < rows; ++r) {
      for (float& value : row) value = normal(random);
      for (int c = 0; c < k; c += 32) BestKernels().write_operand(&row[c], std::min(32, k - c), in_, r, c);
    }
    const bool int8 = format.type == OperandType::kInt8;
    const float amax = 3 / std::sqrt(static_cast<float>(k));
    for (int i = 0; i < k * n; ++i) {
      float value = std::fmax(std::fmin(normal(random) / std::sqrt(static_cast<float>(k)), amax), -amax);
      const int8_t quantized = static_cast<int8_t>(std::lround(value * 127 / amax));
      const uint16_t bits = FloatToBFloat16(value);
      if (int8) value = quantized * (amax / 127);
      if (format.type == OperandType::kBFloat16 || bfloat16_weights) value = BFloat16ToFloat(bits);
      floats_.push_back(value);
      bfloats_.push_back(bits);
      bytes_.push_back(quantized);
    }
    for (int j = 0; j < n; ++j) bias_.push_back(normal(random));
    scales_.assign(n, amax / 127 / in_.scale);
    Matrix x, bias(bias_.begin(), bias_.end());
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < k; ++c) x.push_back(ReadOperand(in_, r, c));
    }
    expected_ = reference::Dense(x, rows, Matrix(floats_.begin(), floats_.end()), bias);
  }

  void Test(Epilogue epilogue, DataType out_type) const {
    const OperandFormat format = in_.format;
    const ProductShape shape = {"test", k_, n_, format, epilogue, out_type, bfloat16_weights_};
    const std::string name = "product of type " + std::to_string(static_cast<int>(format.type)) + (format.tiles ? " tiles" : "") +
                             (bfloat16_weights_ ? ", weights in bfloat16" : "") + ", epilogue " +
                             std::to_string(static_cast<int>(epilogue)) + ", " + std::to_string(rows_) + " x " +
                             std::to_string(k_) + " x " + std::to_string(n_);
    std::unique_ptr<Product> product;
    size_t scratch_bytes = 0;
    Status status = CreateProduct(shape, &product);
    if (status.ok()) status = product->ScratchBytes(rows_, k_, &scratch_bytes);
    const Memory packed(status.ok() ? product->PackedBytes() : 0), scratch(scratch_bytes);
    if (status.ok()) status = product->Pack(Weights(), packed.data);
    const bool activates = epilogue != Epilogue::kStore && epilogue != Epilogue::kAccumulate;
    const Memory out(activates ? format.Bytes(rows_, n_) : static_cast<size_t>(rows_) * n_ * SizeOf(out_type));
    const Operand operand = {format, out.data, n_, 127 / 4.0f};
    for (int i = 0; epilogue == Epilogue::kAccumulate && i < rows_ * n_; ++i) reinterpret_cast<float*>(out.data)[i] = 0.5f;

    const ProductWeights weights = {packed.data, bias_.data(), scales_.data()};
    ProductCall call;
    call.in = in_.data;
    call.rows = rows_;
    call.out = out.data;
    call.out_operand = operand;
    call.scratch = scratch.data;
    const int part = status.ok() ? product->granularity() : n_;
    for (int first = 0; first < n_ && status.ok(); first += call.columns) {
      call.first_column = first;
      call.columns = first == 0 ? part : n_ - first;
      status = product->Run(weights, call);
    }
    double worst = 0, error2 = 0, norm2 = 0;
    for (int i = 0; i < rows_ * n_ && status.ok(); ++i) {
      double expected = expected_[i], got;
      if (epilogue == Epilogue::kAccumulate) expected += 0.5;
      if (epilogue == Epilogue::kGeluTanh) expected = reference::Activate(expected, Activation::kGeluTanh);
      if (epilogue == Epilogue::kGeluErf) expected = reference::Activate(expected, Activation::kGeluErf);
      if (epilogue == Epilogue::kRelu) expected = reference::Activate(expected, Activation::kRelu);
      if (activates) {
        got = ReadOperand(operand, i / n_, i % n_);
        if (format.type == OperandType::kInt8) expected = std::fmin(expected, 4.0);  // its range
      } else if (out_type == DataType::kBFloat16) {
        got = BFloat16ToFloat(reinterpret_cast<const uint16_t*>(out.data)[i]);
      } else {
        got = reinterpret_cast<const float*>(out.data)[i];
      }
      const double error = std::fabs(got - expected);
      if (!(error <= worst)) worst = error;  // true for NaN
      error2 += error * error;
      norm2 += expected * expected;
    }
    const double relative = std::sqrt(error2 / norm2);
    double limit =
        format.type == OperandType::kFloat32 && format.tiles && rows_ >= 128 ? 2e-6 : 1e-6;  // two levels of Strassen's algorithm
    if (format.type == OperandType::kBFloat16x2) limit = 1e-5;
    if (out_type == DataType::kBFloat16 || (activates && format.type == OperandType::kBFloat16)) limit = 4e-3;
    if (activates && format.type == OperandType::kInt8) limit = 2e-2;
    if (status.ok() && relative <= limit && worst < 10) return;
    ++failures;
    std::fprintf(stderr, "FAILED: %s: %s relative error %g, largest %g\n", name.c_str(), status.message.c_str(), relative, worst);
  }

  // A row that is not finite spoils no other.
  void TestRowsApart() {
    const Packed product(*this, Epilogue::kStore);
    std::vector<float> out(expected_.size());
    ProductCall call = product.Call(out.data());
    call.in = in_.data;
    const int spoiled = rows_ / 2 + 3;
    float* element = reinterpret_cast<float*>(OperandAddress(in_, spoiled, k_ - 1));
    const float before = *element;
    for (float value : {std::nanf(""), INFINITY}) {
      *element = value;
      product.Run(call);
      int wrong = 0;
      for (int i = 0; i < rows_ * n_; ++i) {
        wrong += i / n_ == spoiled ? std::isfinite(out[i]) : !(std::fabs(out[i] - expected_[i]) < 1e-4);
      }
      if (wrong == 0) continue;
      ++failures;
      std::fprintf(stderr, "FAILED: float32 product of %d rows, one with %g: %d wrong elements\n", rows_, value, wrong);
    }
    *element = before;
  }

  // The product over two parts of the depth, added up.
  void TestDepth() const {
    const Packed product(*this, Epilogue::kAccumulate);
    std::vector<float> out(expected_.size(), 0.0f), row(64);
    for (int first = 0; first < k_; first += 64) {
      const Memory part(in_.format.Bytes(rows_, 64));
      const Operand operand = {in_.format, part.data, 64, in_.scale};
      for (int r = 0; r < rows_; ++r) {
        for (int c = 0; c < 64; ++c) row[c] = ReadOperand(in_, r, first + c);
        BestKernels().write_operand(row.data(), 64, operand, r, 0);
      }
      ProductCall call = product.Call(out.data());
      call.in = part.data;
      call.first_depth = first;
      call.depth = 64;
      product.Run(call);
    }
    double worst = 0;
    for (size_t i = 0; i < out.size(); ++i) worst = std::fmax(worst, std::fabs(out[i] - expected_[i]));
    if (worst < 1e-4) return;
    ++failures;
    std::fprintf(stderr, "FAILED: type %d, depth in parts: largest error %g\n", static_cast<int>(in_.format.type), worst);
  }

 private:
  // A product into float32 with the case's weights, for all of its rows and columns.
  class Packed {
   public:
    Packed(const Case& c, Epilogue epilogue)
        : case_(c), product_(Create(c, epilogue)), packed_(product_->PackedBytes()), scratch_(ScratchBytes(c)) {
      product_->Pack(c.Weights(), packed_.data);
    }

    ProductCall Call(float* out) const {
      ProductCall call;
      call.rows = case_.rows_;
      call.first_column = 0;
      call.columns = case_.n_;
      call.out = out;
      call.scratch = scratch_.data;
      return call;
    }

    void Run(const ProductCall& call) const { product_->Run({packed_.data, case_.bias_.data(), case_.scales_.data()}, call); }

   private:
    static std::unique_ptr<Product> Create(const Case& c, Epilogue epilogue) {
      std::unique_ptr<Product> product;
      CreateProduct({"test", c.k_, c.n_, c.in_.format, epilogue, DataType::kFloat32, c.bfloat16_weights_}, &product);
      return product;
    }

    size_t ScratchBytes(const Case& c) const {
      size_t bytes = 0;
      product_->ScratchBytes(c.rows_, c.k_, &bytes);
      return bytes;
    }

    const Case& case_;
    const std::unique_ptr<Product> product_;
    const Memory packed_, scratch_;
  };

  // As a product of the operand's type takes them.
  const void* Weights() const {
    if (in_.format.type == OperandType::kBFloat16) return bfloats_.data();
    if (in_.format.type == OperandType::kInt8) return bytes_.data();
    return floats_.data();
  }

  const bool bfloat16_weights_;
  const int rows_, k_, n_;
  Memory in_memory_;
  Operand in_;
  std::vector<float> floats_, bias_, scales_;
  std::vector<uint16_t> bfloats_;
  std::vector<int8_t> bytes_;
  Matrix expected_;
};

void TestFormat(const OperandFormat& format, bool bfloat16_weights) {
  // Test() divides the columns: of 320 it leaves 256 to a call, of 256 none that are a multiple of 128.
  const int sizes[][3] = {{16, 448, 256}, {48, 448, 192}, {64, 448, 192}, {128, 448, 256}, {160, 832, 320}};
  for (const auto& size : sizes) {
    Case product(format, bfloat16_weights, size[0], size[1], size[2]);
    product.Test(Epilogue::kStore, DataType::kFloat32);
    if (format.tiles ? HasFastBFloat16() : format.type == OperandType::kBFloat16) {
      product.Test(Epilogue::kStore, DataType::kBFloat16);
    }
    for (Epilogue epilogue : {Epilogue::kAccumulate, Epilogue::kGeluTanh, Epilogue::kGeluErf, Epilogue::kRelu}) {
      product.Test(epilogue, DataType::kFloat32);
    }
    if (format.tiles) product.TestDepth();
    if (format.type == OperandType::kFloat32) product.TestRowsApart();
  }
}

}  // namespace

int TestProducts() {
  std::vector<OperandFormat> formats = {{OperandType::kFloat32, false}};
  if (HasFastBFloat16()) formats.push_back({OperandType::kBFloat16, false});
  if (HasFastInt8()) formats.push_back({OperandType::kInt8, false});
  for (OperandType type : {OperandType::kBFloat16, OperandType::kInt8, OperandType::kBFloat16x2, OperandType::kBFloat16x3}) {
    if (HasAmx()) formats.push_back({type, true});
  }
  if (!HasAmx() && HasAvx512()) formats.push_back({OperandType::kFloat32, true});
  if (!HasAmx() && HasAvx512Vnni()) formats.push_back({OperandType::kInt8, true});
  if (!HasAmx() && HasFastBFloat16()) formats.push_back({OperandType::kBFloat16, true});
  for (const OperandFormat& format : formats) {
    TestFormat(format, false);
    if (format.tiles && format.type == OperandType::kFloat32) TestFormat(format, true);
  }
  return failures;
}

}  // namespace cpu
}  // namespace tf_fastbert
