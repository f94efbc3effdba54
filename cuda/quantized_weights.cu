// Makes the 8-bit operands of the products from the user's kernels, once a set of weights: kernels [K, N] become [N, K] (8-bit
// wgmma takes both operands with K contiguous) in the row order of quantized_gemm.h, E4M3 is rounded on the way; scales and biases
// become float32 for the epilogue. And back: int8 kernels times their step, in the model's own type, for the passes that run
// without quantization.
//
// Ranges come from the host. They travel in copies of a few kilobytes, one a layer, which never wait for the device.
#include "cuda/quantized_weights.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "cuda/quantized.cuh"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kKernels = 6;
constexpr int kTile = 64;

// The six kernels of a layer in the order in which their columns follow each other in the arrays of scales and biases.
using W = FastBertLayerWeights;
using R = FastBertLayerRanges;
using WeightField = const void* W::*;
using AmaxField = const float* R::*;
using RangeField = float R::*;
struct Kernel {
  const char* name;
  GemmSite site;
  int part;  // of the QKV product: 0, 1, 2
  WeightField kernel;
  WeightField bias;
  AmaxField amax;
  RangeField input_amax;
};
constexpr Kernel kKernelList[kKernels] = {
    {"query_kernel", kGemmQkv, 0, &W::query_kernel, &W::query_bias, &R::query_kernel, &R::attention_input},
    {"key_kernel", kGemmQkv, 1, &W::key_kernel, &W::key_bias, &R::key_kernel, &R::attention_input},
    {"value_kernel", kGemmQkv, 2, &W::value_kernel, &W::value_bias, &R::value_kernel, &R::attention_input},
    {"attention_output_kernel", kGemmAttentionOutput, 0, &W::attention_output_kernel, &W::attention_output_bias,
     &R::attention_output_kernel, &R::context},
    {"intermediate_kernel", kGemmIntermediate, 0, &W::intermediate_kernel, &W::intermediate_bias, &R::intermediate_kernel,
     &R::intermediate_input},
    {"output_kernel", kGemmOutput, 0, &W::output_kernel, &W::output_bias, &R::output_kernel, &R::output_input},
};

int Rows(const FastBertConfig& c, int i) { return i == 5 ? c.inner_size : c.num_heads * c.size_per_head; }
int Columns(const FastBertConfig& c, int i) { return i == 4 ? c.inner_size : c.num_heads * c.size_per_head; }
int AllColumns(const FastBertConfig& c) { return 5 * c.num_heads * c.size_per_head + c.inner_size; }
size_t Align(size_t bytes) { return (bytes + 255) / 256 * 256; }

Status CheckRanges(const FastBertConfig& config, const FastBertLayerRanges* ranges) {
  if (ranges == nullptr) return Status::InvalidArgument("ranges is null");
  const auto check = [](int layer, const char* name, float value) {
    if (value > 0.0f && std::isfinite(value)) return Status::Ok();
    return Status::InvalidArgument("layer " + std::to_string(layer) + ": the range of " + name + " is " + std::to_string(value) +
                                   "; it must be positive and finite");
  };
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const FastBertLayerRanges& r = ranges[layer];
    FASTBERT_RETURN_IF_ERROR(check(layer, "attention_output_sum", r.attention_output_sum));
    FASTBERT_RETURN_IF_ERROR(check(layer, "output_sum", r.output_sum));
    for (int i = 0; i < kKernels; ++i) {
      const Kernel& kernel = kKernelList[i];
      FASTBERT_RETURN_IF_ERROR(check(layer, (std::string("the input of ") + kernel.name).c_str(), r.*kernel.input_amax));
      if (r.*kernel.amax == nullptr) {
        return Status::InvalidArgument("layer " + std::to_string(layer) + ": the ranges of " + kernel.name + " are null");
      }
      for (int c = 0; c < Columns(config, i); ++c) FASTBERT_RETURN_IF_ERROR(check(layer, kernel.name, (r.*kernel.amax)[c]));
    }
  }
  return Status::Ok();
}

