// The head of a question-answering BERT on the CPU; see cc/span_logits.h for what it computes. Tasks are runs of rows.
#include "cc/span_logits.h"

#include <algorithm>

#include "cc/cpu/kernels.h"
#include "cc/cpu/padded_rows.h"
#include "cc/cpu/parallel.h"

namespace tf_fastbert {
namespace cpu {
namespace {

float Dot(const float* x, const float* y, int count) {
  constexpr int kSums = 16;  // independent ones, for vector instructions
  float sums[kSums] = {};
  int i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (int j = 0; j < kSums; ++j) sums[j] += x[i + j] * y[i + j];
  }
  float sum = 0.0f;
  for (int j = 0; j < kSums; ++j) sum += sums[j];
  for (; i < count; ++i) sum += x[i] * y[i];
  return sum;
}

class SpanLogits {
 public:
  explicit SpanLogits(const SpanLogitsCall& call) : call_(call), kernels_(BestKernels()) {
    const char* weights = static_cast<const char*>(call.weights);
    start_weights_ = Floats(call.weights_dtype, weights, Vector(0));
    end_weights_ = Floats(call.weights_dtype, weights + call.hidden_size * SizeOf(call.weights_dtype), Vector(1));
    kernels_.to_float(call.weights_dtype, call.bias, bias_, 2);
  }

  Status Run() {
    const int64_t rows = static_cast<int64_t>(call_.batch) * call_.seq_len;
    const auto task = [&](int64_t worker, int64_t i) {
      for (int64_t row = i * kRowsPerTask; row < std::min(rows, (i + 1) * kRowsPerTask); ++row) RunRow(row, Vector(2 + worker));
      return Status::Ok();
    };
    return RunTasks(call_.parallel_for, call_.num_threads, (rows + kRowsPerTask - 1) / kRowsPerTask, task);
  }

 private:
  float* Vector(int64_t index) const { return static_cast<float*>(call_.workspace) + index * VectorStride(call_.hidden_size); }

  // `values`, or a copy of them in `copy`.
  const float* Floats(DataType dtype, const void* values, float* copy) const {
    if (dtype == DataType::kFloat32) return static_cast<const float*>(values);
    kernels_.to_float(dtype, values, copy, call_.hidden_size);
    return copy;
  }

  void RunRow(int64_t row, float* scratch) const {
    float start = call_.padding, end = call_.padding;
    if (IsValidRow(row, call_.seq_len, call_.sequence_length, call_.mask)) {
      const char* hidden = static_cast<const char*>(call_.hidden_states) + row * call_.hidden_size * SizeOf(call_.dtype);
      const float* x = Floats(call_.dtype, hidden, scratch);
      start = Dot(x, start_weights_, call_.hidden_size) + bias_[0];
      end = Dot(x, end_weights_, call_.hidden_size) + bias_[1];
    }
    call_.start_logits[row] = start;
    call_.end_logits[row] = end;
  }

  const SpanLogitsCall& call_;
  const Kernels& kernels_;
  const float* start_weights_;
  const float* end_weights_;
  float bias_[2];
};

}  // namespace
}  // namespace cpu

size_t CpuSpanLogitsWorkspaceBytes(int hidden_size, int num_threads) {
  // Both rows of weights, then a vector for each worker.
  return (2 + static_cast<size_t>(num_threads)) * cpu::VectorStride(hidden_size) * sizeof(float);
}

Status RunCpuSpanLogits(const SpanLogitsCall& call) { return cpu::SpanLogits(call).Run(); }

}  // namespace tf_fastbert
