// LayerNorm between 8-bit products, for rows [rows, hidden]: sum = projection + bias + residual, normalized = LayerNorm(sum), and
// normalized * scale rounded to 8 bits, the input of the next product. Projection and residual are float16/bfloat16, or int8 with
// one step a tensor (mode 2). Also: quantizing alone, for the encoder's input.
//
// Bytes decide: a warp takes a row, eight columns a lane and vector, float32 in registers, two passes over them. (A block a row, as in
// layer_norm.cu, is 1 to 2 % faster at 1,536 rows and 1 to 3 % slower from 6,144 on.) Writing the quantized copy here costs one byte a
// value; a pass of its own would cost three.
#include "cuda/quantized_rows.h"

#include <type_traits>

#include "cuda/dependent_launch.cuh"
#include "cuda/quantized.cuh"
#include "cuda/row_sum.cuh"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kRowsInBlock = 4;

// Eight values of the stream as they lie in memory: of type T, or int8.
template <typename T, bool kInt8>
using StreamBits = std::conditional_t<kInt8, uint2, uint4>;

template <typename T, bool kInt8>
__device__ __forceinline__ StreamBits<T, kInt8> LoadStream(const void* from, int64_t element) {
  return *reinterpret_cast<const StreamBits<T, kInt8>*>(static_cast<const char*>(from) + element * (kInt8 ? 1 : sizeof(T)));
}

// int8 values count `step` each.
template <typename T>
__device__ __forceinline__ void UnpackStream(const uint4& bits, float, float (&values)[8]) {
  Unpack<T>(bits, values);
}
template <typename T>
__device__ __forceinline__ void UnpackStream(const uint2& bits, float step, float (&values)[8]) {
  Quantizer<Int8>::Unpack8(bits, values);
#pragma unroll
  for (float& x : values) x *= step;
}

template <typename Format>
__device__ __forceinline__ void StoreQuantized(void* to, int64_t element, const __half2 (&values)[4]) {
  *reinterpret_cast<uint2*>(static_cast<char*>(to) + element) = Quantizer<Format>::Pack8(values);
}

// Rounded by way of float16, in pairs: see Quantizer.
template <typename Format>
__device__ __forceinline__ void StoreQuantized(void* to, int64_t element, const float (&values)[8], float scale) {
  __half2 scaled[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) scaled[i] = __floats2half2_rn(values[2 * i] * scale, values[2 * i + 1] * scale);
  StoreQuantized<Format>(to, element, scaled);
}

template <typename T>
__device__ __forceinline__ uint4 LoadBits(const void* from, int column) {
  return *reinterpret_cast<const uint4*>(static_cast<const T*>(from) + column);
}

template <typename T, bool kEarly>
__device__ __forceinline__ void LoadParameter(const uint4& early, const void* parameter, int column, float (&values)[8]) {
  const uint4 bits = kEarly ? early : LoadBits<T>(parameter, column);
  Unpack<T>(bits, values);
}

