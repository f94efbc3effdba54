// The layer loop of post-LN encoders whose LayerNorms have no kernels of their own (see fused_gemm.h): five launches a layer, and one
// for each layer that is an output.
#ifndef TF_FASTBERT_CUDA_FUSED_LAYERS_H_
#define TF_FASTBERT_CUDA_FUSED_LAYERS_H_

#include <cuda_runtime_api.h>

#include <vector>

#include "cuda/attention.h"
#include "cuda/dimensions.h"
#include "cuda/fused_weights.h"
#include "cuda/pack_weights.h"
#include "cuda/sequence_layout.h"
#include "cuda/status.h"
#include "cuda/step_timer.h"

namespace tf_fastbert {
namespace cuda {

// Whether the model can run so; the GPU must have the kernels too (HasFusedGemm).
bool FitsFusedLayers(const FastBertConfig& config, const Dimensions& dimensions);

// Whether a pass of so many rows is faster so than with cuBLASLt's products and LayerNorms of their own.
// `tuned`: its algorithms have been timed for so many rows (Gemms::tuned).
bool FusedLayersPay(int64_t rows, int64_t hidden, bool tuned);

struct FusedPass {
  const FastBertConfig& config;
  const Dimensions& dimensions;
  const AttentionPlan& attention;
  const std::vector<FusedLayer>& layers;
  const std::vector<PackedLayer>& packed;  // gammas and betas, for what is written to `output`
  const SequenceLayout& layout;
  int num_processors;
  int64_t rows;
  const void* input;  // [rows, hidden]
  void* x;            // [rows, hidden]; may be `input`. What a layer's last LayerNorm normalizes
  void* statistics;   // twice [rows, hidden / 32] RowStatistics
  void* qkv;          // [rows, 3 * heads]
  void* context;      // [rows, heads]; attention leaves rows beyond the tokens as they are
  void* inner;        // [rows, inner]; may overlap qkv and context
  void* output;       // [B, S, hidden], or [L, B, S, hidden] with config.all_layers; padding gets zeros
  cudaStream_t stream;
  StepTimer* timer;  // null: nobody asked
};

Status RunFusedLayers(const FusedPass& pass);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_LAYERS_H_
