// Matrix products with AMX; see amx_gemm.h.
//
// A panel of 32 columns at a time: 32 x 32 outputs in four tile registers, two tiles of a and two of b loaded for four products.
// k is visited in blocks, so that the block of the panel (16 KB) stays in the L1 cache while a's rows stream by from L2; the
// partial sums wait in scratch. The epilogue of a panel is computed between the tile instructions of the next one: AMX works on
// its own while the vector units compute biases and GELU. So does the prefetch of the next panel's weights.
#include "cc/cpu/amx_gemm.h"

#include <algorithm>
#include <cstring>

#include "cc/cpu/float_types.h"
#include "cc/cpu/own_kernels.h"

#if TF_FASTBERT_OWN_KERNELS
#include <immintrin.h>
// g++ 12 finds its own intrinsics' "undefined" values uninitialized.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16,amx-int8")

namespace tf_fastbert {
namespace cpu {
namespace {

#include "cc/cpu/amx_tiles.inc"
#include "cc/cpu/vector512.inc"
#include "cc/cpu/tile_epilogue.inc"

// Of k tiles; a block of b is 2 KB times planes times this.
constexpr int BlockTiles(OperandType type) { return type == OperandType::kInt8 ? 12 : type == OperandType::kBFloat16 ? 8 : 4; }

// Two loaded columns of weights times one or two loaded rows of a, into the accumulators 0 to 3.
template <OperandType kType, bool kTwo>
TF_FASTBERT_ALWAYS_INLINE void MultiplyTiles() {
  if (kType == OperandType::kInt8) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    if (kTwo) _tile_dpbssd(2, 5, 6);
    if (kTwo) _tile_dpbssd(3, 5, 7);
  } else {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (kTwo) _tile_dpbf16ps(2, 5, 6);
    if (kTwo) _tile_dpbf16ps(3, 5, 7);
  }
}

template <bool kTwo>
TF_FASTBERT_ALWAYS_INLINE void LoadA(const char* a, int64_t next_rows) {
  _tile_loadd(4, a, 64);
  if (kTwo) _tile_loadd(5, a + next_rows, 64);
}

TF_FASTBERT_ALWAYS_INLINE void LoadB(const char* b) {
  _tile_loadd(6, b, 64);
  _tile_loadd(7, b + kTileBytes, 64);
}

// One step of k, all planes, small terms first.
template <OperandType kType, bool kTwo>
TF_FASTBERT_ALWAYS_INLINE void MultiplyStep(const char* a, int64_t next_rows, const char* b) {
  constexpr int kA = kTileBytes, kB = 2 * kTileBytes;
  LoadA<kTwo>(a, next_rows);
  if (kType == OperandType::kBFloat16x3) {
    LoadB(b + 2 * kB);
    MultiplyTiles<kType, kTwo>();  // 1 * 3
    LoadB(b + kB);
    MultiplyTiles<kType, kTwo>();  // 1 * 2
    LoadA<kTwo>(a + kA, next_rows);
    MultiplyTiles<kType, kTwo>();  // 2 * 2
    LoadB(b);
    MultiplyTiles<kType, kTwo>();  // 2 * 1
    LoadA<kTwo>(a + 2 * kA, next_rows);
    MultiplyTiles<kType, kTwo>();  // 3 * 1
    LoadA<kTwo>(a, next_rows);
  } else if (kType == OperandType::kBFloat16x2) {
    LoadB(b + kB);
    MultiplyTiles<kType, kTwo>();  // 1 * 2
    LoadB(b);
    LoadA<kTwo>(a + kA, next_rows);
    MultiplyTiles<kType, kTwo>();  // 2 * 1
    LoadA<kTwo>(a, next_rows);
  } else {
    LoadB(b);
  }
  MultiplyTiles<kType, kTwo>();  // 1 * 1
}

template <bool kTwo>
TF_FASTBERT_ALWAYS_INLINE void LoadSums(bool zero, const float* sums) {
  if (zero) {
    _tile_zero(0);
    _tile_zero(1);
    if (kTwo) _tile_zero(2);
    if (kTwo) _tile_zero(3);
  } else {
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums + 256, 64);
    if (kTwo) _tile_loadd(2, sums + 512, 64);
    if (kTwo) _tile_loadd(3, sums + 768, 64);
  }
}

template <bool kTwo>
TF_FASTBERT_ALWAYS_INLINE void StoreSums(float* sums) {
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
  if (kTwo) _tile_stored(2, sums + 512, 64);
  if (kTwo) _tile_stored(3, sums + 768, 64);
}

// The epilogue of a panel's sums, row by row, and the weights to be fetched for the panel after the one being multiplied.
template <OperandType kType, TileEpilogue kEpilogue>
class Background {
 public:
  Background(const TileGemmTask& task, const float* sums, int column, const char* prefetch, int64_t prefetch_bytes, int64_t steps)
      : epilogue_(task, sums, column),
        rows_(sums != nullptr ? task.rows : 0),
        rows_per_step_(static_cast<int>((task.rows + steps - 1) / steps)),
        prefetch_(prefetch),
        prefetch_end_(prefetch + prefetch_bytes),
        prefetch_per_step_((prefetch_bytes + 64 * steps - 1) / (64 * steps) * 64) {}