Status Upload(const std::vector<float>& values, float* to, cudaStream_t stream) {
  // At most 64 KiB at once: such copies of ordinary host memory are staged when the call returns.
  constexpr size_t kPart = 16384;
  for (size_t first = 0; first < values.size(); first += kPart) {
    const size_t count = std::min(kPart, values.size() - first);
    FASTBERT_RETURN_IF_ERROR(CudaStatus(
        cudaMemcpyAsync(to + first, values.data() + first, count * sizeof(float), cudaMemcpyHostToDevice, stream), "cudaMemcpyAsync"));
  }
  return Status::Ok();
}

struct KernelTask {
  const void* from;  // [rows, columns]
  char* to;          // [columns, rows]
  int rows;
  int columns;
  float scale;  // E4M3
};

struct KernelTasks {
  KernelTask task[kKernels];
};

// Four neighbouring values of the source as 8-bit ones.
template <typename Format, typename T>
__device__ __forceinline__ uint32_t Load4(const void* from, int64_t element, float scale) {
  if constexpr (sizeof(T) == 1) {
    return *reinterpret_cast<const uint32_t*>(static_cast<const char*>(from) + element);
  } else {
    const T* values = static_cast<const T*>(from) + element;
    return Quantizer<Format>::Pack4(ToFloat(values[0]) * scale, ToFloat(values[1]) * scale, ToFloat(values[2]) * scale,
                                    ToFloat(values[3]) * scale);
  }
}

// A tile of 64 rows and 64 columns of the source goes through shared memory; blockIdx.z is the kernel.
template <typename Format, typename T>
__global__ void __launch_bounds__(256) TransposeKernel(const __grid_constant__ KernelTasks tasks) {
  __shared__ char tile[kTile][kTile + 4];
  const KernelTask& task = tasks.task[blockIdx.z];
  const int row0 = blockIdx.y * kTile, column0 = blockIdx.x * kTile;
  if (row0 >= task.rows || column0 >= task.columns) return;
  const int lane = threadIdx.x % 16 * 4;
  for (int r = threadIdx.x / 16; r < kTile; r += 16) {
    if (row0 + r >= task.rows || column0 + lane >= task.columns) continue;
    *reinterpret_cast<uint32_t*>(&tile[r][lane]) =
        Load4<Format, T>(task.from, static_cast<int64_t>(row0 + r) * task.columns + column0 + lane, task.scale);
  }
  __syncthreads();
  for (int c = threadIdx.x / 16; c < kTile; c += 16) {
    if (column0 + c >= task.columns || row0 + lane >= task.rows) continue;
    const int column = QuantizedWeightColumn(c);  // stays within 32 columns, so within the tile
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) bits |= static_cast<uint32_t>(static_cast<uint8_t>(tile[lane + i][column])) << (8 * i);
    *reinterpret_cast<uint32_t*>(task.to + static_cast<int64_t>(column0 + c) * task.rows + row0 + lane) = bits;
  }
}

struct BiasTasks {
  const void* from[kKernels];  // null: zeros
  int first[kKernels + 1];     // where each begins in `to`
  float* to;
};

template <typename T>
__global__ void BiasKernel(const __grid_constant__ BiasTasks tasks) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= tasks.first[kKernels]) return;
  int kernel = 0;
  while (i >= tasks.first[kernel + 1]) ++kernel;
  const T* from = static_cast<const T*>(tasks.from[kernel]);
  tasks.to[i] = from != nullptr ? ToFloat(from[i - tasks.first[kernel]]) : 0.0f;
}

struct DequantizeTasks {
  const int8_t* from[kKernels];
  void* to[kKernels];
  const float* step[kKernels];  // [columns]
  int rows[kKernels];
  int columns[kKernels];
};

