// The embedding layer on the CPU; see cc/embedding.h for what it computes.
//
// Tasks are runs of rows. A row is summed up in float32 in memory that stays in the L1 cache (in the output itself where that is
// float32), normalized there, and written once in the output's type.
#include "cc/embedding.h"

#include <cstring>
#include <string>

#include "cc/cpu/layer_rows.h"

namespace tf_fastbert {
namespace cpu {
namespace {

class Embedding : public LayerRows {
 public:
  explicit Embedding(const EmbeddingCall& call)
      : LayerRows(call), call_(call), row_bytes_(call.hidden_size * SizeOf(call.dtype)) {
    gamma_ = Floats(call.dtype, call.gamma, 0);
    beta_ = Floats(call.dtype, call.beta, 1);
  }

  Status Run() {
    return RunRows([&](int64_t worker, int64_t row) { return EmbedRow(row, Vector(2 + 2 * worker), Vector(3 + 2 * worker)); });
  }

 private:
  void Add(const void* table, int64_t index, float* scratch, float* sum) const {
    const char* from = static_cast<const char*>(table) + index * row_bytes_;
    kernels_.to_float(call_.dtype, from, scratch, call_.hidden_size);
    for (int i = 0; i < call_.hidden_size; ++i) sum[i] += scratch[i];
  }

  // The sum in Google's order: word, token type, position.
  Status EmbedRow(int64_t row, float* sum, float* scratch) const {
    char* output = static_cast<char*>(call_.output) + row * row_bytes_;
    if (!IsValid(row)) {
      std::memset(output, 0, row_bytes_);
      return Status::Ok();
    }
    const int32_t id = call_.input_ids[row];
    const int32_t token_type = call_.token_type_ids[row];
    if (id < 0 || id >= call_.vocab_size) {
      return Status::InvalidArgument("input_ids[" + std::to_string(row / call_.seq_len) + "," +
                                     std::to_string(row % call_.seq_len) + "] = " + std::to_string(id) +
                                     ", but word_embeddings has " + std::to_string(call_.vocab_size) + " rows");
    }
    if (call_.dtype == DataType::kFloat32) sum = reinterpret_cast<float*>(output);
    kernels_.to_float(call_.dtype, static_cast<const char*>(call_.word_embeddings) + id * row_bytes_, sum,
                      call_.hidden_size);
    if (token_type >= 0 && token_type < call_.num_token_types) Add(call_.token_type_embeddings, token_type, scratch, sum);
    Add(call_.position_embeddings, row % call_.seq_len, scratch, sum);
    kernels_.layer_norm({sum, 1, call_.hidden_size, gamma_, beta_, call_.epsilon, sum, nullptr});
    if (call_.dtype != DataType::kFloat32) kernels_.from_float(call_.dtype, sum, output, call_.hidden_size);
    return Status::Ok();
  }

  const EmbeddingCall& call_;
  const int64_t row_bytes_;
  const float* gamma_;
  const float* beta_;
};

}  // namespace
}  // namespace cpu

size_t CpuEmbeddingWorkspaceBytes(int hidden_size, int num_threads) {
  // gamma and beta, then two vectors for each worker.
  return cpu::LayerRows::WorkspaceBytes(hidden_size, 2 + 2 * static_cast<size_t>(num_threads));
}

Status RunCpuEmbedding(const EmbeddingCall& call) { return cpu::Embedding(call).Run(); }

}  // namespace tf_fastbert
