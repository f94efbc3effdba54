// start[b, s] and end[b, s]: hidden_states[b, s] times each of two rows of weights, and a bias; a constant in rows of padding.
//
// A warp takes a row, which it reads once, with 16-byte accesses. Rows of padding are not read; which those are travels as bits in
// the launch's parameters, of which there are 4 KB at most: 30,720 rows take one launch.
#include <algorithm>
#include <string>

#include "cuda/dimensions.h"
#include "cuda/padded_rows.h"
#include "cuda/row_sum.cuh"
#include "cuda/span_logits.h"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kMaskWords = 960;
constexpr int kRowsPerLaunch = 32 * kMaskWords;
constexpr int kRowsInBlock = 4;

struct SpanLogitsArgs {
  FastBertSpanLogitsCall call;
  int32_t first_row;
  int32_t num_rows;
  bool vectors;                // 16-byte accesses are possible
  uint32_t valid[kMaskWords];  // bit r % 32 of word r / 32: of row first_row + r
};
static_assert(sizeof(SpanLogitsArgs) <= 4096, "");

// As LoadColumns, for weights that may be of another type than the hidden states.
template <typename W, int kSize>
__device__ __forceinline__ void LoadWeights(const W* weights, int column, int hidden, bool vectors, float (&values)[kSize]) {
  if constexpr (kVectorSize<W> <= kSize) {
    float part[kVectorSize<W>];
#pragma unroll
    for (int i = 0; i < kSize; i += kVectorSize<W>) {
      LoadColumns(weights, column + i, hidden, vectors, part);
#pragma unroll
      for (int j = 0; j < kVectorSize<W>; ++j) values[i + j] = part[j];
    }
  } else {
#pragma unroll
    for (int i = 0; i < kSize; ++i) values[i] = column + i < hidden ? ToFloat(weights[column + i]) : 0.0f;
  }
}

template <typename T, typename W>
__global__ void SpanLogitsKernel(const __grid_constant__ SpanLogitsArgs args) {
  constexpr int kSize = kVectorSize<T>;
  const int i_row = blockIdx.x * kRowsInBlock + threadIdx.y;
  if (i_row >= args.num_rows) return;
  const int64_t row = int64_t{args.first_row} + i_row;
  const int hidden = args.call.hidden_size;
  float start = args.call.padding, end = args.call.padding;
  if ((args.valid[i_row / 32] >> (i_row % 32)) & 1) {
    const T* input = static_cast<const T*>(args.call.hidden_states) + row * hidden;
    const W* weights = static_cast<const W*>(args.call.weights);
    start = end = 0.0f;
#pragma unroll 2
    for (int column = threadIdx.x * kSize; column < hidden; column += 32 * kSize) {
      float x[kSize], w[kSize];
      LoadColumns(input, column, hidden, args.vectors, x);
      LoadWeights(weights, column, hidden, args.vectors, w);
#pragma unroll
      for (int i = 0; i < kSize; ++i) start += x[i] * w[i];
      LoadWeights(weights + hidden, column, hidden, args.vectors, w);
#pragma unroll
      for (int i = 0; i < kSize; ++i) end += x[i] * w[i];
    }
    const W* bias = static_cast<const W*>(args.call.bias);
    start = WarpSum(start) + ToFloat(bias[0]);
    end = WarpSum(end) + ToFloat(bias[1]);
  }
  if (threadIdx.x == 0) {
    args.call.start_logits[row] = start;
    args.call.end_logits[row] = end;
  }
}

template <typename T, typename W>
void Launch(const SpanLogitsArgs& args, cudaStream_t stream) {
  const unsigned blocks = (args.num_rows + kRowsInBlock - 1) / kRowsInBlock;
  SpanLogitsKernel<T, W><<<blocks, dim3(32, kRowsInBlock), 0, stream>>>(args);
}

template <typename T>
void LaunchForWeights(const SpanLogitsArgs& args, cudaStream_t stream) {
  switch (args.call.weights_dtype) {
    case FASTBERT_FLOAT32: return Launch<T, float>(args, stream);
    case FASTBERT_FLOAT16: return Launch<T, __half>(args, stream);
    case FASTBERT_BFLOAT16: return Launch<T, __nv_bfloat16>(args, stream);
  }
}

Status LaunchForType(const SpanLogitsArgs& args, cudaStream_t stream) {
  switch (args.call.dtype) {
    case FASTBERT_FLOAT32: LaunchForWeights<float>(args, stream); break;
    case FASTBERT_FLOAT16: LaunchForWeights<__half>(args, stream); break;
    case FASTBERT_BFLOAT16: LaunchForWeights<__nv_bfloat16>(args, stream); break;
  }
  return LaunchStatus("SpanLogitsKernel");
}

Status Check(const FastBertSpanLogitsCall& call) {
  FASTBERT_RETURN_IF_ERROR(CheckRows("span logits", call.batch, call.seq_len));
  if (call.hidden_size < 1) {
    return Status::InvalidArgument("span logits: hidden_size = " + std::to_string(call.hidden_size) +
                                   ", but it must be 1 or more");
  }
  FASTBERT_RETURN_IF_ERROR(CheckDataType("span logits", "dtype", call.dtype));
  return CheckDataType("span logits", "weights_dtype", call.weights_dtype);
}

}  // namespace

Status SpanLogits(const FastBertSpanLogitsCall& call, cudaStream_t stream) {
  FASTBERT_RETURN_IF_ERROR(Check(call));
  SpanLogitsArgs args;
  args.call = call;
  // The second row of weights starts behind the first.
  args.vectors = VectorsFit({call.hidden_states, call.weights},
                            {call.hidden_size * SizeOf(call.dtype), call.hidden_size * SizeOf(call.weights_dtype)});
  const int64_t rows = int64_t{call.batch} * call.seq_len;
  for (int64_t first = 0; first < rows; first += kRowsPerLaunch) {
    args.first_row = static_cast<int32_t>(first);
    args.num_rows = static_cast<int32_t>(std::min<int64_t>(rows - first, kRowsPerLaunch));
    std::fill(args.valid, args.valid + kMaskWords, 0u);
    ForEachRow(first, first + args.num_rows, call.seq_len, call.sequence_length, call.mask,
               [&](int64_t row, bool valid) { args.valid[(row - first) / 32] |= uint32_t{valid} << ((row - first) % 32); });
    FASTBERT_RETURN_IF_ERROR(LaunchForType(args, stream));
  }
  return Status::Ok();
}

}  // namespace cuda
}  // namespace tf_fastbert
