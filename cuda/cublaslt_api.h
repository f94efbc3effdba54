// The dozen functions of cuBLASLt that the encoder uses, found at run time.
//
// Why not link: GPU TensorFlow's libtensorflow_framework exports stubs named cublasLt*, to which a linked library would bind; and
// a library that needs libcublasLt.so does not load on a machine without CUDA. Why own declarations: the types and constants
// below are the documented ABI, the same in CUDA 12 and 13, and building then needs no cuBLAS headers.
#ifndef TF_FASTBERT_CUDA_CUBLASLT_API_H_
#define TF_FASTBERT_CUDA_CUBLASLT_API_H_

#include <cuda_runtime_api.h>
#include <library_types.h>

#include <cstddef>
#include <cstdint>

#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

using LtStatus = int;
constexpr LtStatus kLtSuccess = 0;
constexpr LtStatus kLtInvalidValue = 7;
constexpr LtStatus kLtNotSupported = 15;

using LtHandle = struct LtHandleOpaque*;
using LtMatmulDesc = struct LtMatmulDescOpaque*;
using LtMatrixLayout = struct LtMatrixLayoutOpaque*;
using LtPreference = struct LtPreferenceOpaque*;

struct LtAlgorithm {
  uint64_t data[8];
};

struct LtHeuristicResult {
  LtAlgorithm algorithm;
  size_t workspace_bytes;
  LtStatus state;
  float waves_count;
  int reserved[4];
};

enum LtComputeType : int { kLtCompute32F = 68, kLtCompute32FFastTf32 = 77 };
enum LtMatmulDescAttribute : int { kLtDescEpilogue = 7, kLtDescBiasPointer = 8 };
enum LtEpilogue : int { kLtEpilogueDefault = 1, kLtEpilogueBias = 4, kLtEpilogueReluBias = 6, kLtEpilogueGeluBias = 36 };
enum LtPreferenceAttribute : int {
  kLtPreferenceMaxWorkspaceBytes = 1,
  kLtPreferenceReductionSchemeMask = 3,
  kLtPreferenceMinAlignmentA = 5,
  kLtPreferenceMinAlignmentB = 6,
  kLtPreferenceMinAlignmentC = 7,
  kLtPreferenceMinAlignmentD = 8,
};
enum LtAlgoConfigAttribute : int {
  kLtConfigTile = 1,
  kLtConfigSplitK = 2,
  kLtConfigReductionScheme = 3,
  kLtConfigCustomOption = 5,
  kLtConfigClusterShape = 8,  // uint16_t; the others uint32_t
};
// The bit of kLtPreferenceReductionSchemeMask that we allow. Partial sums in the output's type (1 in place, 4) are left out: in
// float16 they cost accuracy.
enum LtReductionScheme : uint32_t { kLtReductionComputeType = 2 };

struct CublasLtApi {
  size_t (*GetVersion)();
  LtStatus (*Create)(LtHandle*);
  LtStatus (*Destroy)(LtHandle);
  LtStatus (*MatmulDescCreate)(LtMatmulDesc*, LtComputeType, cudaDataType_t scale_type);
  LtStatus (*MatmulDescDestroy)(LtMatmulDesc);
  LtStatus (*MatmulDescSetAttribute)(LtMatmulDesc, LtMatmulDescAttribute, const void*, size_t);
  LtStatus (*MatrixLayoutCreate)(LtMatrixLayout*, cudaDataType_t, uint64_t rows, uint64_t cols, int64_t ld);
  LtStatus (*MatrixLayoutDestroy)(LtMatrixLayout);
  LtStatus (*MatmulPreferenceCreate)(LtPreference*);
  LtStatus (*MatmulPreferenceDestroy)(LtPreference);
  LtStatus (*MatmulPreferenceSetAttribute)(LtPreference, LtPreferenceAttribute, const void*, size_t);
  LtStatus (*MatmulAlgoGetHeuristic)(LtHandle, LtMatmulDesc, LtMatrixLayout a, LtMatrixLayout b, LtMatrixLayout c,
                                     LtMatrixLayout d, LtPreference, int requested, LtHeuristicResult*, int* returned);
  LtStatus (*MatmulAlgoCheck)(LtHandle, LtMatmulDesc, LtMatrixLayout a, LtMatrixLayout b, LtMatrixLayout c, LtMatrixLayout d,
                              const LtAlgorithm*, LtHeuristicResult*);
  LtStatus (*MatmulAlgoConfigSetAttribute)(LtAlgorithm*, LtAlgoConfigAttribute, const void*, size_t);
  LtStatus (*Matmul)(LtHandle, LtMatmulDesc, const void* alpha, const void* a, LtMatrixLayout, const void* b, LtMatrixLayout,
                     const void* beta, const void* c, LtMatrixLayout, void* d, LtMatrixLayout, const LtAlgorithm*,
                     void* workspace, size_t workspace_bytes, cudaStream_t);
};

// Loads cuBLASLt on the first call; later calls return the first one's result. Looked for, in this order: the file named by the
// environment variable TF_FASTBERT_CUBLASLT, one that the process has loaded already, the loader's own search, the nvidia pip
// packages beside a library that the process has loaded, and /usr/local/cuda/lib64.
Status GetCublasLt(const CublasLtApi** api);

// "cublasLtMatmul of ...: CUBLAS_STATUS_NOT_SUPPORTED".
Status LtError(LtStatus status, const std::string& what);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_CUBLASLT_API_H_