  TF_FASTBERT_ALWAYS_INLINE void Step() {
    for (int64_t i = 0; i < prefetch_per_step_ && prefetch_ < prefetch_end_; i += 64, prefetch_ += 64) {
      _mm_prefetch(prefetch_, _MM_HINT_T1);
    }
    for (int i = 0; i < rows_per_step_ && row_ < rows_; ++i) epilogue_.Row(row_++);
  }

  void Finish() {
    while (row_ < rows_) epilogue_.Row(row_++);
  }

 private:
  const PanelEpilogue<kType, kEpilogue> epilogue_;
  int row_ = 0;
  const int rows_;
  const int rows_per_step_;
  const char* prefetch_;
  const char* const prefetch_end_;
  const int64_t prefetch_per_step_;
};

// One or two tiles of rows times the k tiles [0, tiles) that a and b point to.
template <OperandType kType, bool kTwo, typename Work>
TF_FASTBERT_ALWAYS_INLINE void MultiplyRows(const char* a, int64_t row_tile_bytes, const char* b, int tiles, bool first,
                                            float* sums, Work* work) {
  constexpr int kPlanes = Planes(kType);
  FinishStores();
  LoadSums<kTwo>(first, sums);
  for (int i = 0; i < tiles; ++i) {
    MultiplyStep<kType, kTwo>(a, row_tile_bytes, b);
    work->Step();
    a += kPlanes * kTileBytes;
    b += kPlanes * 2 * kTileBytes;
  }
  StoreSums<kTwo>(sums);
}

template <OperandType kType, TileEpilogue kEpilogue>
void Multiply(const TileGemmTask& task) {
  using Work = Background<kType, kEpilogue>;
  const ConfiguredTiles configured;
  constexpr int kStepBytes = Planes(kType) * kTileBytes;
  const int tiles = task.depth / TileDepth(kType), row_tiles = task.rows / 16;
  const int64_t row_tile_bytes = static_cast<int64_t>(tiles) * kStepBytes;
  const int64_t panel_bytes = static_cast<int64_t>(task.k) / TileDepth(kType) * 2 * kStepBytes;
  const int64_t steps = static_cast<int64_t>(tiles) * ((row_tiles + 1) / 2);
  const char* a = static_cast<const char*>(task.a);
  const char* b = static_cast<const char*>(task.b) + task.first_column / kTilePanel * panel_bytes +
                  task.first_depth / TileDepth(kType) * 2 * kStepBytes;
  float* sums = static_cast<float*>(task.scratch);
  float* previous = nullptr;
  const int end = task.first_column + task.columns;
  for (int column = task.first_column; column < end; column += kTilePanel, b += panel_bytes) {
    Work work(task, previous, column - kTilePanel, b + panel_bytes, column + kTilePanel < end ? 2 * row_tile_bytes : 0, steps);
    for (int k = 0; k < tiles; k += BlockTiles(kType)) {
      const int block = std::min(BlockTiles(kType), tiles - k);
      const char* block_a = a + static_cast<int64_t>(k) * kStepBytes;
      const char* block_b = b + static_cast<int64_t>(k) * 2 * kStepBytes;
      int row = 0;
      for (; row + 2 <= row_tiles; row += 2) {
        const char* rows_a = block_a + row * row_tile_bytes;
        MultiplyRows<kType, true>(rows_a, row_tile_bytes, block_b, block, k == 0, sums + row * 512, &work);
      }
      if (row < row_tiles) {
        MultiplyRows<kType, false>(block_a + row * row_tile_bytes, 0, block_b, block, k == 0, sums + row * 512, &work);
      }
    }
    work.Finish();
    previous = sums;
    sums = static_cast<float*>(task.scratch) + (sums == task.scratch ? row_tiles * 512 : 0);
  }
  Work(task, previous, end - kTilePanel, nullptr, 0, steps).Finish();
}

template <OperandType kType>
void MultiplyAs(const TileGemmTask& task) {
  switch (task.epilogue) {
    case TileEpilogue::kFloat32:
      return Multiply<kType, TileEpilogue::kFloat32>(task);
    case TileEpilogue::kBFloat16:
      return Multiply<kType, TileEpilogue::kBFloat16>(task);
    case TileEpilogue::kAccumulate:
      return Multiply<kType, TileEpilogue::kAccumulate>(task);
    case TileEpilogue::kGeluTanh:
      return Multiply<kType, TileEpilogue::kGeluTanh>(task);
    case TileEpilogue::kGeluErf:
      return Multiply<kType, TileEpilogue::kGeluErf>(task);
    case TileEpilogue::kRelu:
      return Multiply<kType, TileEpilogue::kRelu>(task);
  }
}

}  // namespace

void AmxGemm(const TileGemmTask& task) {
  switch (task.type) {
    case OperandType::kInt8:
      return MultiplyAs<OperandType::kInt8>(task);
    case OperandType::kBFloat16x2:
      return MultiplyAs<OperandType::kBFloat16x2>(task);
    case OperandType::kBFloat16x3:
      return MultiplyAs<OperandType::kBFloat16x3>(task);
    default:
      return MultiplyAs<OperandType::kBFloat16>(task);
  }
}

}  // namespace cpu
}  // namespace tf_fastbert

#else

namespace tf_fastbert {
namespace cpu {

// Never called: HasAmx() is false.
void AmxGemm(const TileGemmTask&) {}

}  // namespace cpu
}  // namespace tf_fastbert

#endif
