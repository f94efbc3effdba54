// The layer loop with products of cuBLASLt, or quantized ones, and LayerNorms of their own.
#include <cstdint>

#include "cuda/activation.h"
#include "cuda/encoder_pass.h"
#include "cuda/quantized_gemm.h"
#include "cuda/quantized_rows.h"

namespace tf_fastbert {
namespace cuda {

Status Encoder::RunLayers(const Pass& pass) const {
  const Buffers& b = pass.buffers;
  const bool pre = config_.layer_norm == FASTBERT_PRE_LAYER_NORM;
  const bool same_rows = pass.same_rows(dimensions_);
  const bool stream8 = pass.quantized != nullptr && HasInt8Stream(config_);
  const void* x = pass.input;  // the residual stream
  if (pass.quantized != nullptr && !pre) {
    pass.Begin(FASTBERT_STEP_PACK, -1);
    FASTBERT_RETURN_IF_ERROR(Quantize(pass, x, b.x8, pass.weights.quantized_[0].attention_input_scale));
    if (stream8) x = b.x8;
  }

  LayerNormArgs norm;
  norm.rows = pass.rows;
  norm.hidden = dimensions_.hidden;
  norm.padded_hidden = dimensions_.padded_hidden;
  norm.epsilon = config_.epsilon;
  if (pre) {
    LayerNormArgs first = norm;
    first.residual = x;
    first.gamma = pass.weights.layers_[0].attention_layer_norm_gamma;
    first.beta = pass.weights.layers_[0].attention_layer_norm_beta;
    first.normalized = b.normalized;
    pass.Begin(FASTBERT_STEP_LAYER_NORM, 0);
    FASTBERT_RETURN_IF_ERROR(Normalize(pass, first, 0, kLayerStart));
  }

  const size_t output_bytes =
      static_cast<size_t>(pass.layout.batch) * pass.layout.seq_len * dimensions_.hidden * SizeOf(config_.dtype);
  for (int i = 0; i < config_.num_layers; ++i) {
    const PackedLayer& layer = pass.weights.layers_[i];
    const bool last = i + 1 == config_.num_layers;

    // Post: x = LN(x + attention(x)). Pre: x = x + attention(normalized), normalized = LN(x) for the feed-forward part.
    FASTBERT_RETURN_IF_ERROR(Attend(pass, i, pre ? b.normalized : x, b.projection));
    LayerNormArgs middle = norm;
    middle.projection = b.projection;
    middle.bias = layer.attention_output_bias;
    middle.residual = x;
    middle.gamma = pre ? layer.output_layer_norm_gamma : layer.attention_layer_norm_gamma;
    middle.beta = pre ? layer.output_layer_norm_beta : layer.attention_layer_norm_beta;
    middle.sum = pre ? b.x : nullptr;
    middle.normalized = pre ? b.normalized : b.x;
    pass.Begin(FASTBERT_STEP_LAYER_NORM, i);
    FASTBERT_RETURN_IF_ERROR(Normalize(pass, middle, i, kLayerMiddle));
    x = stream8 ? b.x8 : b.x;

    // The same around the feed-forward part; pre prepares the next layer's `normalized`.
    FASTBERT_RETURN_IF_ERROR(FeedForward(pass, i, pre ? b.normalized : x, b.projection));
    void* output = nullptr;
    if (config_.all_layers) {
      output = static_cast<char*>(pass.call.output) + i * output_bytes;
    } else if (last) {
      output = pass.call.output;
    }
    LayerNormArgs end = norm;
    end.projection = b.projection;
    end.bias = layer.output_bias;
    end.residual = x;
    if (!pre) {
      end.gamma = layer.output_layer_norm_gamma;
      end.beta = layer.output_layer_norm_beta;
    } else if (!last) {
      end.gamma = pass.weights.layers_[i + 1].attention_layer_norm_gamma;
      end.beta = pass.weights.layers_[i + 1].attention_layer_norm_beta;
      end.normalized = b.normalized;
    }
    void** result = pre ? &end.sum : &end.normalized;
    if (output != nullptr && same_rows) {
      *result = output;
      if (!stream8) x = output;
    } else {
      if (!last) *result = b.x;
      end.output = output;
      end.output_is_sum = pre;
      end.token = output != nullptr ? pass.layout.token : nullptr;
      end.output_rows = static_cast<int64_t>(pass.layout.batch) * pass.layout.seq_len;
    }
    pass.Begin(FASTBERT_STEP_LAYER_NORM, i);
    FASTBERT_RETURN_IF_ERROR(Normalize(pass, end, i, kLayerEnd));
  }
  return Status::Ok();
}

// `args` as a pass without quantization would have it. A quantized pass writes the next product's input in 8 bits, and no other
// copy of it but the residual stream and the user's output.
Status Encoder::Normalize(const Pass& pass, const LayerNormArgs& args, int layer, LayerPlace place) const {
  if (pass.quantized == nullptr) return LaunchLayerNorm(args, config_.dtype, pass.stream);
  const Buffers& b = pass.buffers;
  const QuantizedLayer& q = pass.weights.quantized_[layer];
  QuantizedLayerNormArgs a;
  static_cast<LayerNormArgs&>(a) = args;
  a.int8_stream = HasInt8Stream(config_);
  if (!a.int8_stream) a.bias = nullptr;  // added by the product
  if (a.normalized == b.normalized || (a.int8_stream && a.normalized == b.x)) a.normalized = nullptr;
  if (place != kLayerEnd || layer + 1 < config_.num_layers) a.quantized = b.x8;
  switch (place) {
    case kLayerStart: a.quantize_scale = q.attention_input_scale; break;
    case kLayerMiddle:
      a.projection_step = 1.0f / q.attention_output_sum_scale;
      a.residual_step = 1.0f / q.attention_input_scale;
      a.quantize_scale = q.intermediate_input_scale;
      break;
    case kLayerEnd:
      a.projection_step = 1.0f / q.output_sum_scale;
      a.residual_step = 1.0f / q.intermediate_input_scale;
      if (a.quantized != nullptr) a.quantize_scale = pass.weights.quantized_[layer + 1].attention_input_scale;
      break;
  }
  return LaunchQuantizedLayerNorm(a, QuantizedTypeOf(config_), config_.dtype, pass.stream);
}

// One of the four products of a layer, with what belongs to it: bias and activation where the next step doesn't add them. A
// quantized pass has its inputs in pass.quantized.
Status Encoder::Multiply(const Pass& pass, int i, GemmSite site, const void* input, void* output) const {
  constexpr FastBertStepKind kSteps[kNumGemmSites] = {FASTBERT_STEP_QKV, FASTBERT_STEP_ATTENTION_OUTPUT,
                                                      FASTBERT_STEP_INTERMEDIATE, FASTBERT_STEP_OUTPUT};
  const Buffers& b = pass.buffers;
  pass.Begin(kSteps[site], i);
  if (pass.quantized != nullptr) {
    const QuantizedLayer& q = pass.weights.quantized_[i];
    QuantizedGemmArgs args;
    args.output = output;
    if (site == kGemmIntermediate) {
      args.quantize = true;
      args.output_scale = q.output_input_scale;
      args.activation = config_.activation;
    } else if (site != kGemmQkv && HasInt8Stream(config_)) {
      args.quantize = true;
      args.output_scale = site == kGemmOutput ? q.output_sum_scale : q.attention_output_sum_scale;
    }
    return LaunchQuantizedGemm(QuantizedTypeOf(config_), pass.quantized->input[site], q.weight[site], args, config_.dtype, -1,
                               num_processors_, pass.stream);
  }

  const PackedLayer& layer = pass.weights.layers_[i];
  const void* const weights[kNumGemmSites] = {layer.qkv_kernel, layer.attention_output_kernel, layer.intermediate_kernel,
                                              layer.output_kernel};
  FASTBERT_RETURN_IF_ERROR(
      gemms_->Run(site, pass.weights.gemms_[i], pass.gemm_rows, input, weights[site], output, b.gemm, pass.stream));
  if (site != kGemmIntermediate || gemms_->fuses_activation()) return Status::Ok();
  return LaunchBiasActivation(output, layer.intermediate_bias, pass.rows, dimensions_.padded_inner, config_.activation,
                              config_.dtype, pass.stream);
}

// All rows of [rows, hidden] in 8 bits.
Status Encoder::Quantize(const Pass& pass, const void* from, void* to, float scale) const {
  QuantizeRowsArgs quantize;
  quantize.input = from;
  quantize.quantized = to;
  quantize.scale = scale;
  quantize.rows = pass.rows;
  quantize.hidden = dimensions_.hidden;
  return LaunchQuantizeRows(quantize, QuantizedTypeOf(config_), config_.dtype, pass.stream);
}

// projection = attention(input) times the output kernel, without its bias.
Status Encoder::Attend(const Pass& pass, int i, const void* input, void* projection) const {
  const Buffers& b = pass.buffers;
  FASTBERT_RETURN_IF_ERROR(Multiply(pass, i, kGemmQkv, input, b.qkv));
  AttentionArgs attention = MakeAttentionArgs(dimensions_, pass.layout, b.qkv, b.context);
  if (pass.quantized != nullptr) {
    attention.context = b.context8;
    attention.quantize = QuantizedTypeOf(config_) == QuantizedType::kInt8 ? AttentionArgs::kInt8 : AttentionArgs::kE4M3;
    attention.context_scale = pass.weights.quantized_[i].context_scale;
  }
  pass.Begin(FASTBERT_STEP_ATTENTION, i);
  FASTBERT_RETURN_IF_ERROR(LaunchAttention(attention_, attention, config_.dtype, i, pass.stream));
  return Multiply(pass, i, kGemmAttentionOutput, b.context, projection);
}

// projection = activation(input times the intermediate kernel + bias) times the output kernel, without its bias.
Status Encoder::FeedForward(const Pass& pass, int i, const void* input, void* projection) const {
  FASTBERT_RETURN_IF_ERROR(Multiply(pass, i, kGemmIntermediate, input, pass.buffers.inner));
  return Multiply(pass, i, kGemmOutput, pass.buffers.inner, projection);
}

}  // namespace cuda
}  // namespace tf_fastbert
