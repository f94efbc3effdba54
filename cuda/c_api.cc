// The C ABI of fastbert_cuda.h over cuda::Encoder: checks handles, keeps the last error, lets no exception out.
#include <dlfcn.h>

#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "cuda/cublaslt_api.h"
#include "cuda/embedding.h"
#include "cuda/encoder.h"
#include "cuda/fastbert_cuda.h"
#include "cuda/gemm_table.h"
#include "cuda/span_logits.h"

struct FastBertCudaEncoder {
  std::unique_ptr<tf_fastbert::cuda::Encoder> encoder;
};

struct FastBertCudaWeights {
  std::unique_ptr<tf_fastbert::cuda::Weights> weights;
};

namespace {

using tf_fastbert::cuda::Status;

thread_local std::string last_error;

template <typename Function>
FastBertStatus Guard(Function function) {
  try {
    Status status = function();
    if (!status.ok()) last_error = std::move(status.message);
    return status.code;
  } catch (const std::bad_alloc&) {
    last_error = "out of host memory";
    return FASTBERT_OUT_OF_MEMORY;
  } catch (const std::exception& e) {
    last_error = e.what();
    return FASTBERT_INTERNAL;
  }
}

Status RequireNotNull(const void* pointer, const char* name) {
  return pointer != nullptr ? Status::Ok() : Status::InvalidArgument(std::string(name) + " is null");
}

}  // namespace

FastBertStatus fastbert_cuda_create(const FastBertConfig* config, FastBertCudaEncoder** encoder) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(config, "config"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(encoder, "encoder"));
    std::unique_ptr<FastBertCudaEncoder> created(new FastBertCudaEncoder);
    FASTBERT_RETURN_IF_ERROR(tf_fastbert::cuda::Encoder::Create(*config, &created->encoder));
    *encoder = created.release();
    return Status::Ok();
  });
}

void fastbert_cuda_destroy(FastBertCudaEncoder* encoder) { delete encoder; }

size_t fastbert_cuda_packed_bytes(const FastBertCudaEncoder* encoder) {
  return encoder == nullptr ? 0 : encoder->encoder->packed_bytes();
}

FastBertStatus fastbert_cuda_pack_weights(const FastBertCudaEncoder* encoder, const FastBertLayerWeights* layers, void* buffer,
                                          void* stream, FastBertCudaWeights** weights) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(encoder, "encoder"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(weights, "weights"));
    std::unique_ptr<FastBertCudaWeights> created(new FastBertCudaWeights);
    FASTBERT_RETURN_IF_ERROR(
        encoder->encoder->Pack(layers, nullptr, buffer, static_cast<cudaStream_t>(stream), &created->weights));
    *weights = created.release();
    return Status::Ok();
  });
}

FastBertStatus fastbert_cuda_pack_quantized_weights(const FastBertCudaEncoder* encoder, const FastBertLayerWeights* layers,
                                                    const FastBertLayerRanges* ranges, void* buffer, void* stream,
                                                    FastBertCudaWeights** weights) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(encoder, "encoder"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(ranges, "ranges"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(weights, "weights"));
    std::unique_ptr<FastBertCudaWeights> created(new FastBertCudaWeights);
    FASTBERT_RETURN_IF_ERROR(
        encoder->encoder->Pack(layers, ranges, buffer, static_cast<cudaStream_t>(stream), &created->weights));
    *weights = created.release();
    return Status::Ok();
  });
}

void fastbert_cuda_free_weights(FastBertCudaWeights* weights) { delete weights; }

int32_t fastbert_cuda_runs_quantized(const FastBertCudaEncoder* encoder, int64_t num_rows) {
  return encoder != nullptr && encoder->encoder->RunsQuantized(num_rows) ? 1 : 0;
}

size_t fastbert_cuda_workspace_bytes(const FastBertCudaEncoder* encoder, int32_t batch, int32_t seq_len, int32_t num_tokens,
                                     int32_t remove_padding) {
  return encoder == nullptr ? 0 : encoder->encoder->WorkspaceBytes(batch, seq_len, num_tokens, remove_padding != 0);
}

