// Copies weights into the packed buffer: Q, K and V kernels [H, H] side by side as [H, 3H] so that one product makes all three,
// their biases likewise, and, where a size is not a multiple of 8, every weight with zeros in the added rows and columns.
//
// A copy is described by a PackTask: rows and columns come in groups (a head, or the whole width) that grow from `group` to
// `padded_group` elements. One launch carries up to 48 tasks in its parameters, so 12 layers of BERT-base take two launches; this
// matters where weights are packed anew in every call.
#include "cuda/pack_weights.h"

#include <algorithm>
#include <string>

#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kTasksPerLaunch = 48;
constexpr int kThreads = 256;
constexpr int kBlocksPerTask = 64;

// Elements [0, padded) of one side of a matrix: index i lies in group i / padded_group, and comes from source index
// i / padded_group * group + i % padded_group, or is zero where i % padded_group >= group or that is not below `size`.
struct PackAxis {
  int32_t padded;
  int32_t group;
  int32_t padded_group;
  int32_t size;

  __host__ __device__ int Source(int i) const {
    const int in_group = i % padded_group;
    const int source = i / padded_group * group + in_group;
    return in_group < group && source < size ? source : -1;
  }
};

struct PackTask {
  const void* from;  // [rows.size, columns.size]
  void* to;          // [rows.padded, columns.padded], rows to_stride elements apart
  PackAxis rows;
  PackAxis columns;
  int32_t to_stride;
};

struct PackTasks {
  PackTask task[kTasksPerLaunch];
};

// blockIdx.y is the task. T only says how wide an element is.
template <typename T>
__global__ void PackKernel(const __grid_constant__ PackTasks tasks) {
  constexpr int kSize = kVectorSize<T>;
  const PackTask& task = tasks.task[blockIdx.y];
  const T* from = static_cast<const T*>(task.from);
  T* to = static_cast<T*>(task.to);
  const int vectors_in_row = task.columns.padded / kSize;
  const int64_t num_vectors = static_cast<int64_t>(task.rows.padded) * vectors_in_row;
  const bool whole_vectors = task.columns.group % kSize == 0;
  for (int64_t v = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; v < num_vectors; v += gridDim.x * kThreads) {
    const int row = static_cast<int>(v / vectors_in_row);
    const int column = static_cast<int>(v % vectors_in_row) * kSize;
    const int from_row = task.rows.Source(row);
    uint4 bits = {0, 0, 0, 0};
    if (from_row >= 0) {
      const T* line = from + static_cast<int64_t>(from_row) * task.columns.size;
      if (whole_vectors) {
        const int from_column = task.columns.Source(column);
        if (from_column >= 0) bits = *reinterpret_cast<const uint4*>(line + from_column);
      } else {
        T* elements = reinterpret_cast<T*>(&bits);
#pragma unroll
        for (int i = 0; i < kSize; ++i) {
          const int from_column = task.columns.Source(column + i);
          if (from_column >= 0) elements[i] = line[from_column];
        }
      }
    }
    *reinterpret_cast<uint4*>(to + static_cast<int64_t>(row) * task.to_stride + column) = bits;
  }
}

// Hands out the packed buffer in 256-byte steps; with a null buffer it only counts.
class Packer {
 public:
  Packer(int dtype, void* buffer) : dtype_(dtype), buffer_(static_cast<char*>(buffer)) {}

  size_t used() const { return used_; }
  const std::vector<PackTask>& tasks() const { return tasks_; }

  void* Allocate(int64_t elements) {
    void* p = buffer_ == nullptr ? nullptr : buffer_ + used_;
    used_ += (elements * SizeOf(dtype_) + 255) / 256 * 256;
    return p;
  }

  // `part` of `parts` equal blocks of columns of `to`.
  void Copy(const void* from, void* to, PackAxis rows, PackAxis columns, int part = 0, int parts = 1) {
    void* start = to == nullptr ? nullptr : static_cast<char*>(to) + static_cast<size_t>(part) * columns.padded * SizeOf(dtype_);
    tasks_.push_back({from, start, rows, columns, columns.padded * parts});
  }

  // The weight itself where nothing is padded, else a padded copy.
  const void* Pad(const void* from, PackAxis rows, PackAxis columns) {
    if (rows.padded == rows.size && columns.padded == columns.size) return from;
    void* to = Allocate(static_cast<int64_t>(rows.padded) * columns.padded);
    Copy(from, to, rows, columns);
    return to;
  }

 private:
  const int dtype_;
  char* const buffer_;
  size_t used_ = 0;
  std::vector<PackTask> tasks_;
};

