// BERT's encoder for few tokens as one cooperative kernel on Hopper: host side.
//
// Below some hundred tokens the layer loop of encoder.cc is bound by its 90 launches, not by arithmetic. Here one block on each
// multiprocessor walks through all layers, with a barrier of the whole grid between the steps (persistent_kernel.cuh).
#ifndef TF_FASTBERT_CUDA_PERSISTENT_H_
#define TF_FASTBERT_CUDA_PERSISTENT_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "cuda/dimensions.h"
#include "cuda/pack_weights.h"
#include "cuda/sequence_layout.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

constexpr int kPersistentThreads = 256;  // of a block
constexpr int kPersistentWarps = kPersistentThreads / 32;
constexpr int kPersistentCluster = 4;     // blocks that share the depth of the two products with hidden_size columns
constexpr int kPersistentMaxLayers = 32;  // their pointers travel as kernel parameters
constexpr int kPersistentQueries = 16;    // of an attention tile
constexpr int kPersistentChunk = 256;     // rows of a weight matrix in one stage of shared memory
constexpr int kPersistentMaxUnits = 9;    // columns of a product's tile, in 8

enum PersistentProduct {
  kPersistentQkv = 0,
  kPersistentContext,  // attention's output product
  kPersistentIntermediate,
  kPersistentOutput,
  kNumPersistentProducts
};

// How the blocks share one product's output.
struct PersistentTiling {
  int32_t columns;       // of the weight matrix
  int32_t depth;         // of one block's part of the product
  int32_t column_units;  // 8 columns each, of a tile
  int32_t column_tiles;
  int32_t num_tiles;
  int32_t unit_divisor;  // i / column_units = i * unit_divisor >> 16
  int32_t half_divisor;  // the same for 2 * column_units
};

struct PersistentArgs {
  const void* input;           // [batch * seq_len, hidden]
  void* output;                // [output_rows, hidden]
  const int32_t* padded_row;   // of SequenceLayout; null if there is no padding
  const int32_t* token;        // likewise
  const AttentionTile* tiles;  // of kPersistentQueries queries
  void* x;                     // [num_tokens, hidden]: input of the sublayer, and its residual
  void* sum;                   // [num_tokens, hidden]: sublayer + residual, LayerNorm still to come
  void* qkv;                   // [num_tokens, 3 * hidden]
  void* context;               // [num_tokens, hidden]
  void* inner;                 // [num_tokens, inner]
  uint32_t* barrier;           // zero
  int32_t num_tokens;
  int32_t output_rows;
  int32_t num_tiles;
  int32_t num_layers;
  int32_t num_heads;
  int32_t head_size;
  int32_t hidden;
  int32_t inner_size;
  int32_t activation;
  float epsilon;
  float scale;  // of the scores, in base 2
  PersistentTiling tiling[kNumPersistentProducts];
  int32_t key_warps;  // warps that share the keys of one attention tile: 1, 2, 4 or 8
  int32_t stages;     // of the weights' ring
  int32_t stage_bytes;
  int32_t rows_bytes;  // of the shared memory for activations, or partial sums
  PackedLayer layers[kPersistentMaxLayers];
};

// What one device can run; made once per encoder.
class Persistent {
 public:
  // Never fails for want of support: supported() is then false.
  static Status Create(const FastBertConfig& config, const Dimensions& dimensions, int device, Persistent* persistent);

  // Whether this call can run, and whether it should according to measurements.
  bool Supports(int batch, int num_tokens) const;
  static bool Pays(int num_tokens);

  // Bytes of scratch memory beside the encoder's activations.
  static size_t ScratchBytes(int batch, int num_tokens);

  // `args`: all up to `scale` but tiles and barrier, and layers. `layout`: batch, seq_len, num_tokens, dense and its two maps;
  // the tiles are put into `scratch`.
  Status Run(const HostLengths& lengths, const int32_t* mask, SequenceLayout* layout, void* scratch, PersistentArgs* args,
             const std::vector<PackedLayer>& layers, cudaStream_t stream) const;

 private:
  bool Plan(int num_tokens, int rows, PersistentArgs* args, size_t* shared_bytes) const;
  int RowsOfTile(int num_tokens) const;

  bool supported_ = false;
  int dtype_ = 0;
  int blocks_ = 0;  // a multiple of kPersistentCluster that fits the device
  size_t max_shared_bytes_ = 0;
  PersistentArgs model_ = {};  // the fields that all calls share
};

// One function a tile height, each in a file of its own so that they compile side by side.
const void* PersistentKernel16(int dtype);
const void* PersistentKernel32(int dtype);
const void* PersistentKernel64(int dtype);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PERSISTENT_H_
