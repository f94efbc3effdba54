// output[b, s] = LayerNorm(word[input_ids[b, s]] + token_type[token_type_ids[b, s]] + position[s]) * gamma + beta for a padded
// batch [B, S, H], with zeros in the rows of padding.
//
// The work is moving bytes: a word's row is read and the output's written with 16-byte accesses, once; positions, token types,
// gamma and beta stay in the caches. A row is held in registers in float32 between the two passes of the LayerNorm (mean, then
// variance), by one warp up to 256 vectors of 16 bytes, else by a block of 256 threads. Rows of padding cost
// their zeros only: neither their ids nor any table is read.
//
// What a row is made of, its two ids or that it is padding, travels as one number in the launch's parameters: the ids come from
// host memory, and to copy them to the GPU first would take longer than all the rest.
//
// An id outside of its table counts as a row of zeros, as in tf.gather on a GPU and in tf.one_hot: nothing is read out of bounds.
// Where H is no multiple of a vector, or a pointer not aligned to one, elements are accessed one by one.
#include "cuda/embedding.h"

#include <algorithm>
#include <string>

#include "cuda/dimensions.h"
#include "cuda/layer_norm.h"
#include "cuda/padded_rows.h"
#include "cuda/row_sum.cuh"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

// Rows of a launch: of 4 KB of parameters, and of the 32 KB that they may be since CUDA 12.1.
constexpr int kFewRows = 960;
constexpr int kManyRows = CUDART_VERSION >= 12010 ? 8000 : kFewRows;

constexpr uint32_t kPadding = 0xffffffffu;

template <int kRows>
struct EmbeddingArgs {
  FastBertEmbeddingCall call;
  int32_t first_row;
  int32_t num_rows;
  bool vectors;           // 16-byte accesses are possible
  uint32_t codes[kRows];  // see Code
};
static_assert(sizeof(EmbeddingArgs<kFewRows>) <= 4096 && sizeof(EmbeddingArgs<kManyRows>) <= 32764, "");

// Both ids of a row in one number, below kPadding (see Check); an id outside of its table as the first one behind it.
uint32_t Code(const FastBertEmbeddingCall& call, int word, int token_type) {
  const uint32_t words = call.vocab_size, types = call.num_token_types;
  return std::min(static_cast<uint32_t>(word), words) * (types + 1) + std::min(static_cast<uint32_t>(token_type), types);
}

template <typename T>
__device__ __forceinline__ void Store(T* row, int column, int hidden, bool vectors, const float (&values)[kVectorSize<T>]) {
  if (vectors) return StoreVector(row + column, values);
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) {
    if (column + i < hidden) row[column + i] = FromFloat<T>(values[i]);
  }
}

// Row `index` of a table, or null where the table has no such row.
template <typename T>
__device__ __forceinline__ const T* TableRow(const void* table, uint32_t index, uint32_t rows, int hidden) {
  return index < rows ? static_cast<const T*>(table) + static_cast<int64_t>(index) * hidden : nullptr;
}

// blockDim = (kThreads, rows in a block); each thread holds kVectors vectors of its row.
template <typename T, int kThreads, int kVectors, int kRows>
__global__ void EmbeddingKernel(const __grid_constant__ EmbeddingArgs<kRows> args) {
  constexpr int kSize = kVectorSize<T>;
  __shared__ float shared[2][kThreads / 32];
  const int i_row = blockIdx.x * blockDim.y + threadIdx.y;
  if (i_row >= args.num_rows) return;
  const int row = args.first_row + i_row;
  const int hidden = args.call.hidden_size;
  const bool vectors = args.vectors;
  T* output = static_cast<T*>(args.call.output) + static_cast<int64_t>(row) * hidden;
  const uint32_t code = args.codes[i_row];
  if (code == kPadding) {
    const float zero[kSize] = {};
    for (int c = threadIdx.x * kSize; c < hidden; c += kThreads * kSize) Store(output, c, hidden, vectors, zero);
    return;
  }

  const uint32_t types = args.call.num_token_types;
  const T* word = TableRow<T>(args.call.word_embeddings, code / (types + 1), args.call.vocab_size, hidden);
  const T* token_type = TableRow<T>(args.call.token_type_embeddings, code % (types + 1), types, hidden);
  const T* position = TableRow<T>(args.call.position_embeddings, row % args.call.seq_len, args.call.seq_len, hidden);
  float x[kVectors][kSize];
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (threadIdx.x + i * kThreads) * kSize;
#pragma unroll
    for (int j = 0; j < kSize; ++j) x[i][j] = 0.0f;
    if (column >= hidden) continue;
    float other[kSize];
    if (word != nullptr) LoadColumns(word, column, hidden, vectors, x[i]);
    if (token_type != nullptr) {
      LoadColumns(token_type, column, hidden, vectors, other);
#pragma unroll
      for (int j = 0; j < kSize; ++j) x[i][j] += other[j];
    }
    LoadColumns(position, column, hidden, vectors, other);
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      x[i][j] += other[j];
      sum += x[i][j];
    }
  }

  const float mean = RowSum<kThreads>(sum, shared[0]) / hidden;
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (threadIdx.x + i * kThreads) * kSize;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (column + j < hidden) {
        x[i][j] -= mean;
        squares += x[i][j] * x[i][j];
      }
    }
  }
  const float scale = rsqrtf(RowSum<kThreads>(squares, shared[1]) / hidden + args.call.epsilon);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (threadIdx.x + i * kThreads) * kSize;
    if (column >= hidden) continue;
    float gamma[kSize], beta[kSize];
    LoadColumns(static_cast<const T*>(args.call.gamma), column, hidden, vectors, gamma);
    LoadColumns(static_cast<const T*>(args.call.beta), column, hidden, vectors, beta);
