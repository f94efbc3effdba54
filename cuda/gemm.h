// The encoder's four matrix products a layer, through cuBLASLt.
//
// Row-major D[M, N] = A[M, K] W[K, N] is column-major D'[N, M] = W'[N, K] A'[K, M]: with the operands swapped nothing is
// transposed, weights stay in Google's layout, and cuBLASLt's bias, one value for each row of D', is one for each of our columns.
// All sizes are multiples of 8 and all pointers of 16 bytes (see dimensions.h), so every kernel of cuBLASLt can be chosen.
//
// An algorithm is asked for once per product and bucket of M, and kept; the token count is different in every call when padding
// is removed, so the exact M would be a useless key. Looking one up takes no lock.
#ifndef TF_FASTBERT_CUDA_GEMM_H_
#define TF_FASTBERT_CUDA_GEMM_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/cublaslt_api.h"
#include "cuda/dimensions.h"

namespace tf_fastbert {
namespace cuda {

enum GemmSite { kGemmQkv = 0, kGemmAttentionOutput, kGemmIntermediate, kGemmOutput, kNumGemmSites };

// Layouts of the activations of one call: [num_rows, K] and [num_rows, N] of each product.
class GemmRows {
 public:
  GemmRows() = default;
  ~GemmRows();
  GemmRows(const GemmRows&) = delete;
  GemmRows& operator=(const GemmRows&) = delete;

 private:
  friend class Gemms;
  const CublasLtApi* api_ = nullptr;
  int64_t num_rows_ = 0;
  LtMatrixLayout input_[kNumGemmSites] = {};
  LtMatrixLayout output_[kNumGemmSites] = {};
};

// What the products of one layer share with no other: the bias pointers, which cuBLASLt keeps in the operation's descriptor.
class GemmLayer {
 public:
  GemmLayer() = default;
  ~GemmLayer();
  GemmLayer(const GemmLayer&) = delete;
  GemmLayer& operator=(const GemmLayer&) = delete;

 private:
  friend class Gemms;
  const CublasLtApi* api_ = nullptr;
  LtMatmulDesc desc_[kNumGemmSites] = {};
};

class Gemms {
 public:
  static Status Create(const FastBertConfig& config, const Dimensions& dimensions, int compute_capability,
                       std::unique_ptr<Gemms>* gemms);
  ~Gemms();

  // True: the intermediate product adds its bias and applies the activation. False: that is left to the caller.
  bool fuses_activation() const { return epilogue_[kGemmIntermediate] != kLtEpilogueDefault; }
  // Grows when another algorithm takes a bucket's place; CUDA graphs captured before then still hold the old one.
  int64_t generation() const { return generation_.load(std::memory_order_acquire); }
  // Whether the algorithms of all four products have been timed for about so many rows, here or for a loaded table.
  bool tuned(int64_t num_rows) const;
  // Bytes of scratch memory that Run needs.
  size_t workspace_bytes() const { return workspace_bytes_; }

  Status PrepareLayer(const void* qkv_bias, const void* intermediate_bias, GemmLayer* layer) const;
  Status PrepareRows(int64_t num_rows, GemmRows* rows) const;

  // One call of Run for each layer, for Tune.
  struct Operands {
    const GemmLayer* layer;
    const void* weight;
  };
  // Times cuBLASLt's candidates for a product of num_rows rows, each over all layers' weights so that none of them stays in the
  // cache, and keeps the fastest for that bucket. Waits for the stream.
  Status Tune(GemmSite site, const std::vector<Operands>& operands, int64_t num_rows, const void* input, void* output,
              void* workspace, cudaStream_t stream) const;

  // Everything tuned so far, by Tune or from a loaded table: see gemm_table.h.
  std::string TunedTable() const;

  // output[M, N] = epilogue(input[M, K] weight[K, N]). Bias is added where the site has one (QKV, and fuses_activation()).
  Status Run(GemmSite site, const GemmLayer& layer, const GemmRows& rows, const void* input, const void* weight, void* output,
             void* workspace, cudaStream_t stream) const;

 private:
  static constexpr int kNumBuckets = 112;

  Gemms() = default;
  Status UseTable();
  Status CreateDesc(GemmSite site, const void* bias, LtMatmulDesc* desc) const;
  Status CreateLayout(int64_t rows, int64_t cols, LtMatrixLayout* layout) const;
  // At most `wanted` algorithms, the one cuBLASLt thinks best first; at least one.
  Status FindAlgorithms(GemmSite site, LtMatmulDesc desc, const GemmRows& rows, int wanted,
                        std::vector<LtAlgorithm>* algorithms) const;
  // What Tune times.
  Status FindCandidates(GemmSite site, LtMatmulDesc desc, const GemmRows& rows, std::vector<LtAlgorithm>* candidates) const;
  LtStatus Multiply(GemmSite site, LtMatmulDesc desc, const GemmRows& rows, const void* input, const void* weight, void* output,
                    const LtAlgorithm& algorithm, void* workspace, cudaStream_t stream) const;
  Status LookUp(GemmSite site, LtMatmulDesc desc, int64_t num_rows, const LtAlgorithm** algorithm) const;

  const CublasLtApi* api_ = nullptr;
  std::string gpu_;
  int compute_capability_ = 0;  // 90: 9.0
  LtHandle handle_ = nullptr;
  LtPreference preference_ = nullptr;
  cudaDataType_t type_ = CUDA_R_32F;
  LtComputeType compute_ = kLtCompute32F;
  size_t workspace_bytes_ = 0;
  int n_[kNumGemmSites] = {};
  int k_[kNumGemmSites] = {};
  LtEpilogue epilogue_[kNumGemmSites] = {};
  LtMatrixLayout weight_[kNumGemmSites] = {};
  // Whatever Tune has replaced: another thread may still be reading it.
  mutable std::atomic<bool> tuned_[kNumGemmSites][kNumBuckets] = {};
  mutable std::atomic<int64_t> generation_{0};
  mutable std::mutex replaced_mutex_;
  mutable std::vector<std::unique_ptr<const LtAlgorithm>> replaced_;
  mutable std::atomic<const LtAlgorithm*> algorithms_[kNumGemmSites][kNumBuckets] = {};
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_GEMM_H_
