// Products over tiles; see tile_product.h.
#include "cc/cpu/tile_product.h"

#include "cc/cpu/amx.h"
#include "cc/cpu/amx_gemm.h"
#include "cc/cpu/avx512_gemm.h"

namespace tf_fastbert {
namespace cpu {
namespace {

TileEpilogue EpilogueOf(const ProductShape& shape) {
  switch (shape.epilogue) {
    case Epilogue::kStore: return shape.out == DataType::kBFloat16 ? TileEpilogue::kBFloat16 : TileEpilogue::kFloat32;
    case Epilogue::kAccumulate: return TileEpilogue::kAccumulate;
    case Epilogue::kGeluErf: return TileEpilogue::kGeluErf;
    case Epilogue::kRelu: return TileEpilogue::kRelu;
    default: return TileEpilogue::kGeluTanh;
  }
}

}  // namespace

TileProduct::TileProduct(const ProductShape& shape)
    : Product(shape), amx_(HasAmx()), weights_(shape.bfloat16_weights ? OperandType::kBFloat16 : shape.in.type) {}

// Avx512Gemm is faster for pairs of panels in float32.
int TileProduct::granularity() const {
  return weights_ == OperandType::kFloat32 && shape_.n % (2 * kTilePanel) == 0 ? 2 * kTilePanel : kTilePanel;
}

Status TileProduct::Pack(const void* source, void* packed) const {
  PackTileWeights(weights_, shape_.in.type == OperandType::kBFloat16, !amx_, source, shape_.k, shape_.n, packed);
  return Status::Ok();
}

Status TileProduct::ScratchBytes(int rows, int depth, size_t* bytes) const {
  *bytes = TileGemmScratchBytes(shape_.in.type, rows, depth);
  return Status::Ok();
}

Status TileProduct::Run(const ProductWeights& weights, const ProductCall& call) const {
  TileGemmTask task;
  task.type = shape_.in.type;
  task.weights = weights_;
  task.a = call.in;
  task.b = weights.packed;
  task.rows = call.rows;
  task.k = shape_.k;
  task.first_depth = call.first_depth;
  task.depth = call.depth > 0 ? call.depth : shape_.k;
  task.first_column = call.first_column;
  task.columns = call.columns;
  task.bias = call.first_depth == 0 ? weights.bias : nullptr;
  task.scales = weights.scales;
  task.epilogue = EpilogueOf(shape_);
  task.out = call.out;
  task.out_stride = call.out_group > 0 ? call.out_group : shape_.n;
  task.out_group = call.out_group;
  task.out_group_stride = call.out_group_stride;
  task.out_operand = call.out_operand;
  task.operand_column = call.operand_column;
  task.scratch = call.scratch;
  if (amx_) {
    AmxGemm(task);
  } else {
    Avx512Gemm(task);
  }
  return Status::Ok();
}

}  // namespace cpu
}  // namespace tf_fastbert
