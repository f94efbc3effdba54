// What happens to weights once, and waiting for it.
#include <memory>
#include <vector>

#include "cuda/encoder.h"
#include "cuda/encoder_checks.h"
#include "cuda/scoped_device.h"

namespace tf_fastbert {
namespace cuda {

Weights::~Weights() {
  if (packed_ != nullptr) cudaEventDestroy(packed_);
}

size_t Encoder::packed_bytes() const {
  return PackedBytes(config_, dimensions_) + (HasInt8Kernels(config_) ? DequantizedBytes(config_) : 0) +
         (can_quantize_ ? QuantizedBytes(config_) : 0) + (can_fuse_ ? FusedBytes(config_) : 0);
}

Status Encoder::Pack(const FastBertLayerWeights* layers, const FastBertLayerRanges* ranges, void* buffer, cudaStream_t stream,
                     std::unique_ptr<Weights>* weights) const {
  if (layers == nullptr) return Status::InvalidArgument("layers is null");
  if ((ranges != nullptr) != (config_.quantization != FASTBERT_NO_QUANTIZATION)) {
    return Status::InvalidArgument(ranges != nullptr ? "ranges are given, but the encoder has no quantization"
                                                     : "the encoder has quantization, which needs ranges: call "
                                                       "fastbert_cuda_pack_quantized_weights");
  }
  FASTBERT_RETURN_IF_ERROR(CheckPointer("the packed weights' buffer", buffer, 256));
  ScopedDevice device(device_);
  FASTBERT_RETURN_IF_ERROR(device.status());
  if (ranges != nullptr) {
    // Ranges are copied from host memory that is gone when a graph is replayed.
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing"));
    if (capture != cudaStreamCaptureStatusNone) {
      return Status::Unimplemented("quantized weights cannot be packed on a stream that is being captured");
    }
  }
  std::unique_ptr<Weights> w(new Weights);
  w->owner_ = this;
  char* next = static_cast<char*>(buffer) + PackedBytes(config_, dimensions_);
  for (int i = 0; i < config_.num_layers; ++i) FASTBERT_RETURN_IF_ERROR(CheckWeightPointers(i, layers[i]));
  if (can_quantize_) {
    FASTBERT_RETURN_IF_ERROR(PackQuantizedWeights(config_, dimensions_, layers, ranges, next, stream, &w->quantized_));
    next += QuantizedBytes(config_);
  }
  // What is not quantized runs on dequantized kernels.
  std::vector<FastBertLayerWeights> dequantized;
  if (HasInt8Kernels(config_)) {
    FASTBERT_RETURN_IF_ERROR(DequantizeWeights(config_, layers, ranges, next, stream, &dequantized));
    layers = dequantized.data();
    next += DequantizedBytes(config_);
  }
  if (can_fuse_) FASTBERT_RETURN_IF_ERROR(PackFusedWeights(config_, dimensions_, layers, next, stream, &w->fused_));
  FASTBERT_RETURN_IF_ERROR(PackWeights(config_, dimensions_, layers, buffer, stream, &w->layers_));
  w->gemms_ = std::vector<GemmLayer>(config_.num_layers);
  for (int i = 0; i < config_.num_layers; ++i) {
    FASTBERT_RETURN_IF_ERROR(gemms_->PrepareLayer(w->layers_[i].qkv_bias, w->layers_[i].intermediate_bias, &w->gemms_[i]));
  }
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaEventCreateWithFlags(&w->packed_, cudaEventDisableTiming), "cudaEventCreateWithFlags"));
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(w->packed_, stream), "cudaEventRecord"));
  *weights = std::move(w);
  return Status::Ok();
}

Status Encoder::WaitForWeights(const Weights& weights, cudaStream_t stream) const {
  if (weights.ready_.load(std::memory_order_acquire)) return Status::Ok();
  // Asking is forbidden while any stream of the process captures a graph, unless this thread's mode says otherwise.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaThreadExchangeStreamCaptureMode(&mode), "cudaThreadExchangeStreamCaptureMode"));
  const cudaError_t state = cudaEventQuery(weights.packed_);
  cudaThreadExchangeStreamCaptureMode(&mode);
  if (state == cudaSuccess) {
    weights.ready_.store(true, std::memory_order_release);
    return Status::Ok();
  }
  if (state != cudaErrorNotReady) return CudaStatus(state, "cudaEventQuery");
  cudaGetLastError();
  // Waiting on the stream that packed is a wait for nothing, unless a graph is being captured there: it may run on any stream. (And
  // cudaStreamPerThread is one handle for many streams.) A graph may wait for an event recorded outside of it only if told so.
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing"));
  const unsigned flags = capture == cudaStreamCaptureStatusActive ? cudaEventWaitExternal : cudaEventWaitDefault;
  return CudaStatus(cudaStreamWaitEvent(stream, weights.packed_, flags), "cudaStreamWaitEvent");
}

}  // namespace cuda
}  // namespace tf_fastbert
