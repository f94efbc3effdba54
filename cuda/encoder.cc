#include "cuda/encoder.h"

#include <memory>
#include <string>
#include <vector>

#include "cuda/encoder_checks.h"
#include "cuda/encoder_pass.h"
#include "cuda/fused_gemm_large.h"
#include "cuda/fused_gemm_small.h"
#include "cuda/fused_layers.h"
#include "cuda/scoped_device.h"

namespace tf_fastbert {
namespace cuda {

Status Encoder::Create(const FastBertConfig& config, std::unique_ptr<Encoder>* encoder) {
  FASTBERT_RETURN_IF_ERROR(CheckConfig(config));
  int device = 0, major = 0, minor = 0;
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaGetDevice(&device), "cudaGetDevice"));
  FASTBERT_RETURN_IF_ERROR(
      CudaStatus(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute"));
  FASTBERT_RETURN_IF_ERROR(
      CudaStatus(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "cudaDeviceGetAttribute"));
  const int capability = major * 10 + minor;
  if (config.dtype == FASTBERT_BFLOAT16 && capability < 80) {
    return Status::Unimplemented("bfloat16 needs a GPU of compute capability 8.0; this one has " + std::to_string(major) + "." +
                                 std::to_string(minor));
  }
  std::unique_ptr<Encoder> e(new Encoder(config, device));
  FASTBERT_RETURN_IF_ERROR(Gemms::Create(config, e->dimensions_, capability, &e->gemms_));
  if (config.quantization != FASTBERT_NO_QUANTIZATION) {
    e->can_quantize_ = FitsQuantizedKernels(config, e->dimensions_) && HasQuantizedGemm(capability);
    e->min_quantized_rows_ = config.min_quantized_rows > 0 ? config.min_quantized_rows : MinQuantizedRows(config, e->dimensions_);
  }
  e->can_fuse_ = FitsFusedLayers(config, e->dimensions_) && HasFusedGemm(capability) && HasSmallGemm(capability);
  FASTBERT_RETURN_IF_ERROR(
      CudaStatus(cudaDeviceGetAttribute(&e->num_processors_, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute"));
  e->attention_ = PlanAttention(config.dtype, config.precision, e->dimensions_.padded_head, capability, e->num_processors_);
  *encoder = std::move(e);
  return Status::Ok();
}

bool Encoder::RunsQuantized(int64_t num_rows) const { return can_quantize_ && BucketOfTokens(num_rows) >= min_quantized_rows_; }

bool Encoder::UsesFusedKernels(int64_t rows) const {
  if (!can_fuse_ || RunsQuantized(rows)) return false;
  const int kernels = kernels_.load(std::memory_order_relaxed);
  return kernels == FASTBERT_KERNELS_FUSED ||
         (kernels == FASTBERT_KERNELS_FASTEST && FusedLayersPay(rows, dimensions_.hidden, gemms_->tuned(rows)));
}

Status Encoder::Tune(const Weights& weights, int num_tokens, void* workspace, size_t workspace_bytes, cudaStream_t stream) const {
  if (weights.owner_ != this) return Status::InvalidArgument("the weights were packed by another encoder");
  if (num_tokens < 1 || num_tokens > kMaxRows) {
    return Status::InvalidArgument(Named("num_tokens", num_tokens) + " is outside 1.." + std::to_string(kMaxRows));
  }
  FASTBERT_RETURN_IF_ERROR(CheckPointer("workspace", workspace, 256));
  Buffers b;
  const size_t needed = PlanBuffers(1, num_tokens, num_tokens, num_tokens, static_cast<char*>(workspace), &b);
  if (workspace_bytes < needed) {
    return Status::InvalidArgument("the workspace has " + std::to_string(workspace_bytes) + " bytes; " + std::to_string(needed) +
                                   " are needed for " + Named("num_tokens", num_tokens));
  }
  ScopedDevice device(device_);
  FASTBERT_RETURN_IF_ERROR(device.status());
  FASTBERT_RETURN_IF_ERROR(WaitForWeights(weights, stream));
  // Ordinary numbers (0x2D2D is 0.08 in float16, 1e-11 in the others): on NaN or zeros the clock could be another one.
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaMemsetAsync(workspace, 0x2D, needed, stream), "cudaMemsetAsync of the workspace"));

  const struct {
    GemmSite site;
    const void* PackedLayer::* weight;
    const void* input;
    void* output;
  } products[] = {{kGemmQkv, &PackedLayer::qkv_kernel, b.x, b.qkv},
                  {kGemmAttentionOutput, &PackedLayer::attention_output_kernel, b.context, b.projection},
                  {kGemmIntermediate, &PackedLayer::intermediate_kernel, b.x, b.inner},
                  {kGemmOutput, &PackedLayer::output_kernel, b.inner, b.projection}};
  for (const auto& product : products) {
    std::vector<Gemms::Operands> operands;
    for (int i = 0; i < config_.num_layers; ++i) operands.push_back({&weights.gemms_[i], weights.layers_[i].*product.weight});
    FASTBERT_RETURN_IF_ERROR(gemms_->Tune(product.site, operands, num_tokens, product.input, product.output, b.gemm, stream));
  }
  return Status::Ok();
}

Status Encoder::Forward(const Weights& weights, const FastBertCall& call, void* workspace, size_t workspace_bytes,
                        cudaStream_t stream, StepTimer* timer) const {
  if (weights.owner_ != this) return Status::InvalidArgument("the weights were packed by another encoder");
  if (call.batch < 0) return Status::InvalidArgument(Named("batch", call.batch) + " is negative");
  if (call.seq_len < 0) return Status::InvalidArgument(Named("seq_len", call.seq_len) + " is negative");
  const int64_t padded_rows = static_cast<int64_t>(call.batch) * call.seq_len;
  if (padded_rows == 0) return Status::Ok();
  if (padded_rows > kMaxRows) {
    return Status::Unimplemented(Named("batch * seq_len", padded_rows) + " is above the largest supported, " +
                                 std::to_string(kMaxRows));
  }
  FASTBERT_RETURN_IF_ERROR(CheckPointer("input", call.input, 16));
  FASTBERT_RETURN_IF_ERROR(CheckPointer("output", call.output, 16));
  ScopedDevice device(device_);
  FASTBERT_RETURN_IF_ERROR(device.status());
  HostLengths lengths;
  FASTBERT_RETURN_IF_ERROR(lengths.Init(call.batch, call.seq_len, call.sequence_length, call.mask));
  const int num_tokens = lengths.num_tokens();
  if (num_tokens == 0) {
    const size_t bytes = padded_rows * dimensions_.hidden * SizeOf(config_.dtype) * (config_.all_layers ? config_.num_layers : 1);
    return CudaStatus(cudaMemsetAsync(call.output, 0, bytes, stream), "cudaMemsetAsync of the output");
  }

  const int64_t rows = call.remove_padding ? num_tokens : padded_rows;
  Buffers buffers;
  FASTBERT_RETURN_IF_ERROR(CheckPointer("workspace", workspace, 256));
  const size_t needed = PlanBuffers(call.batch, call.seq_len, num_tokens, rows, static_cast<char*>(workspace), &buffers);
  if (workspace_bytes < needed) {
    return Status::InvalidArgument("the workspace has " + std::to_string(workspace_bytes) + " bytes; " + std::to_string(needed) +
                                   " are needed for " + Named("batch", call.batch) + ", " + Named("seq_len", call.seq_len) +
                                   ", " + Named("num_tokens", num_tokens));
  }
  FASTBERT_RETURN_IF_ERROR(WaitForWeights(weights, stream));

  SequenceLayout layout;
  layout.batch = call.batch;
  layout.seq_len = call.seq_len;
  layout.num_tokens = num_tokens;
  layout.dense = num_tokens == padded_rows;
  if (!layout.dense) {
    layout.padded_row = buffers.padded_row;
    layout.token = buffers.token;
  }
  layout.tiles = buffers.tiles;
  layout.next_item = buffers.next_item;
  const int tile_size = AttentionTileSize(attention_, num_tokens);
  const bool as_graph = rows <= kMaxGraphRows;
  if (as_graph) {
    layout.tile_slots = static_cast<int>(MaxAttentionTiles(call.batch, BucketOfTokens(num_tokens), tile_size));
  }
  if (timer != nullptr) {
    timer->Begin(FASTBERT_STEP_NOTHING, -1);
    timer->Begin(FASTBERT_STEP_LAYOUT, -1);
  }
  FASTBERT_RETURN_IF_ERROR(FillSequenceLayout(lengths, call.mask, tile_size, &layout, stream));

  // The rows of a dense or padded batch are the user's own, to whom nothing may be added. Others are rounded up for the first
  // call of a size already, which is launched directly, so that it gives the same bits as the graph of the later ones.
  const int64_t loop_rows = as_graph && call.remove_padding && !layout.dense ? BucketOfTokens(rows) : rows;
  const bool fused = UsesFusedKernels(loop_rows);
  GemmRows gemm_rows;
  if (!fused) FASTBERT_RETURN_IF_ERROR(gemms_->PrepareRows(loop_rows, &gemm_rows));
  QuantizedInputs quantized;
  if (RunsQuantized(rows)) {
    const struct {
      const void* values;
      int k;
    } inputs[kNumGemmSites] = {{buffers.x8, dimensions_.hidden},
                               {buffers.context8, dimensions_.hidden},
                               {buffers.x8, dimensions_.hidden},
                               {buffers.inner, dimensions_.inner}};
    for (int i = 0; i < kNumGemmSites; ++i) {
      FASTBERT_RETURN_IF_ERROR(MakeQuantizedInput(inputs[i].values, loop_rows, inputs[i].k, &quantized.input[i]));
    }
  }
  Pass pass{weights,   call,       buffers, layout, gemm_rows,
            loop_rows, call.input, stream,  timer,  RunsQuantized(rows) ? &quantized : nullptr,
            fused};
  // With no padding and no padded columns the user's rows are packed rows: nothing to gather or scatter.
  if (!pass.same_rows(dimensions_)) {
    FASTBERT_RETURN_IF_ERROR(PackRows(pass));
    pass.input = buffers.x;
  }
  // Weights that are still being packed: waiting for them is not a part of the graph. Neither is a timer.
  if (timer != nullptr || !as_graph || !weights.ready_.load(std::memory_order_acquire)) return Run(pass);
  const auto address = [](const void* p) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p)); };
  const GraphCache::Key key = {address(workspace),
                               address(pass.input),
                               address(call.output),
                               call.batch,
                               call.seq_len,
                               BucketOfTokens(num_tokens),
                               (loop_rows << 2) | fused << 1 | layout.dense,
                               gemms_->generation()};
  return weights.graphs_.Run(
      key,
      [&](cudaStream_t s) {
        Pass on_stream = pass;
        on_stream.stream = s;
        return Run(on_stream);
      },
      stream);
}

