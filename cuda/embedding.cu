// output[b, s] = LayerNorm(word[input_ids[b, s]] + token_type[token_type_ids[b, s]] + position[s]) * gamma + beta for a padded
// batch [B, S, H], with zeros in the rows of padding.
//
// The work is moving bytes: a word's row is read and the output's written with 16-byte accesses, once; positions, token types,
// gamma and beta stay in the caches. A row is held in registers in float32 between the two passes of the LayerNorm (mean, then
// variance), by one warp up to 256 vectors of 16 bytes, else by a block of 256 threads. Rows of padding cost
// their zeros only: neither their ids nor any table is read. Which rows those are travels as bits in the launch's parameters, of
// which there are 4 KB at most: no copy to the device, and any mask. 30,720 rows take one launch.
//
// An id outside of its table counts as a row of zeros, as in tf.gather on a GPU and in tf.one_hot: nothing is read out of bounds.
// Where H is no multiple of a vector, or a pointer not aligned to one, elements are accessed one by one.
#include "cuda/embedding.h"

#include <algorithm>
#include <string>

#include "cuda/layer_norm.h"
#include "cuda/row_sum.cuh"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kMaskWords = 960;
constexpr int kRowsPerLaunch = 32 * kMaskWords;

struct EmbeddingArgs {
  FastBertEmbeddingCall call;
  int32_t first_row;
  int32_t num_rows;
  bool vectors;               // 16-byte accesses are possible
  bool has_mask;              // else all rows are valid
  uint32_t mask[kMaskWords];  // bit r % 32 of word r / 32: row first_row + r is valid
};

// Columns [column, column + kVectorSize) of a row; zero from `hidden` on.
template <typename T>
__device__ __forceinline__ void Load(const T* row, int column, int hidden, bool vectors, float (&values)[kVectorSize<T>]) {
  if (vectors) return LoadVector(row + column, values);
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) values[i] = column + i < hidden ? ToFloat(row[column + i]) : 0.0f;
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
__device__ __forceinline__ const T* TableRow(const void* table, int index, int rows, int hidden) {
  return index >= 0 && index < rows ? static_cast<const T*>(table) + static_cast<int64_t>(index) * hidden : nullptr;
}

// blockDim = (kThreads, rows in a block); each thread holds kVectors vectors of its row.
template <typename T, int kThreads, int kVectors>
__global__ void EmbeddingKernel(const __grid_constant__ EmbeddingArgs args) {
  constexpr int kSize = kVectorSize<T>;
  __shared__ float shared[2][kThreads / 32];
  const int i_row = blockIdx.x * blockDim.y + threadIdx.y;
  if (i_row >= args.num_rows) return;
  const int row = args.first_row + i_row;
  const int hidden = args.call.hidden_size;
  const bool vectors = args.vectors;
  T* output = static_cast<T*>(args.call.output) + static_cast<int64_t>(row) * hidden;
  if (args.has_mask && !((args.mask[i_row / 32] >> (i_row % 32)) & 1)) {
    const float zero[kSize] = {};
    for (int c = threadIdx.x * kSize; c < hidden; c += kThreads * kSize) Store(output, c, hidden, vectors, zero);
    return;
  }

  const T* word = TableRow<T>(args.call.word_embeddings, args.call.input_ids[row], args.call.vocab_size, hidden);
  const T* token_type =
      TableRow<T>(args.call.token_type_embeddings, args.call.token_type_ids[row], args.call.num_token_types, hidden);
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
    if (word != nullptr) Load(word, column, hidden, vectors, x[i]);
    if (token_type != nullptr) {
      Load(token_type, column, hidden, vectors, other);
#pragma unroll
      for (int j = 0; j < kSize; ++j) x[i][j] += other[j];
    }
    Load(position, column, hidden, vectors, other);
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
    Load(static_cast<const T*>(args.call.gamma), column, hidden, vectors, gamma);
    Load(static_cast<const T*>(args.call.beta), column, hidden, vectors, beta);
#pragma unroll
    for (int j = 0; j < kSize; ++j) x[i][j] = x[i][j] * scale * gamma[j] + beta[j];
    Store(output, column, hidden, vectors, x[i]);
  }
}

template <typename T, int kThreads, int kVectors>
void Launch(const EmbeddingArgs& args, cudaStream_t stream) {
  // Few rows are spread over as many multiprocessors as there are; many share blocks.
  const int rows_in_block = kThreads == 32 && args.num_rows >= 1024 ? 4 : 1;
  const unsigned blocks = static_cast<unsigned>((int64_t{args.num_rows} + rows_in_block - 1) / rows_in_block);
  EmbeddingKernel<T, kThreads, kVectors><<<blocks, dim3(kThreads, rows_in_block), 0, stream>>>(args);
}