#pragma unroll
    for (int j = 0; j < kSize; ++j) x[i][j] = x[i][j] * scale * gamma[j] + beta[j];
    Store(output, column, hidden, vectors, x[i]);
  }
}

template <typename T, int kThreads, int kVectors, int kRows>
void Launch(const EmbeddingArgs<kRows>& args, cudaStream_t stream) {
  // Few rows are spread over as many multiprocessors as there are; many share blocks.
  const int rows_in_block = kThreads == 32 && args.num_rows >= 1024 ? 4 : 1;
  const unsigned blocks = (args.num_rows + rows_in_block - 1) / rows_in_block;
  EmbeddingKernel<T, kThreads, kVectors><<<blocks, dim3(kThreads, rows_in_block), 0, stream>>>(args);
}

template <typename T, int kRows>
void LaunchForWidth(const EmbeddingArgs<kRows>& args, cudaStream_t stream) {
  const int vectors = (args.call.hidden_size + kVectorSize<T> - 1) / kVectorSize<T>;
  if (vectors <= 64) return Launch<T, 32, 2>(args, stream);
  if (vectors <= 96) return Launch<T, 32, 3>(args, stream);
  if (vectors <= 128) return Launch<T, 32, 4>(args, stream);
  if (vectors <= 192) return Launch<T, 32, 6>(args, stream);
  if (vectors <= 256) return Launch<T, 32, 8>(args, stream);
  if (vectors <= 512) return Launch<T, 256, 2>(args, stream);
  Launch<T, 256, kMaxHiddenSize / 256 / kVectorSize<T>>(args, stream);
}

template <int kRows>
Status LaunchForType(const EmbeddingArgs<kRows>& args, cudaStream_t stream) {
  switch (args.call.dtype) {
    case FASTBERT_FLOAT32: LaunchForWidth<float>(args, stream); break;
    case FASTBERT_FLOAT16: LaunchForWidth<__half>(args, stream); break;
    case FASTBERT_BFLOAT16: LaunchForWidth<__nv_bfloat16>(args, stream); break;
  }
  return LaunchStatus("EmbeddingKernel");
}

// The codes of the rows [first_row, first_row + num_rows).
template <int kRows>
void FillCodes(const FastBertEmbeddingCall& call, EmbeddingArgs<kRows>* args) {
  const int64_t first = args->first_row;
  ForEachRow(first, first + args->num_rows, call.seq_len, call.sequence_length, call.mask, [&](int64_t row, bool valid) {
    args->codes[row - first] = valid ? Code(call, call.input_ids[row], call.token_type_ids[row]) : kPadding;
  });
}

template <int kRows>
Status Launches(const FastBertEmbeddingCall& call, cudaStream_t stream) {
  EmbeddingArgs<kRows> args;
  args.call = call;
  args.vectors = VectorsFit({call.word_embeddings, call.position_embeddings, call.token_type_embeddings, call.gamma, call.beta,
                             call.output},
                            {call.hidden_size * SizeOf(call.dtype)});
  const int64_t rows = int64_t{call.batch} * call.seq_len;
  for (int64_t first = 0; first < rows; first += kRows) {
    args.first_row = static_cast<int32_t>(first);
    args.num_rows = static_cast<int32_t>(std::min<int64_t>(rows - first, kRows));
    FillCodes(call, &args);
    FASTBERT_RETURN_IF_ERROR(LaunchForType(args, stream));
  }
  return Status::Ok();
}

Status Check(const FastBertEmbeddingCall& call) {
  FASTBERT_RETURN_IF_ERROR(CheckRows("embedding", call.batch, call.seq_len));
  if (call.hidden_size < 1 || call.hidden_size > kMaxHiddenSize) {
    return Status::Unimplemented("embedding: hidden_size = " + std::to_string(call.hidden_size) + ", but it must be 1 to " +
                                 std::to_string(kMaxHiddenSize));
  }
  FASTBERT_RETURN_IF_ERROR(CheckDataType("embedding", "dtype", call.dtype));
  if (call.vocab_size < 0 || call.num_token_types < 0 ||
      (int64_t{call.vocab_size} + 1) * (int64_t{call.num_token_types} + 1) > kPadding) {
    return Status::Unimplemented("embedding: tables of " + std::to_string(call.vocab_size) + " words and " +
                                 std::to_string(call.num_token_types) +
                                 " token types; the product of these numbers must be below 2^32");
  }
  return Status::Ok();
}

}  // namespace

Status Embed(const FastBertEmbeddingCall& call, cudaStream_t stream) {
  FASTBERT_RETURN_IF_ERROR(Check(call));
  return int64_t{call.batch} * call.seq_len <= kFewRows ? Launches<kFewRows>(call, stream) : Launches<kManyRows>(call, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