template <typename T>
__global__ void __launch_bounds__(256) DequantizeKernel(const __grid_constant__ DequantizeTasks tasks) {
  const int kernel = blockIdx.y;
  const int columns = tasks.columns[kernel];
  const int64_t size = static_cast<int64_t>(tasks.rows[kernel]) * columns;
  T* to = static_cast<T*>(tasks.to[kernel]);
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x; i < size; i += gridDim.x * 256) {
    to[i] = FromFloat<T>(static_cast<float>(tasks.from[kernel][i]) * tasks.step[kernel][i % columns]);
  }
}

}  // namespace

size_t QuantizedBytes(const FastBertConfig& config) {
  size_t bytes = 2 * Align(AllColumns(config) * sizeof(float));
  for (int i = 0; i < kKernels; ++i) bytes += Align(static_cast<size_t>(Rows(config, i)) * Columns(config, i));
  return bytes * config.num_layers;
}

Status PackQuantizedWeights(const FastBertConfig& config, const Dimensions& d, const FastBertLayerWeights* layers,
                            const FastBertLayerRanges* ranges, void* buffer, cudaStream_t stream,
                            std::vector<QuantizedLayer>* packed) {
  FASTBERT_RETURN_IF_ERROR(CheckRanges(config, ranges));
  const bool int8 = HasInt8Kernels(config), stream8 = HasInt8Stream(config);
  const float top = int8 ? 127.0f : 448.0f;
  const int n[kNumGemmSites] = {3 * d.hidden, d.hidden, d.inner, d.hidden};
  const int k[kNumGemmSites] = {d.hidden, d.hidden, d.hidden, d.inner};
  char* next = static_cast<char*>(buffer);
  const auto take = [&](size_t bytes) {
    char* p = next;
    next += Align(bytes);
    return p;
  };
  packed->resize(config.num_layers);
  std::vector<float> scales(AllColumns(config));
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const FastBertLayerRanges& r = ranges[layer];
    QuantizedLayer& q = (*packed)[layer];
    q.attention_input_scale = top / r.attention_input;
    q.context_scale = top / r.context;
    q.intermediate_input_scale = top / r.intermediate_input;
    q.output_input_scale = top / r.output_input;
    q.attention_output_sum_scale = top / r.attention_output_sum;
    q.output_sum_scale = top / r.output_sum;

    char* values[kNumGemmSites];
    for (int i = 0; i < kNumGemmSites; ++i) values[i] = take(static_cast<size_t>(n[i]) * k[i]);
    float* scale = reinterpret_cast<float*>(take(AllColumns(config) * sizeof(float)));
    float* bias = reinterpret_cast<float*>(take(AllColumns(config) * sizeof(float)));

    KernelTasks tasks = {};
    BiasTasks biases = {};
    biases.to = bias;
    for (int i = 0; i < kKernels; ++i) {
      const Kernel& kernel = kKernelList[i];
      const int rows = Rows(config, i), columns = Columns(config, i), first = biases.first[i];
      const float* amax = r.*kernel.amax;
      const float largest = *std::max_element(amax, amax + columns);
      for (int c = 0; c < columns; ++c) scales[first + c] = (int8 ? amax[c] : largest) / top * (r.*kernel.input_amax / top);
      tasks.task[i] = {layers[layer].*kernel.kernel, values[kernel.site] + static_cast<size_t>(kernel.part) * columns * rows, rows,
                       columns, top / largest};
      const bool without = stream8 && (kernel.site == kGemmAttentionOutput || kernel.site == kGemmOutput);
      biases.from[i] = without ? nullptr : layers[layer].*kernel.bias;
      biases.first[i + 1] = first + columns;
      if (kernel.part > 0) continue;
      QuantizedWeight& weight = q.weight[kernel.site];
      FASTBERT_RETURN_IF_ERROR(
          MakeQuantizedWeight(values[kernel.site], n[kernel.site], k[kernel.site], scale + first, bias + first, &weight));
    }
    FASTBERT_RETURN_IF_ERROR(Upload(scales, scale, stream));
    const int largest_size = std::max(d.hidden, d.inner);
    const dim3 grid((largest_size + kTile - 1) / kTile, (largest_size + kTile - 1) / kTile, kKernels);
    const bool half = config.dtype == FASTBERT_FLOAT16;
    if (int8) {
      TransposeKernel<Int8, int8_t><<<grid, 256, 0, stream>>>(tasks);
    } else if (half) {
      TransposeKernel<E4M3, __half><<<grid, 256, 0, stream>>>(tasks);
    } else {
      TransposeKernel<E4M3, __nv_bfloat16><<<grid, 256, 0, stream>>>(tasks);
    }
    FASTBERT_RETURN_IF_ERROR(LaunchStatus("TransposeKernel"));
    const unsigned blocks = (AllColumns(config) + 255) / 256;
    if (half) {
      BiasKernel<__half><<<blocks, 256, 0, stream>>>(biases);
    } else {
      BiasKernel<__nv_bfloat16><<<blocks, 256, 0, stream>>>(biases);
    }
    FASTBERT_RETURN_IF_ERROR(LaunchStatus("BiasKernel"));
  }
  return Status::Ok();
}

