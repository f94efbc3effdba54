// Fills the maps between padded rows [B * S] and packed tokens [T], and the list of attention's tiles.
//
// The host knows every length (they arrive in host memory), so the prefix sums over sequences, B additions, are done there, and
// one block a sequence writes its part of the maps and tiles with no scan and no order between blocks. A mask travels as bits;
// the packed position of a token is then the number of bits before it. Parameters of a launch hold at most 4 KB, hence the
// chunks: 290 sequences or 28,160 mask positions a launch, so nearly every call takes one or two.
#include <algorithm>
#include <numeric>
#include <string>

#include "cuda/dependent_launch.cuh"
#include "cuda/sequence_layout.h"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kSequencesPerLaunch = 290;
constexpr int kMaskWordsPerLaunch = 880;
constexpr int kMaskThreads = 256;

struct SequenceChunk {
  int32_t first_sequence;
  int32_t begin[kSequencesPerLaunch];   // first packed token
  int32_t length[kSequencesPerLaunch];  // tokens
  int32_t tile[kSequencesPerLaunch];    // first tile
};

struct MaskChunk {
  int32_t first_row;
  int32_t num_rows;
  int32_t first_token;
  uint32_t bits[kMaskWordsPerLaunch];
};

// One block a sequence, and one more for the empty tiles. padded_row is null when the maps come from a mask, or
// are not needed.
__global__ void FillSequencesKernel(const __grid_constant__ SequenceChunk chunk, int seq_len, int tile_size, int32_t* padded_row,
                                    int32_t* token, AttentionTile* tiles, int first_empty, int end_empty, int* next_item) {
  LetNextKernelStart();
  if (blockIdx.x + 1 == gridDim.x) {
    if (threadIdx.x < 2) next_item[threadIdx.x] = 0;
    for (int i = first_empty + threadIdx.x; i < end_empty; i += blockDim.x) tiles[i] = {0, 0, 0, 0};
    return;
  }
  const int begin = chunk.begin[blockIdx.x];
  const int length = chunk.length[blockIdx.x];
  AttentionTile* my_tiles = tiles + chunk.tile[blockIdx.x];
  for (int i = threadIdx.x; i * tile_size < length; i += blockDim.x) my_tiles[i] = {begin, length, i * tile_size, 0};
  if (padded_row == nullptr) return;
  const int first_row = (chunk.first_sequence + blockIdx.x) * seq_len;
  for (int i = threadIdx.x; i < seq_len; i += blockDim.x) {
    token[first_row + i] = i < length ? begin + i : -1;
    if (i < length) padded_row[begin + i] = first_row + i;
  }
}

// One thread a row; each block counts the bits before its first row by itself.
__global__ void FillFromMaskKernel(const __grid_constant__ MaskChunk chunk, int32_t* padded_row, int32_t* token) {
  __shared__ int warp_sums[kMaskThreads / 32];
  const int first_word = blockIdx.x * (kMaskThreads / 32);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int before = 0;
  for (int w = threadIdx.x; w < first_word; w += kMaskThreads) before += __popc(chunk.bits[w]);
  for (int offset = 16; offset > 0; offset /= 2) before += __shfl_xor_sync(0xffffffffu, before, offset);
  if (lane == 0) warp_sums[warp] = before;
  __syncthreads();
  int index = chunk.first_token;
  for (int w = 0; w < kMaskThreads / 32; ++w) index += warp_sums[w];
  const int i = blockIdx.x * kMaskThreads + threadIdx.x;
  if (i >= chunk.num_rows) return;
  for (int w = first_word; w < first_word + warp; ++w) index += __popc(chunk.bits[w]);
  const uint32_t bits = chunk.bits[first_word + warp];
  index += __popc(bits & ((1u << lane) - 1));
  const bool valid = (bits >> lane) & 1;
  token[chunk.first_row + i] = valid ? index : -1;
  if (valid) padded_row[index] = chunk.first_row + i;
}