// A warp takes a row; a lane holds at most kVectors times eight columns. kOnly8: nothing but the quantized rows is wanted, so gamma and
// beta are applied in pairs of float16, as they are rounded to 8 bits next. kEarly: bias, gamma and beta are loaded while the previous
// kernel still runs.
template <typename T, typename Format, bool kInt8, int kVectors, bool kOnly8, bool kEarly = kVectors <= 4>
__global__ void __launch_bounds__(32 * kRowsInBlock) QuantizedLayerNormKernel(const QuantizedLayerNormArgs args) {
  LetNextKernelStart();
  uint4 early_bias[kVectors], early_gamma[kVectors], early_beta[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (threadIdx.x + i * 32) * 8;
    if (!kEarly || column >= args.hidden) continue;
    if (args.bias != nullptr) early_bias[i] = LoadBits<T>(args.bias, column);
    if (args.gamma != nullptr) {
      early_gamma[i] = LoadBits<T>(args.gamma, column);
      early_beta[i] = LoadBits<T>(args.beta, column);
    }
  }
  WaitForPreviousKernel();
  const int64_t out_row = static_cast<int64_t>(blockIdx.x) * kRowsInBlock + threadIdx.y;
  if (out_row >= (args.output != nullptr ? args.output_rows : args.rows)) return;
  const int64_t row = args.token != nullptr ? args.token[out_row] : out_row;
  T* output = args.output != nullptr ? static_cast<T*>(args.output) + out_row * args.hidden : nullptr;
  if (row < 0) {
    const float zero[8] = {};
    for (int column = threadIdx.x * 8; column < args.hidden; column += 256) StoreVector(output + column, zero);
    return;
  }

  const int64_t offset = row * args.hidden;
  // All loads come first: a store in between, to memory that they could read, would make the later ones wait.
  StreamBits<T, kInt8> residual[kVectors], added[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (threadIdx.x + i * 32) * 8;
    if (column >= args.hidden) continue;
    residual[i] = LoadStream<T, kInt8>(args.residual, offset + column);
    if (args.projection != nullptr) added[i] = LoadStream<T, kInt8>(args.projection, offset + column);
  }
  float x[kVectors][8];
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (threadIdx.x + i * 32) * 8;
    if (column >= args.hidden) continue;
    UnpackStream<T>(residual[i], args.residual_step, x[i]);
    if (args.projection != nullptr) {
      float projection[8];
      UnpackStream<T>(added[i], args.projection_step, projection);
#pragma unroll
      for (int j = 0; j < 8; ++j) x[i][j] += projection[j];
    }
    if (args.bias != nullptr) {
      float bias[8];
      LoadParameter<T, kEarly>(early_bias[i], args.bias, column, bias);
#pragma unroll
      for (int j = 0; j < 8; ++j) x[i][j] += bias[j];
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += x[i][j];
    if (kOnly8) continue;
    if (args.sum != nullptr) StoreVector(static_cast<T*>(args.sum) + offset + column, x[i]);
    if (output != nullptr && args.output_is_sum) StoreVector(output + column, x[i]);
  }

  if (args.gamma == nullptr) return;
  const float mean = WarpSum(sum) / args.hidden;
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if ((threadIdx.x + i * 32) * 8 >= args.hidden) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      x[i][j] -= mean;
      squares += x[i][j] * x[i][j];
    }
  }
  const float scale = rsqrtf(WarpSum(squares) / args.hidden + args.epsilon);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (threadIdx.x + i * 32) * 8;
    if (column >= args.hidden) continue;
    float gamma[8], beta[8];
    LoadParameter<T, kEarly>(early_gamma[i], args.gamma, column, gamma);
    LoadParameter<T, kEarly>(early_beta[i], args.beta, column, beta);
    if constexpr (kOnly8) {
      __half2 y[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const __half2 normalized = __floats2half2_rn(x[i][2 * j] * scale, x[i][2 * j + 1] * scale);
        const __half2 g = __floats2half2_rn(gamma[2 * j] * args.quantize_scale, gamma[2 * j + 1] * args.quantize_scale);
        const __half2 b = __floats2half2_rn(beta[2 * j] * args.quantize_scale, beta[2 * j + 1] * args.quantize_scale);
        y[j] = __hfma2(normalized, g, b);
      }
      StoreQuantized<Format>(args.quantized, offset + column, y);
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) x[i][j] = x[i][j] * scale * gamma[j] + beta[j];
      if (args.normalized != nullptr) StoreVector(static_cast<T*>(args.normalized) + offset + column, x[i]);
      if (output != nullptr && !args.output_is_sum) StoreVector(output + column, x[i]);
      if (args.quantized != nullptr) StoreQuantized<Format>(args.quantized, offset + column, x[i], args.quantize_scale);
    }
  }
}