size_t DequantizedBytes(const FastBertConfig& config) {
  size_t bytes = Align(AllColumns(config) * sizeof(float));
  for (int i = 0; i < kKernels; ++i) bytes += Align(static_cast<size_t>(Rows(config, i)) * Columns(config, i) * SizeOf(config.dtype));
  return bytes * config.num_layers;
}

Status DequantizeWeights(const FastBertConfig& config, const FastBertLayerWeights* layers, const FastBertLayerRanges* ranges,
                         void* buffer, cudaStream_t stream, std::vector<FastBertLayerWeights>* dequantized) {
  FASTBERT_RETURN_IF_ERROR(CheckRanges(config, ranges));
  char* next = static_cast<char*>(buffer);
  dequantized->assign(layers, layers + config.num_layers);
  std::vector<float> steps(AllColumns(config));
  for (int layer = 0; layer < config.num_layers; ++layer) {
    float* step = reinterpret_cast<float*>(next);
    next += Align(steps.size() * sizeof(float));
    DequantizeTasks tasks = {};
    int first = 0;
    for (int i = 0; i < kKernels; ++i) {
      const Kernel& kernel = kKernelList[i];
      const int rows = Rows(config, i), columns = Columns(config, i);
      if (layers[layer].*kernel.kernel == nullptr) {
        return Status::InvalidArgument("layer " + std::to_string(layer) + ": " + kernel.name + " is null");
      }
      for (int c = 0; c < columns; ++c) steps[first + c] = (ranges[layer].*kernel.amax)[c] / 127.0f;
      tasks.from[i] = static_cast<const int8_t*>(layers[layer].*kernel.kernel);
      tasks.to[i] = next;
      tasks.step[i] = step + first;
      tasks.rows[i] = rows;
      tasks.columns[i] = columns;
      (*dequantized)[layer].*kernel.kernel = next;
      next += Align(static_cast<size_t>(rows) * columns * SizeOf(config.dtype));
      first += columns;
    }
    FASTBERT_RETURN_IF_ERROR(Upload(steps, step, stream));
    const dim3 grid(128, kKernels);
    switch (config.dtype) {
      case FASTBERT_FLOAT32: DequantizeKernel<float><<<grid, 256, 0, stream>>>(tasks); break;
      case FASTBERT_FLOAT16: DequantizeKernel<__half><<<grid, 256, 0, stream>>>(tasks); break;
      case FASTBERT_BFLOAT16: DequantizeKernel<__nv_bfloat16><<<grid, 256, 0, stream>>>(tasks); break;
    }
    FASTBERT_RETURN_IF_ERROR(LaunchStatus("DequantizeKernel"));
  }
  return Status::Ok();
}

}  // namespace cuda
}  // namespace tf_fastbert
