// The functions of cuBLASLt that the encoder uses, done by one plain kernel, for compute-sanitizer.
//
// Why: racecheck takes shared memory for itself, and cuBLASLt's Hopper kernels, which use all of it, then fault; the encoder's
// own kernels can't be checked beside them. With TF_FASTBERT_CUBLASLT naming this library the whole encoder runs under racecheck.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>

#include "cuda/cublaslt_api.h"

namespace lt = tf_fastbert::cuda;

// Named, not anonymous: functions that take types of an anonymous namespace are not exported.
namespace plain_cublaslt {

struct Desc {
  int epilogue = lt::kLtEpilogueDefault;
  const void* bias = nullptr;
};

struct Layout {
  cudaDataType_t type;
  uint64_t rows, cols;
  int64_t ld;
};

__device__ float Load(const void* p, int64_t i, cudaDataType_t type) {
  if (type == CUDA_R_16F) return __half2float(static_cast<const __half*>(p)[i]);
  if (type == CUDA_R_16BF) return __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i]);
  return static_cast<const float*>(p)[i];
}

__device__ void Store(void* p, int64_t i, float value, cudaDataType_t type) {
  if (type == CUDA_R_16F) {
    static_cast<__half*>(p)[i] = __float2half(value);
  } else if (type == CUDA_R_16BF) {
    static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16(value);
  } else {
    static_cast<float*>(p)[i] = value;
  }
}

// Column-major d[rows, cols] = epilogue(a[rows, k] b[k, cols]), one thread an element.
__global__ void PlainMatmulKernel(Desc desc, Layout a_layout, const void* a, Layout b_layout, const void* b, Layout d_layout,
                                  void* d) {
  const int64_t row = blockIdx.x * int64_t{blockDim.x} + threadIdx.x, col = blockIdx.y;
  if (row >= int64_t(d_layout.rows)) return;
  float sum = 0.0f;
  for (int64_t k = 0; k < int64_t(b_layout.rows); ++k) {
    sum += Load(a, row + k * a_layout.ld, a_layout.type) * Load(b, k + col * b_layout.ld, b_layout.type);
  }
  if (desc.epilogue & 4) sum += Load(desc.bias, row, d_layout.type);
  if (desc.epilogue & 2) sum = fmaxf(sum, 0.0f);
  if (desc.epilogue & 32) sum = 0.5f * sum * (1.0f + tanhf(0.79788456080286536f * (sum + 0.044715f * sum * sum * sum)));
  Store(d, row + col * d_layout.ld, sum, d_layout.type);
}

}  // namespace plain_cublaslt

using namespace plain_cublaslt;

extern "C" {

size_t cublasLtGetVersion() { return 0; }
int cublasLtCreate(void** handle) { return *handle = new int, 0; }
int cublasLtDestroy(void* handle) { return delete static_cast<int*>(handle), 0; }
int cublasLtMatmulDescCreate(Desc** desc, int, cudaDataType_t) { return *desc = new Desc, 0; }
int cublasLtMatmulDescDestroy(Desc* desc) { return delete desc, 0; }
int cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* value, size_t size) {
  void* field = attribute == lt::kLtDescEpilogue ? static_cast<void*>(&desc->epilogue) : static_cast<void*>(&desc->bias);
  std::memcpy(field, value, size);
  return 0;
}
int cublasLtMatrixLayoutCreate(Layout** layout, cudaDataType_t type, uint64_t rows, uint64_t cols, int64_t ld) {
  return *layout = new Layout{type, rows, cols, ld}, 0;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) { return delete layout, 0; }
int cublasLtMatmulPreferenceCreate(void** preference) { return *preference = new int, 0; }
int cublasLtMatmulPreferenceDestroy(void* preference) { return delete static_cast<int*>(preference), 0; }
int cublasLtMatmulPreferenceSetAttribute(void*, int, const void*, size_t) { return 0; }
int cublasLtMatmulAlgoGetHeuristic(void*, Desc*, Layout*, Layout*, Layout*, Layout*, void*, int, lt::LtHeuristicResult* result,
                                   int* found) {
  *result = {};
  return *found = 1, 0;
}
int cublasLtMatmulAlgoConfigSetAttribute(void*, int, const void*, size_t) { return 15; }  // NOT_SUPPORTED: one algorithm only
int cublasLtMatmulAlgoCheck(void*, Desc*, Layout*, Layout*, Layout*, Layout*, const void*, lt::LtHeuristicResult* result) {
  *result = {};
  return 0;
}
int cublasLtMatmul(void*, Desc* desc, const void*, const void* a, Layout* a_layout, const void* b, Layout* b_layout, const void*,
                   const void*, Layout*, void* d, Layout* d_layout, const lt::LtAlgorithm*, void*, size_t, cudaStream_t stream) {
  const dim3 grid((d_layout->rows + 127) / 128, d_layout->cols);
  PlainMatmulKernel<<<grid, 128, 0, stream>>>(*desc, *a_layout, a, *b_layout, b, *d_layout, d);
  return cudaGetLastError() == cudaSuccess ? lt::kLtSuccess : 13;
}

}  // extern "C"