Status FillFromMask(const int32_t* mask, const SequenceLayout& layout, cudaStream_t stream) {
  const int64_t rows = static_cast<int64_t>(layout.batch) * layout.seq_len;
  MaskChunk chunk;
  int num_tokens = 0;
  for (int64_t first = 0; first < rows; first += kMaskWordsPerLaunch * 32) {
    chunk.first_row = static_cast<int32_t>(first);
    chunk.num_rows = static_cast<int32_t>(std::min<int64_t>(rows - first, kMaskWordsPerLaunch * 32));
    chunk.first_token = num_tokens;
    const int words = (chunk.num_rows + 31) / 32;
    for (int w = 0; w < words; ++w) {
      const int in_word = std::min(32, chunk.num_rows - w * 32);
      uint32_t bits = 0;
      for (int i = 0; i < in_word; ++i) bits |= static_cast<uint32_t>(mask[first + w * 32 + i] != 0) << i;
      chunk.bits[w] = bits;
      num_tokens += __builtin_popcount(bits);
    }
    // Blocks read whole groups of words: those behind the last one must not hold an earlier chunk's bits.
    std::fill(chunk.bits + words, chunk.bits + kMaskWordsPerLaunch, 0u);
    const int blocks = (chunk.num_rows + kMaskThreads - 1) / kMaskThreads;
    FillFromMaskKernel<<<blocks, kMaskThreads, 0, stream>>>(chunk, layout.padded_row, layout.token);
    FASTBERT_RETURN_IF_ERROR(LaunchStatus("FillFromMaskKernel"));
  }
  return Status::Ok();
}

}  // namespace

Status HostLengths::Init(int batch, int seq_len, const int32_t* sequence_length, const int32_t* mask) {
  lengths_.resize(batch);
  int64_t num_tokens = 0;
  for (int b = 0; b < batch; ++b) {
    int32_t length = seq_len;
    if (mask != nullptr) {
      const int32_t* row = mask + static_cast<int64_t>(b) * seq_len;
      length = static_cast<int32_t>(std::count_if(row, row + seq_len, [](int32_t m) { return m != 0; }));
    } else if (sequence_length != nullptr) {
      length = sequence_length[b];
      if (length < 0 || length > seq_len) {
        return Status::InvalidArgument("sequence_length[" + std::to_string(b) + "] = " + std::to_string(length) +
                                       " is outside 0..seq_len = " + std::to_string(seq_len));
      }
    }
    lengths_[b] = length;
    num_tokens += length;
  }
  num_tokens_ = static_cast<int>(num_tokens);
  return Status::Ok();
}

int64_t MaxAttentionTiles(int batch, int64_t num_tokens, int tile_size) { return num_tokens / tile_size + batch; }

Status FillSequenceLayout(const HostLengths& host, const int32_t* mask, int tile_size, SequenceLayout* layout,
                          cudaStream_t stream) {
  const std::vector<int32_t>& lengths = host.lengths();
  const int batch = layout->batch;
  // Blocks start in the order of their tiles: long sequences first, so that no long one is left running alone at the end.
  std::vector<int32_t> order(batch), tile(batch);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return lengths[a] > lengths[b]; });
  int num_tiles = 0;
  for (int32_t b : order) {
    tile[b] = num_tiles;
    num_tiles += (lengths[b] + tile_size - 1) / tile_size;
  }
  layout->num_tiles = num_tiles;
  layout->tile_slots = std::max(layout->tile_slots, num_tiles);

  const bool maps_from_lengths = !layout->dense && mask == nullptr;
  int begin = 0;
  for (int first = 0; first < batch; first += kSequencesPerLaunch) {
    SequenceChunk chunk;
    chunk.first_sequence = first;
    const int count = std::min(kSequencesPerLaunch, batch - first);
    for (int i = 0; i < count; ++i) {
      chunk.begin[i] = begin;
      chunk.length[i] = lengths[first + i];
      chunk.tile[i] = tile[first + i];
      begin += lengths[first + i];
    }
    const bool last = first + count == batch;
    FillSequencesKernel<<<count + 1, 128, 0, stream>>>(
        chunk, layout->seq_len, tile_size, maps_from_lengths ? layout->padded_row : nullptr, layout->token, layout->tiles,
        last ? num_tiles : 0, last ? layout->tile_slots : 0, layout->next_item);
    FASTBERT_RETURN_IF_ERROR(LaunchStatus("FillSequencesKernel"));
  }
  if (!layout->dense && mask != nullptr) return FillFromMask(mask, *layout, stream);
  return Status::Ok();
}

}  // namespace cuda
}  // namespace tf_fastbert