PackedLayer PlanLayer(const Dimensions& d, const FastBertLayerWeights& w, Packer* packer) {
  const PackAxis one{1, 1, 1, 1};
  const PackAxis hidden{d.padded_hidden, d.hidden, d.padded_hidden, d.hidden};
  const PackAxis heads{d.heads, d.head, d.padded_head, d.hidden};
  const PackAxis inner{d.padded_inner, d.inner, d.padded_inner, d.inner};
  PackedLayer p;
  void* qkv_kernel = packer->Allocate(int64_t{3} * d.padded_hidden * d.heads);
  void* qkv_bias = packer->Allocate(int64_t{3} * d.heads);
  const void* kernels[] = {w.query_kernel, w.key_kernel, w.value_kernel};
  const void* biases[] = {w.query_bias, w.key_bias, w.value_bias};
  for (int i = 0; i < 3; ++i) {
    packer->Copy(kernels[i], qkv_kernel, hidden, heads, i, 3);
    packer->Copy(biases[i], qkv_bias, one, heads, i, 3);
  }
  p.qkv_kernel = qkv_kernel;
  p.qkv_bias = qkv_bias;
  p.attention_output_kernel = packer->Pad(w.attention_output_kernel, heads, hidden);
  p.attention_output_bias = packer->Pad(w.attention_output_bias, one, hidden);
  p.attention_layer_norm_gamma = packer->Pad(w.attention_layer_norm_gamma, one, hidden);
  p.attention_layer_norm_beta = packer->Pad(w.attention_layer_norm_beta, one, hidden);
  p.intermediate_kernel = packer->Pad(w.intermediate_kernel, hidden, inner);
  p.intermediate_bias = packer->Pad(w.intermediate_bias, one, inner);
  p.output_kernel = packer->Pad(w.output_kernel, inner, hidden);
  p.output_bias = packer->Pad(w.output_bias, one, hidden);
  p.output_layer_norm_gamma = packer->Pad(w.output_layer_norm_gamma, one, hidden);
  p.output_layer_norm_beta = packer->Pad(w.output_layer_norm_beta, one, hidden);
  return p;
}

}  // namespace

Status CheckWeightPointers(int layer, const FastBertLayerWeights& w) {
  const struct {
    const char* name;
    const void* pointer;
  } weights[] = {
      {"query_kernel", w.query_kernel},
      {"query_bias", w.query_bias},
      {"key_kernel", w.key_kernel},
      {"key_bias", w.key_bias},
      {"value_kernel", w.value_kernel},
      {"value_bias", w.value_bias},
      {"attention_output_kernel", w.attention_output_kernel},
      {"attention_output_bias", w.attention_output_bias},
      {"attention_layer_norm_gamma", w.attention_layer_norm_gamma},
      {"attention_layer_norm_beta", w.attention_layer_norm_beta},
      {"intermediate_kernel", w.intermediate_kernel},
      {"intermediate_bias", w.intermediate_bias},
      {"output_kernel", w.output_kernel},
      {"output_bias", w.output_bias},
      {"output_layer_norm_gamma", w.output_layer_norm_gamma},
      {"output_layer_norm_beta", w.output_layer_norm_beta},
  };
  for (const auto& weight : weights) {
    if (weight.pointer != nullptr && reinterpret_cast<uintptr_t>(weight.pointer) % 16 == 0) continue;
    return Status::InvalidArgument("layer " + std::to_string(layer) + ": " + weight.name + " is " +
                                   (weight.pointer == nullptr ? "null" : "not 16-byte aligned"));
  }
  return Status::Ok();
}

size_t PackedBytes(const FastBertConfig& config, const Dimensions& dimensions) {
  Packer packer(config.dtype, nullptr);
  PlanLayer(dimensions, FastBertLayerWeights{}, &packer);
  return packer.used() * config.num_layers;
}

Status PackWeights(const FastBertConfig& config, const Dimensions& dimensions, const FastBertLayerWeights* layers, void* buffer,
                   cudaStream_t stream, std::vector<PackedLayer>* packed) {
  Packer packer(config.dtype, buffer);
  packed->clear();
  for (int i = 0; i < config.num_layers; ++i) {
    FASTBERT_RETURN_IF_ERROR(CheckWeightPointers(i, layers[i]));
    packed->push_back(PlanLayer(dimensions, layers[i], &packer));
  }
  const std::vector<PackTask>& tasks = packer.tasks();
  for (size_t first = 0; first < tasks.size(); first += kTasksPerLaunch) {
    const int count = static_cast<int>(std::min<size_t>(kTasksPerLaunch, tasks.size() - first));
    PackTasks launch = {};
    std::copy_n(tasks.begin() + first, count, launch.task);
    const dim3 grid(kBlocksPerTask, count);
    if (SizeOf(config.dtype) == 4) {
      PackKernel<float><<<grid, kThreads, 0, stream>>>(launch);
    } else {
      PackKernel<__half><<<grid, kThreads, 0, stream>>>(launch);
    }
    FASTBERT_RETURN_IF_ERROR(LaunchStatus("PackKernel"));
  }
  return Status::Ok();
}

}  // namespace cuda
}  // namespace tf_fastbert
