// The head of a question-answering BERT on the CPU; see cc/span_logits.h for what it computes.
#include "cc/span_logits.h"

#include "cc/cpu/layer_rows.h"

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

class SpanLogits : public LayerRows {
 public:
  explicit SpanLogits(const SpanLogitsCall& call) : LayerRows(call), call_(call) {
    const char* weights = static_cast<const char*>(call.weights);
    start_weights_ = Floats(call.weights_dtype, weights, 0);
    end_weights_ = Floats(call.weights_dtype, weights + call.hidden_size * SizeOf(call.weights_dtype), 1);
    kernels_.to_float(call.weights_dtype, call.bias, bias_, 2);
  }

  Status Run() {
    return RunRows([&](int64_t worker, int64_t row) {
      RunRow(row, 2 + worker);
      return Status::Ok();
    });
  }

 private:
  void RunRow(int64_t row, int64_t scratch) const {
    float start = call_.padding, end = call_.padding;
    if (IsValid(row)) {
      const char* hidden = static_cast<const char*>(call_.hidden_states) + row * call_.hidden_size * SizeOf(call_.dtype);
      const float* x = Floats(call_.dtype, hidden, scratch);
      start = Dot(x, start_weights_, call_.hidden_size) + bias_[0];
      end = Dot(x, end_weights_, call_.hidden_size) + bias_[1];
    }
    call_.start_logits[row] = start;
    call_.end_logits[row] = end;
  }

  const SpanLogitsCall& call_;
  const float* start_weights_;
  const float* end_weights_;
  float bias_[2];
};

}  // namespace
}  // namespace cpu

size_t CpuSpanLogitsWorkspaceBytes(int hidden_size, int num_threads) {
  // Both rows of weights, then a vector for each worker.
  return cpu::LayerRows::WorkspaceBytes(hidden_size, 2 + static_cast<size_t>(num_threads));
}

Status RunCpuSpanLogits(const SpanLogitsCall& call) { return cpu::SpanLogits(call).Run(); }

}  // namespace tf_fastbert
