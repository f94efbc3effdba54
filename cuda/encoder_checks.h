// What an encoder and its callers' arguments must be, and which kernels a model can take.
#ifndef TF_FASTBERT_CUDA_ENCODER_CHECKS_H_
#define TF_FASTBERT_CUDA_ENCODER_CHECKS_H_

#include <cstdint>
#include <string>

#include "cuda/dimensions.h"
#include "cuda/fastbert_cuda.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

constexpr int64_t kMaxRows = int64_t{1} << 27;  // batch * seq_len; row numbers are 32-bit, and no GPU's memory holds more

// "name = value", for messages.
std::string Named(const char* name, int64_t value);

// Fails with the first field that no encoder can have.
Status CheckConfig(const FastBertConfig& config);

// `name`: what the message calls it.
Status CheckPointer(const char* name, const void* pointer, uintptr_t alignment);

// From how many rows on quantized passes are faster.
int MinQuantizedRows(const FastBertConfig& config, const Dimensions& dimensions);

// Whether the model can run quantized products; the GPU must have the kernels too (HasQuantizedGemm).
bool FitsQuantizedKernels(const FastBertConfig& config, const Dimensions& dimensions);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ENCODER_CHECKS_H_
