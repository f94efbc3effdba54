// A layer around the encoder on the CPU: tasks are runs of rows of the padded batch, and vectors of floats lie in the workspace.
#ifndef TF_FASTBERT_CC_CPU_LAYER_ROWS_H_
#define TF_FASTBERT_CC_CPU_LAYER_ROWS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cc/cpu/kernels.h"
#include "cc/cpu/parallel.h"
#include "cc/layer_call.h"

namespace tf_fastbert {
namespace cpu {

class LayerRows {
 public:
  // Of a workspace of so many vectors.
  static size_t WorkspaceBytes(int hidden_size, size_t vectors) { return vectors * Stride(hidden_size) * sizeof(float); }

 protected:
  explicit LayerRows(const LayerCall& layer) : kernels_(BestKernels()), layer_(layer) {}

  // run(worker, row) -> Status for each row; a worker's calls follow one another.
  template <typename RunRow>
  Status RunRows(const RunRow& run) const {
    constexpr int64_t kRowsPerTask = 16;
    const int64_t rows = static_cast<int64_t>(layer_.batch) * layer_.seq_len;
    const auto task = [&](int64_t worker, int64_t i) {
      for (int64_t row = i * kRowsPerTask; row < std::min(rows, (i + 1) * kRowsPerTask); ++row) {
        Status status = run(worker, row);
        if (!status.ok()) return status;
      }
      return Status::Ok();
    };
    return RunTasks(layer_.parallel_for, layer_.num_threads, (rows + kRowsPerTask - 1) / kRowsPerTask, task);
  }

  bool IsValid(int64_t row) const {
    if (layer_.mask != nullptr) return layer_.mask[row] != 0;
    return layer_.sequence_length == nullptr || row % layer_.seq_len < layer_.sequence_length[row / layer_.seq_len];
  }

  float* Vector(int64_t index) const { return static_cast<float*>(layer_.workspace) + index * Stride(layer_.hidden_size); }

  // hidden_size values as floats: themselves, or a copy in Vector(index).
  const float* Floats(DataType dtype, const void* values, int64_t index) const {
    if (dtype == DataType::kFloat32) return static_cast<const float*>(values);
    kernels_.to_float(dtype, values, Vector(index), layer_.hidden_size);
    return Vector(index);
  }

  const Kernels& kernels_;

 private:
  // Vectors start at multiples of 64 bytes.
  static size_t Stride(int hidden_size) { return (static_cast<size_t>(hidden_size) + 15) / 16 * 16; }

  const LayerCall& layer_;
};

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_LAYER_ROWS_H_
