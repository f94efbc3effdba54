#include "cuda/fused_layers.h"

#include "cuda/fused_gemm_large.h"
#include "cuda/fused_gemm_small.h"
#include "cuda/layer_norm.h"

namespace tf_fastbert {
namespace cuda {
namespace {

// Measured on an H100: between these cuBLASLt's products and LayerNorms of their own are faster, and once the products' algorithms have
// been timed, from the first on. Of models as wide as BERT-large the second is twice as much.
constexpr int64_t kMaxFewRows = 512, kMinLargeRows = 2048, kMinLargeRowsIfWide = 4096;
constexpr int64_t kWideHidden = 1024;

// Up to how many rows the products are those of fused_gemm_small.h; beyond, of fused_gemm_large.h.
constexpr int64_t kSmallRows = 1024;

Status Multiply(const FusedPass& pass, int layer, GemmSite site, const void* input, FusedGemmArgs args) {
  constexpr FastBertStepKind kSteps[kNumGemmSites] = {FASTBERT_STEP_QKV, FASTBERT_STEP_ATTENTION_OUTPUT,
                                                      FASTBERT_STEP_INTERMEDIATE, FASTBERT_STEP_OUTPUT};
  const FusedWeight& weight = pass.layers[layer].weight[site];
  args.rows = static_cast<int>(pass.rows);
  args.n = weight.n;
  args.k = weight.k;
  args.bias = weight.bias;
  args.column_sum = weight.column_sum;
  args.epsilon = pass.config.epsilon;
  if (pass.timer != nullptr) pass.timer->Begin(kSteps[site], layer);
  if (pass.rows <= kSmallRows) {
    return LaunchSmallGemm(input, weight.values, args, pass.config.dtype, pass.num_processors, pass.stream);
  }
  return LaunchFusedGemmLarge(input, weight.values, args, pass.config.dtype, kNumFusedGemmTiles, pass.num_processors,
                              pass.stream);
}

Status Attend(const FusedPass& pass, int layer) {
  const AttentionArgs attention = MakeAttentionArgs(pass.dimensions, pass.layout, pass.qkv, pass.context);
  if (pass.timer != nullptr) pass.timer->Begin(FASTBERT_STEP_ATTENTION, layer);
  return LaunchAttention(pass.attention, attention, pass.config.dtype, layer, pass.stream);
}

// x as it stands after `layer`, normalized, in the user's layout. The next layer goes on from x itself.
Status WriteOutput(const FusedPass& pass, int layer) {
  const Dimensions& d = pass.dimensions;
  const int64_t output_rows = static_cast<int64_t>(pass.layout.batch) * pass.layout.seq_len;
  char* const output = static_cast<char*>(pass.output);
  LayerNormArgs norm;
  norm.residual = pass.x;
  norm.gamma = pass.packed[layer].output_layer_norm_gamma;
  norm.beta = pass.packed[layer].output_layer_norm_beta;
  norm.output = pass.config.all_layers ? output + layer * output_rows * d.hidden * SizeOf(pass.config.dtype) : output;
  norm.token = pass.layout.token;
  norm.output_rows = output_rows;
  norm.rows = pass.rows;
  norm.hidden = d.hidden;
  norm.padded_hidden = d.padded_hidden;
  norm.epsilon = pass.config.epsilon;
  norm.dependent = true;
  if (pass.timer != nullptr) pass.timer->Begin(FASTBERT_STEP_LAYER_NORM, layer);
  return LaunchLayerNorm(norm, pass.config.dtype, pass.stream);
}

}  // namespace

bool FitsFusedLayers(const FastBertConfig& config, const Dimensions& d) {
  return config.dtype != FASTBERT_FLOAT32 && config.layer_norm == FASTBERT_POST_LAYER_NORM && d.head == d.padded_head &&
         d.hidden % kStatisticsColumns == 0 && d.inner % kStatisticsColumns == 0;
}

bool FusedLayersPay(int64_t rows, int64_t hidden, bool tuned) {
  return rows <= kMaxFewRows || (!tuned && rows >= (hidden < kWideHidden ? kMinLargeRows : kMinLargeRowsIfWide));
}

Status RunFusedLayers(const FusedPass& pass) {
  const Dimensions& d = pass.dimensions;
  RowStatistics* const after_attention = static_cast<RowStatistics*>(pass.statistics);
  RowStatistics* const after_output = after_attention + pass.rows * (d.hidden / kSmallStatisticsColumns);

  for (int i = 0; i < pass.config.num_layers; ++i) {
    const FusedLayer& layer = pass.layers[i];
    const bool first = i == 0;
    const void* const x = first ? pass.input : pass.x;

    FusedGemmArgs qkv;
    if (!first) qkv.input_statistics = after_output;
    qkv.output = pass.qkv;
    FASTBERT_RETURN_IF_ERROR(Multiply(pass, i, kGemmQkv, x, qkv));

    FASTBERT_RETURN_IF_ERROR(Attend(pass, i));

    FusedGemmArgs attention_output;
    attention_output.residual = x;
    if (!first) {
      attention_output.residual_statistics = after_output;
      attention_output.gamma = pass.layers[i - 1].output_gamma;
      attention_output.beta = pass.layers[i - 1].output_beta;
    }
    attention_output.output = pass.x;
    attention_output.output_statistics = after_attention;
    FASTBERT_RETURN_IF_ERROR(Multiply(pass, i, kGemmAttentionOutput, pass.context, attention_output));

    FusedGemmArgs intermediate;
    intermediate.input_statistics = after_attention;
    intermediate.activation = MakeActivator(pass.config.activation);
    intermediate.output = pass.inner;
    FASTBERT_RETURN_IF_ERROR(Multiply(pass, i, kGemmIntermediate, pass.x, intermediate));

    FusedGemmArgs output;
    output.residual = pass.x;
    output.residual_statistics = after_attention;
    output.gamma = layer.attention_gamma;
    output.beta = layer.attention_beta;
    output.output = pass.x;
    output.output_statistics = after_output;
    FASTBERT_RETURN_IF_ERROR(Multiply(pass, i, kGemmOutput, pass.inner, output));
    if (pass.config.all_layers || i + 1 == pass.config.num_layers) FASTBERT_RETURN_IF_ERROR(WriteOutput(pass, i));
  }
  return Status::Ok();
}

}  // namespace cuda
}  // namespace tf_fastbert
