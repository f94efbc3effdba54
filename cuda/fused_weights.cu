// Makes the operands of fused_gemm.h, once a set of weights: kernels [K, N] become [N, K], times the gamma of the LayerNorm before
// them, rounded; sums over K of those, and beta W, for the epilogue, which reads float32.
//
// A weight is described by a FoldTask; a launch carries those of up to six layers in its parameters, since weights may be packed
// anew in every call.
#include <algorithm>

#include "cuda/fused_weights.h"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kTasksPerLaunch = 60;
constexpr int kTile = 64;
constexpr int kSumRows = 8;  // threads that share a column

struct FoldTask {
  const void* from;   // [rows, columns], or null: only `bias` is converted
  void* to;           // [columns, rows]
  const void* gamma;  // [rows], with beta; null: nothing is folded
  const void* beta;
  const void* bias;   // [columns]
  float* bias_to;     // [columns]: bias + beta W
  float* column_sum;  // [columns], with gamma
  int rows, columns;  // multiples of 64
};

struct FoldTasks {
  FoldTask task[kTasksPerLaunch];
};
static_assert(sizeof(FoldTasks) <= 4096 - 64, "a launch's parameters");

// A tile of 64 rows and 64 columns of the source goes through shared memory; blockIdx.z is the task.
template <typename T>
__global__ void __launch_bounds__(256) FoldKernel(const __grid_constant__ FoldTasks tasks) {
  constexpr int kSize = kVectorSize<T>;
  __shared__ T tile[kTile][kTile + 2];
  const FoldTask& task = tasks.task[blockIdx.z];
  const int row0 = blockIdx.y * kTile, column0 = blockIdx.x * kTile;
  if (task.from == nullptr || row0 >= task.rows || column0 >= task.columns) return;
  const int lane = threadIdx.x % 8 * kSize;
  for (int r = threadIdx.x / 8; r < kTile; r += 32) {
    float v[kSize];
    LoadVector(static_cast<const T*>(task.from) + static_cast<int64_t>(row0 + r) * task.columns + column0 + lane, v);
    const float gamma = task.gamma != nullptr ? ToFloat(static_cast<const T*>(task.gamma)[row0 + r]) : 1.0f;
#pragma unroll
    for (int i = 0; i < kSize; ++i) tile[r][lane + i] = FromFloat<T>(v[i] * gamma);
  }
  __syncthreads();
  for (int c = threadIdx.x / 8; c < kTile; c += 32) {
    uint4 bits;
    T* values = reinterpret_cast<T*>(&bits);
#pragma unroll
    for (int i = 0; i < kSize; ++i) values[i] = tile[lane + i][c];
    *reinterpret_cast<uint4*>(static_cast<T*>(task.to) + static_cast<int64_t>(column0 + c) * task.rows + row0 + lane) = bits;
  }
}

// blockDim = (32 columns, kSumRows); blockIdx.y is the task.
template <typename T>
__global__ void __launch_bounds__(32 * kSumRows) FoldSumsKernel(const __grid_constant__ FoldTasks tasks) {
  __shared__ float sums[2][kSumRows][32];
  const FoldTask& task = tasks.task[blockIdx.y];
  const int c = blockIdx.x * 32 + threadIdx.x;
  if (blockIdx.x * 32 >= task.columns) return;
  const T* const bias = static_cast<const T*>(task.bias);
  if (task.gamma == nullptr) {
    if (threadIdx.y == 0) task.bias_to[c] = ToFloat(bias[c]);
    return;
  }
  float folded = 0.0f, shift = 0.0f;
  for (int r = threadIdx.y; r < task.rows; r += kSumRows) {
    const float w = ToFloat(static_cast<const T*>(task.from)[static_cast<int64_t>(r) * task.columns + c]);
    folded += ToFloat(FromFloat<T>(w * ToFloat(static_cast<const T*>(task.gamma)[r])));
    shift += w * ToFloat(static_cast<const T*>(task.beta)[r]);
  }
  sums[0][threadIdx.y][threadIdx.x] = folded;
  sums[1][threadIdx.y][threadIdx.x] = shift;
  __syncthreads();
  if (threadIdx.y > 0) return;
  for (int y = 1; y < kSumRows; ++y) {
    folded += sums[0][y][threadIdx.x];
    shift += sums[1][y][threadIdx.x];
  }
  task.column_sum[c] = folded;
  task.bias_to[c] = shift + ToFloat(bias[c]);
}

template <typename T>
void Launch(const FoldTasks& tasks, int count, int largest, cudaStream_t stream) {
  FoldKernel<T><<<dim3(largest / kTile, largest / kTile, count), 256, 0, stream>>>(tasks);
  FoldSumsKernel<T><<<dim3(largest / 32, count), dim3(32, kSumRows), 0, stream>>>(tasks);
}

// Hands out the buffer in 256-byte steps; with a null buffer it only counts.
class Planner {
 public:
  Planner(const FastBertConfig& config, void* buffer)
      : hidden_(config.num_heads * config.size_per_head), inner_(config.inner_size), buffer_(static_cast<char*>(buffer)) {}

