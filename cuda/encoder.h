// BERT's encoder on one CUDA device: the layer loop, and the one place that knows the workspace.
#ifndef TF_FASTBERT_CUDA_ENCODER_H_
#define TF_FASTBERT_CUDA_ENCODER_H_

#include <cuda_runtime_api.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "cuda/attention.h"
#include "cuda/dimensions.h"
#include "cuda/fastbert_cuda.h"
#include "cuda/fused_weights.h"
#include "cuda/gemm.h"
#include "cuda/graph_cache.h"
#include "cuda/layer_norm.h"
#include "cuda/pack_weights.h"
#include "cuda/quantized_weights.h"
#include "cuda/sequence_layout.h"
#include "cuda/status.h"
#include "cuda/step_timer.h"

namespace tf_fastbert {
namespace cuda {

class Weights {
 public:
  ~Weights();

 private:
  friend class Encoder;
  std::vector<PackedLayer> layers_;
  std::vector<GemmLayer> gemms_;
  std::vector<QuantizedLayer> quantized_;  // empty where passes are never quantized
  std::vector<FusedLayer> fused_;          // empty where they never take the fused kernels
  const class Encoder* owner_ = nullptr;
  cudaEvent_t packed_ = nullptr;
  mutable std::atomic<bool> ready_{false};  // the event has been seen to be over
  mutable GraphCache graphs_;
};

class Encoder {
 public:
  // For the current device.
  static Status Create(const FastBertConfig& config, std::unique_ptr<Encoder>* encoder);

  size_t packed_bytes() const;
  // `ranges`: null without quantization.
  Status Pack(const FastBertLayerWeights* layers, const FastBertLayerRanges* ranges, void* buffer, cudaStream_t stream,
              std::unique_ptr<Weights>* weights) const;

  // See fastbert_cuda_runs_quantized.
  bool RunsQuantized(int64_t num_rows) const;

  size_t WorkspaceBytes(int batch, int seq_len, int num_tokens, bool remove_padding) const;
  // See fastbert_cuda_tune.
  Status Tune(const Weights& weights, int num_tokens, void* workspace, size_t workspace_bytes, cudaStream_t stream) const;
  // See fastbert_cuda_tuned_table.
  std::string TunedTable() const { return gemms_->TunedTable(); }
  // With a timer the steps of the pass are timed.
  Status Forward(const Weights& weights, const FastBertCall& call, void* workspace, size_t workspace_bytes, cudaStream_t stream,
                 StepTimer* timer = nullptr) const;
  // See fastbert_cuda_choose_kernels.
  void ChooseKernels(FastBertKernels kernels) { kernels_.store(kernels, std::memory_order_relaxed); }

 private:
  struct Buffers;
  struct QuantizedInputs;
  struct Pass;

  Encoder(const FastBertConfig& config, int device) : config_(config), dimensions_(config), device_(device) {}
  size_t PlanBuffers(int64_t batch, int64_t seq_len, int64_t num_tokens, int64_t rows, char* workspace, Buffers* buffers) const;
  Status PackRows(const Pass& pass) const;
  Status WaitForWeights(const Weights& weights, cudaStream_t stream) const;
  bool UsesFusedKernels(int64_t rows) const;
  Status Run(const Pass& pass) const;
  Status RunLayers(const Pass& pass) const;
  enum LayerPlace { kLayerStart, kLayerMiddle, kLayerEnd };
  Status Normalize(const Pass& pass, const LayerNormArgs& args, int layer, LayerPlace place) const;
  Status Multiply(const Pass& pass, int layer, GemmSite site, const void* input, void* output) const;
  Status Quantize(const Pass& pass, const void* from, void* to, float scale) const;
  Status Attend(const Pass& pass, int layer, const void* input, void* projection) const;
  Status FeedForward(const Pass& pass, int layer, const void* input, void* projection) const;

  const FastBertConfig config_;
  const Dimensions dimensions_;
  const int device_;
  AttentionPlan attention_;
  std::unique_ptr<Gemms> gemms_;
  std::atomic<int> kernels_{FASTBERT_KERNELS_FASTEST};
  bool can_quantize_ = false;  // the quantized kernels fit the model and the device
  int64_t min_quantized_rows_ = 0;
  bool can_fuse_ = false;  // likewise the kernels of fused_layers.h
  int num_processors_ = 0;
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ENCODER_H_
