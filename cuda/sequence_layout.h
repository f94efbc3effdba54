// Where the valid tokens of a padded batch are, on the device, from lengths or a mask on the host.
#ifndef TF_FASTBERT_CUDA_SEQUENCE_LAYOUT_H_
#define TF_FASTBERT_CUDA_SEQUENCE_LAYOUT_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// One block of attention's work: queries [query, query + tile size) of the sequence whose packed tokens are [begin, begin +
// length).
struct AttentionTile {
  int32_t begin;
  int32_t length;
  int32_t query;
  int32_t unused;  // makes the struct one 16-byte load
};

// Packed order: sequence after sequence, each sequence's valid tokens in order, with nothing between them.
struct SequenceLayout {
  int batch = 0;
  int seq_len = 0;
  int num_tokens = 0;
  int num_tiles = 0;
  bool dense = false;              // no padding at all: packed rows are padded rows, and the two maps below are not filled
  int32_t* padded_row = nullptr;   // [num_tokens]: token -> row of [B * S]
  int32_t* token = nullptr;        // [B * S]: row -> token, or -1 where the row is padding
  AttentionTile* tiles = nullptr;  // [num_tiles], longest sequences first
  int* next_item = nullptr;        // [2], to become zero
  int tile_slots = 0;              // entries of `tiles` to fill, at least num_tiles; those behind num_tiles become empty
};

// Host side: lengths of the sequences, and what follows from them.
class HostLengths {
 public:
  // Either array may be null (see FastBertCall); fails where a length is outside 0..seq_len.
  Status Init(int batch, int seq_len, const int32_t* sequence_length, const int32_t* mask);

  const std::vector<int32_t>& lengths() const { return lengths_; }
  int num_tokens() const { return num_tokens_; }

 private:
  std::vector<int32_t> lengths_;
  int num_tokens_ = 0;
};

// Upper bound of the number of tiles for any lengths of `batch` sequences with num_tokens tokens.
int64_t MaxAttentionTiles(int batch, int64_t num_tokens, int tile_size);

// Queues the kernels that fill `layout`'s maps and tiles, whose memory the caller has set; num_tiles is filled in at once, and
// tile_slots is raised to it. More slots let a CUDA graph, whose grids are fixed, serve batches with fewer tiles.
// The host arrays travel as kernel parameters: no pinned memory, no copy to wait for, and a CUDA graph can capture it.
Status FillSequenceLayout(const HostLengths& host, const int32_t* mask, int tile_size, SequenceLayout* layout,
                          cudaStream_t stream);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_SEQUENCE_LAYOUT_H_