  size_t used() const { return used_; }
  const std::vector<FoldTask>& tasks() const { return tasks_; }

  // previous: the layer before, or null for the first one.
  void Layer(const FastBertLayerWeights& w, const FastBertLayerWeights* previous, FusedLayer* layer) {
    FusedWeight* const weight = layer->weight;
    const void* const gamma = previous != nullptr ? previous->output_layer_norm_gamma : nullptr;
    const void* const beta = previous != nullptr ? previous->output_layer_norm_beta : nullptr;
    Plan(3 * hidden_, hidden_, previous != nullptr, &weight[kGemmQkv]);
    Fold(w.query_kernel, w.query_bias, gamma, beta, hidden_, 0, weight[kGemmQkv]);
    Fold(w.key_kernel, w.key_bias, gamma, beta, hidden_, hidden_, weight[kGemmQkv]);
    Fold(w.value_kernel, w.value_bias, gamma, beta, hidden_, 2 * hidden_, weight[kGemmQkv]);
    Plan(hidden_, hidden_, false, &weight[kGemmAttentionOutput]);
    Fold(w.attention_output_kernel, w.attention_output_bias, nullptr, nullptr, hidden_, 0, weight[kGemmAttentionOutput]);
    Plan(inner_, hidden_, true, &weight[kGemmIntermediate]);
    Fold(w.intermediate_kernel, w.intermediate_bias, w.attention_layer_norm_gamma, w.attention_layer_norm_beta, inner_, 0,
         weight[kGemmIntermediate]);
    Plan(hidden_, inner_, false, &weight[kGemmOutput]);
    Fold(w.output_kernel, w.output_bias, nullptr, nullptr, hidden_, 0, weight[kGemmOutput]);
    layer->attention_gamma = Convert(w.attention_layer_norm_gamma);
    layer->attention_beta = Convert(w.attention_layer_norm_beta);
    layer->output_gamma = Convert(w.output_layer_norm_gamma);
    layer->output_beta = Convert(w.output_layer_norm_beta);
  }

 private:
  void* Take(size_t bytes) {
    void* p = buffer_ == nullptr ? nullptr : buffer_ + used_;
    used_ += (bytes + 255) / 256 * 256;
    return p;
  }
  float* Floats(int count) { return static_cast<float*>(Take(count * sizeof(float))); }

  void Plan(int n, int k, bool folded, FusedWeight* weight) {
    weight->n = n;
    weight->k = k;
    weight->values = Take(size_t{2} * n * k);
    weight->bias = Floats(n);
    weight->column_sum = folded ? Floats(n) : nullptr;
  }

  // `columns` of the weight from `first` on.
  void Fold(const void* kernel, const void* bias, const void* gamma, const void* beta, int columns, int first,
            const FusedWeight& weight) {
    if (buffer_ == nullptr) return;
    tasks_.push_back({kernel, static_cast<char*>(const_cast<void*>(weight.values)) + size_t{2} * first * weight.k, gamma, beta,
                      bias, const_cast<float*>(weight.bias) + first,
                      weight.column_sum != nullptr ? const_cast<float*>(weight.column_sum) + first : nullptr, weight.k, columns});
  }

  const float* Convert(const void* vector) {
    float* to = Floats(hidden_);
    if (buffer_ != nullptr) tasks_.push_back({nullptr, nullptr, nullptr, nullptr, vector, to, nullptr, 0, hidden_});
    return to;
  }

  const int hidden_, inner_;
  char* const buffer_;
  size_t used_ = 0;
  std::vector<FoldTask> tasks_;
};

}  // namespace

size_t FusedBytes(const FastBertConfig& config) {
  Planner planner(config, nullptr);
  const FastBertLayerWeights none = {};
  for (int i = 0; i < config.num_layers; ++i) {
    FusedLayer layer;
    planner.Layer(none, i > 0 ? &none : nullptr, &layer);
  }
  return planner.used();
}

Status PackFusedWeights(const FastBertConfig& config, const Dimensions& d, const FastBertLayerWeights* layers, void* buffer,
                        cudaStream_t stream, std::vector<FusedLayer>* packed) {
  Planner planner(config, buffer);
  packed->assign(config.num_layers, FusedLayer());
  for (int i = 0; i < config.num_layers; ++i) {
    planner.Layer(layers[i], i > 0 ? &layers[i - 1] : nullptr, &(*packed)[i]);
  }
  const std::vector<FoldTask>& tasks = planner.tasks();
  for (size_t first = 0; first < tasks.size(); first += kTasksPerLaunch) {
    const int count = static_cast<int>(std::min<size_t>(kTasksPerLaunch, tasks.size() - first));
    FoldTasks launch = {};
    std::copy_n(tasks.begin() + first, count, launch.task);
    if (config.dtype == FASTBERT_FLOAT16) {
      Launch<__half>(launch, count, std::max(d.hidden, d.inner), stream);
    } else {
      Launch<__nv_bfloat16>(launch, count, std::max(d.hidden, d.inner), stream);
    }
    FASTBERT_RETURN_IF_ERROR(LaunchStatus("FoldKernel"));
  }
  return Status::Ok();
}

}  // namespace cuda
}  // namespace tf_fastbert
