// Which of cuBLASLt's algorithms were the fastest, as text that outlives the process.
//
// The text is read once for the whole process (LoadGemmTable) and used by every encoder that is created afterwards, on a GPU and
// with a cuBLASLt of exactly the name and version it was measured with. cuBLASLt's documentation allows an algorithm's 64 bytes
// to be kept and used again by the same version.
//
//   tf_fastbert gemm table 1
//   gpu NVIDIA H100 80GB HBM3
//   cublaslt 130100
//   gemm N K TYPE COMPUTE EPILOGUE ROWS A0 A1 A2 A3 A4 A5 A6 A7     (A: 64-bit words, hexadecimal; ROWS: the bucket's last)
//   ...
//   end COUNT SUM           (number of gemm lines; 64-bit FNV-1a of everything before this line, hexadecimal)
//
// Several tables may follow one another.
#ifndef TF_FASTBERT_CUDA_GEMM_TABLE_H_
#define TF_FASTBERT_CUDA_GEMM_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/cublaslt_api.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// What a product is, and the largest row count of the bucket that the algorithm is for.
struct GemmTableEntry {
  int64_t n = 0, k = 0;
  int type = 0, compute = 0, epilogue = 0;
  int64_t last_row = 0;
  LtAlgorithm algorithm = {};
};

// Parses `text` and keeps it for the process; entries of a later call win. Fails with the number of the line that is wrong, and then
// keeps nothing of it.
Status LoadGemmTable(const std::string& text);

// What has been loaded for this GPU and this version of cuBLASLt, in the order of loading.
std::vector<GemmTableEntry> FindGemmTable(const std::string& gpu, uint64_t cublaslt_version);

std::string FormatGemmTable(const std::string& gpu, uint64_t cublaslt_version, const std::vector<GemmTableEntry>& entries);

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_GEMM_TABLE_H_
