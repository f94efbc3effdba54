// Products by AMX; see amx_product.h.
#include "cc/cpu/amx_product.h"

#include "cc/cpu/amx_gemm.h"

namespace tf_fastbert {
namespace cpu {
namespace {

AmxEpilogue EpilogueOf(const ProductShape& shape) {
  switch (shape.epilogue) {
    case Epilogue::kStore:
      return shape.out == DataType::kBFloat16 ? AmxEpilogue::kBFloat16 : AmxEpilogue::kFloat32;
    case Epilogue::kAccumulate:
      return AmxEpilogue::kAccumulate;
    case Epilogue::kGeluErf:
      return AmxEpilogue::kGeluErf;
    case Epilogue::kRelu:
      return AmxEpilogue::kRelu;
    default:
      return AmxEpilogue::kGeluTanh;
  }
}

}  // namespace

int AmxProduct::granularity() const { return kAmxPanel; }

size_t AmxProduct::PackedBytes() const { return AmxWeightsBytes(shape_.in.type, shape_.k, shape_.n); }

Status AmxProduct::Pack(const void* source, void* packed) const {
  PackAmxWeights(shape_.in.type, source, shape_.k, shape_.n, packed);
  return Status::Ok();
}

Status AmxProduct::ScratchBytes(int rows, size_t* bytes) const {
  *bytes = AmxGemmScratchBytes(rows);
  return Status::Ok();
}

Status AmxProduct::Run(const ProductWeights& weights, const ProductCall& call) const {
  AmxGemmTask task;
  task.type = shape_.in.type;
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
  task.out_stride = shape_.n;
  task.out_operand = call.out_operand;
  task.operand_column = call.operand_column;
  task.scratch = call.scratch;
  AmxGemm(task);
  return Status::Ok();
}

}  // namespace cpu
}  // namespace tf_fastbert