template <typename T, typename Format, bool kInt8>
cudaError_t LaunchLayerNormOf(const QuantizedLayerNormArgs& args, cudaStream_t stream) {
  const int64_t rows = args.output != nullptr ? args.output_rows : args.rows;
  const unsigned blocks = static_cast<unsigned>((rows + kRowsInBlock - 1) / kRowsInBlock);
  const dim3 block(32, kRowsInBlock);
  const auto launch = [&](auto kernel) { return LaunchDependent(kernel, blocks, block, 1, 0, stream, args); };
  const int vectors = (args.hidden + 255) / 256;
  // What mode 2 runs between the products.
  if (kInt8 && args.quantized != nullptr && args.normalized == nullptr && args.output == nullptr && args.sum == nullptr) {
    if (vectors <= 2) return launch(QuantizedLayerNormKernel<T, Format, kInt8, 2, kInt8>);
    if (vectors <= 3) return launch(QuantizedLayerNormKernel<T, Format, kInt8, 3, kInt8>);
    if (vectors <= 4) return launch(QuantizedLayerNormKernel<T, Format, kInt8, 4, kInt8>);
  }
  if (vectors <= 2) return launch(QuantizedLayerNormKernel<T, Format, kInt8, 2, false>);
  if (vectors <= 3) return launch(QuantizedLayerNormKernel<T, Format, kInt8, 3, false>);
  if (vectors <= 4) return launch(QuantizedLayerNormKernel<T, Format, kInt8, 4, false>);
  return launch(QuantizedLayerNormKernel<T, Format, kInt8, kMaxQuantizedHiddenSize / 256, false>);
}

template <typename T>
cudaError_t LaunchLayerNormFor(const QuantizedLayerNormArgs& args, QuantizedType type, cudaStream_t stream) {
  if (type == QuantizedType::kE4M3) return LaunchLayerNormOf<T, E4M3, false>(args, stream);
  return args.int8_stream ? LaunchLayerNormOf<T, Int8, true>(args, stream) : LaunchLayerNormOf<T, Int8, false>(args, stream);
}

template <typename T, typename Format>
__global__ void __launch_bounds__(32 * kRowsInBlock) QuantizeRowsKernel(const QuantizeRowsArgs args) {
  LetNextKernelStart();
  WaitForPreviousKernel();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsInBlock + threadIdx.y;
  if (row >= args.rows) return;
  for (int column = threadIdx.x * 8; column < args.hidden; column += 256) {
    const int64_t element = row * args.hidden + column;
    float values[8];
    LoadVector(static_cast<const T*>(args.input) + element, values);
    StoreQuantized<Format>(args.quantized, element, values, args.scale);
  }
}

template <typename T>
cudaError_t LaunchQuantizeRowsFor(const QuantizeRowsArgs& args, QuantizedType type, cudaStream_t stream) {
  const dim3 block(32, kRowsInBlock);
  const unsigned blocks = static_cast<unsigned>((args.rows + kRowsInBlock - 1) / kRowsInBlock);
  return LaunchDependent(type == QuantizedType::kInt8 ? QuantizeRowsKernel<T, Int8> : QuantizeRowsKernel<T, E4M3>, blocks, block, 1,
                         0, stream, args);
}

}  // namespace

Status LaunchQuantizedLayerNorm(const QuantizedLayerNormArgs& args, QuantizedType type, int dtype, cudaStream_t stream) {
  const auto launch = dtype == FASTBERT_FLOAT16 ? LaunchLayerNormFor<__half> : LaunchLayerNormFor<__nv_bfloat16>;
  return CudaStatus(launch(args, type, stream), "QuantizedLayerNormKernel");
}

Status LaunchQuantizeRows(const QuantizeRowsArgs& args, QuantizedType type, int dtype, cudaStream_t stream) {
  const auto launch = dtype == FASTBERT_FLOAT16 ? LaunchQuantizeRowsFor<__half> : LaunchQuantizeRowsFor<__nv_bfloat16>;
  return CudaStatus(launch(args, type, stream), "QuantizeRowsKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