FastBertStatus fastbert_cuda_tune(const FastBertCudaEncoder* encoder, const FastBertCudaWeights* weights, int32_t num_tokens,
                                  void* workspace, size_t workspace_bytes, void* stream) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(encoder, "encoder"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(weights, "weights"));
    return encoder->encoder->Tune(*weights->weights, num_tokens, workspace, workspace_bytes, static_cast<cudaStream_t>(stream));
  });
}

FastBertStatus fastbert_cuda_tuned_table(const FastBertCudaEncoder* encoder, char* buffer, size_t bytes, size_t* bytes_needed) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(encoder, "encoder"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(bytes_needed, "bytes_needed"));
    const std::string text = encoder->encoder->TunedTable();
    *bytes_needed = text.size() + 1;
    if (*bytes_needed <= bytes && buffer != nullptr) std::memcpy(buffer, text.c_str(), *bytes_needed);
    return Status::Ok();
  });
}

FastBertStatus fastbert_cuda_load_tuned_table(const char* text) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(text, "text"));
    return tf_fastbert::cuda::LoadGemmTable(text);
  });
}

FastBertStatus fastbert_cuda_forward(const FastBertCudaEncoder* encoder, const FastBertCudaWeights* weights,
                                     const FastBertCall* call, void* workspace, size_t workspace_bytes, void* stream) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(encoder, "encoder"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(weights, "weights"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(call, "call"));
    return encoder->encoder->Forward(*weights->weights, *call, workspace, workspace_bytes, static_cast<cudaStream_t>(stream));
  });
}

FastBertStatus fastbert_cuda_profile(const FastBertCudaEncoder* encoder, const FastBertCudaWeights* weights,
                                     const FastBertCall* call, void* workspace, size_t workspace_bytes, void* stream,
                                     FastBertStep* steps, int32_t capacity, int32_t* num_steps) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(encoder, "encoder"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(weights, "weights"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(call, "call"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(steps, "steps"));
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(num_steps, "num_steps"));
    tf_fastbert::cuda::StepTimer timer(static_cast<cudaStream_t>(stream));
    FASTBERT_RETURN_IF_ERROR(encoder->encoder->Forward(*weights->weights, *call, workspace, workspace_bytes,
                                                       static_cast<cudaStream_t>(stream), &timer));
    return timer.Finish(steps, capacity, num_steps);
  });
}

FastBertStatus fastbert_cuda_embed(const FastBertEmbeddingCall* call, void* stream) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(call, "call"));
    return tf_fastbert::cuda::Embed(*call, static_cast<cudaStream_t>(stream));
  });
}

FastBertStatus fastbert_cuda_span_logits(const FastBertSpanLogitsCall* call, void* stream) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(call, "call"));
    return tf_fastbert::cuda::SpanLogits(*call, static_cast<cudaStream_t>(stream));
  });
}

FastBertStatus fastbert_cuda_choose_kernels(FastBertCudaEncoder* encoder, int32_t kernels) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(encoder, "encoder"));
    if (kernels < FASTBERT_KERNELS_FASTEST || kernels > FASTBERT_KERNELS_FUSED) {
      return Status::InvalidArgument("kernels = " + std::to_string(kernels) + " is not one of the enum's values");
    }
    encoder->encoder->ChooseKernels(static_cast<FastBertKernels>(kernels));
    return Status::Ok();
  });
}

FastBertStatus fastbert_cuda_versions(FastBertVersions* versions) {
  return Guard([&] {
    FASTBERT_RETURN_IF_ERROR(RequireNotNull(versions, "versions"));
    *versions = {};
    cudaRuntimeGetVersion(&versions->runtime);
    cudaDriverGetVersion(&versions->driver);
    const tf_fastbert::cuda::CublasLtApi* api = nullptr;
    FASTBERT_RETURN_IF_ERROR(tf_fastbert::cuda::GetCublasLt(&api));
    versions->cublaslt = api->GetVersion();
    Dl_info info = {};
    versions->cublaslt_path = dladdr(reinterpret_cast<void*>(api->GetVersion), &info) ? info.dli_fname : "";
    return Status::Ok();
  });
}

const char* fastbert_cuda_last_error(void) { return last_error.c_str(); }