// The first kernel that reads the user's input: packed rows, without padding.
Status Encoder::PackRows(const Pass& pass) const {
  PackRowsArgs pack;
  pack.input = pass.call.input;
  pack.padded_row = pass.layout.padded_row;
  pack.packed = pass.buffers.x;
  // Attention writes no rows beyond the tokens; the products then read zeros there.
  pack.also_zero = pass.quantized != nullptr ? pass.buffers.context8 : pass.buffers.context;
  pack.also_zero_columns = pass.quantized != nullptr ? dimensions_.heads / 2 : dimensions_.heads;
  pack.num_tokens = pass.layout.num_tokens;
  pack.rows = pass.rows;
  pack.hidden = dimensions_.hidden;
  pack.padded_hidden = dimensions_.padded_hidden;
  pack.dependent = can_fuse_;  // also where this pass does not: on Hopper
  pass.Begin(FASTBERT_STEP_PACK, -1);
  return LaunchPackRows(pack, config_.dtype, pass.stream);
}

Status Encoder::Run(const Pass& pass) const {
  if (!pass.fused) return RunLayers(pass);
  const Buffers& b = pass.buffers;
  static_assert(2 * sizeof(RowStatistics) <= kSmallStatisticsColumns * 2,
                "b.projection, of 16-bit values, has room for the statistics");
  return RunFusedLayers({config_, dimensions_, attention_, pass.weights.fused_, pass.weights.layers_, pass.layout,
                         num_processors_, pass.rows, pass.input, b.x, b.projection, b.qkv, b.context, b.inner, pass.call.output,
                         pass.stream, pass.timer});
}

}  // namespace cuda
}  // namespace tf_fastbert