template <typename T>
void LaunchForWidth(const EmbeddingArgs& args, cudaStream_t stream) {
  const int vectors = (args.call.hidden_size + kVectorSize<T> - 1) / kVectorSize<T>;
  if (vectors <= 64) return Launch<T, 32, 2>(args, stream);
  if (vectors <= 96) return Launch<T, 32, 3>(args, stream);
  if (vectors <= 128) return Launch<T, 32, 4>(args, stream);
  if (vectors <= 192) return Launch<T, 32, 6>(args, stream);
  if (vectors <= 256) return Launch<T, 32, 8>(args, stream);
  if (vectors <= 512) return Launch<T, 256, 2>(args, stream);
  Launch<T, 256, kMaxHiddenSize / 256 / kVectorSize<T>>(args, stream);
}

Status LaunchForType(const EmbeddingArgs& args, cudaStream_t stream) {
  switch (args.call.dtype) {
    case FASTBERT_FLOAT32: LaunchForWidth<float>(args, stream); break;
    case FASTBERT_FLOAT16: LaunchForWidth<__half>(args, stream); break;
    case FASTBERT_BFLOAT16: LaunchForWidth<__nv_bfloat16>(args, stream); break;
  }
  return LaunchStatus("EmbeddingKernel");
}

bool VectorsFit(const FastBertEmbeddingCall& call) {
  const int64_t row_bytes = int64_t{call.hidden_size} * (call.dtype == FASTBERT_FLOAT32 ? 4 : 2);
  uintptr_t bits = static_cast<uintptr_t>(row_bytes);
  for (const void* pointer : {call.word_embeddings, call.position_embeddings, call.token_type_embeddings, call.gamma, call.beta,
                              static_cast<const void*>(call.output)}) {
    bits |= reinterpret_cast<uintptr_t>(pointer);
  }
  return bits % 16 == 0;
}

void SetBits(int64_t begin, int64_t end, uint32_t* bits) {
  while (begin < end) {
    const int64_t stop = std::min(end, (begin / 32 + 1) * 32);
    bits[begin / 32] |= (0xffffffffu >> (32 - (stop - begin))) << (begin % 32);
    begin = stop;
  }
}

// Which of the rows [first_row, first_row + num_rows) are valid.
void FillMask(const FastBertEmbeddingCall& call, EmbeddingArgs* args) {
  const int64_t first = args->first_row, end = first + args->num_rows;
  std::fill(args->mask, args->mask + kMaskWords, 0u);
  if (call.mask != nullptr) {
    for (int64_t r = first; r < end; ++r) args->mask[(r - first) / 32] |= uint32_t{call.mask[r] != 0} << ((r - first) % 32);
    return;
  }
  for (int64_t b = first / call.seq_len; b * call.seq_len < end; ++b) {
    const int64_t begin = b * call.seq_len;
    SetBits(std::max(begin, first) - first, std::min(begin + call.sequence_length[b], end) - first, args->mask);
  }
}

Status Check(const FastBertEmbeddingCall& call) {
  if (call.batch < 0 || call.seq_len < 0 || int64_t{call.batch} * call.seq_len > INT32_MAX) {
    return Status::InvalidArgument("embedding: batch * seq_len = " + std::to_string(call.batch) + " * " +
                                   std::to_string(call.seq_len) + " is out of range");
  }
  if (call.hidden_size < 1 || call.hidden_size > kMaxHiddenSize) {
    return Status::Unimplemented("embedding: hidden_size = " + std::to_string(call.hidden_size) + ", but it must be 1 to " +
                                 std::to_string(kMaxHiddenSize));
  }
  if (call.dtype < FASTBERT_FLOAT32 || call.dtype > FASTBERT_BFLOAT16) {
    return Status::InvalidArgument("embedding: dtype = " + std::to_string(call.dtype) + " is none");
  }
  return Status::Ok();
}

}  // namespace

Status Embed(const FastBertEmbeddingCall& call, cudaStream_t stream) {
  FASTBERT_RETURN_IF_ERROR(Check(call));
  const int rows = call.batch * call.seq_len;
  if (rows == 0) return Status::Ok();
  EmbeddingArgs args;
  args.call = call;
  args.vectors = VectorsFit(call);
  args.has_mask = call.mask != nullptr || call.sequence_length != nullptr;
  const int rows_per_launch = args.has_mask ? kRowsPerLaunch : rows;
  for (int64_t first = 0; first < rows; first += rows_per_launch) {
    args.first_row = static_cast<int32_t>(first);
    args.num_rows = static_cast<int32_t>(std::min<int64_t>(rows - first, rows_per_launch));
    if (args.has_mask) FillMask(call, &args);
    FASTBERT_RETURN_IF_ERROR(LaunchForType(args, stream));
  }
  return Status::Ok();
}

}  // namespace cuda
}  // namespace tf_fastbert
