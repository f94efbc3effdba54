#include "cuda/gemm.h"

#include <algorithm>
#include <iterator>

#include "cuda/gemm_bucket.h"
#include "cuda/gemm_table.h"

namespace tf_fastbert {
namespace cuda {
namespace {

cudaDataType_t CudaType(int dtype) {
  return dtype == FASTBERT_FLOAT16 ? CUDA_R_16F : dtype == FASTBERT_BFLOAT16 ? CUDA_R_16BF : CUDA_R_32F;
}

// cuBLASLt's GELU is the tanh form. In float32 it is not used: how exactly it computes tanh is not documented.
LtEpilogue IntermediateEpilogue(const FastBertConfig& config) {
  if (config.activation == FASTBERT_RELU) return kLtEpilogueReluBias;
  if (config.activation == FASTBERT_GELU_TANH && config.dtype != FASTBERT_FLOAT32) return kLtEpilogueGeluBias;
  return kLtEpilogueDefault;
}

}  // namespace

GemmRows::~GemmRows() {
  for (LtMatrixLayout layout : input_) {
    if (layout != nullptr) api_->MatrixLayoutDestroy(layout);
  }
  for (LtMatrixLayout layout : output_) {
    if (layout != nullptr) api_->MatrixLayoutDestroy(layout);
  }
}

GemmLayer::~GemmLayer() {
  for (LtMatmulDesc desc : desc_) {
    if (desc != nullptr) api_->MatmulDescDestroy(desc);
  }
}

Gemms::~Gemms() {
  for (auto& site : algorithms_) {
    for (auto& algorithm : site) delete algorithm.load();
  }
  for (LtMatrixLayout layout : weight_) {
    if (layout != nullptr) api_->MatrixLayoutDestroy(layout);
  }
  if (preference_ != nullptr) api_->MatmulPreferenceDestroy(preference_);
  if (handle_ != nullptr) api_->Destroy(handle_);
}

Status Gemms::Create(const FastBertConfig& config, const Dimensions& d, int compute_capability, std::unique_ptr<Gemms>* gemms) {
  std::unique_ptr<Gemms> g(new Gemms);
  FASTBERT_RETURN_IF_ERROR(GetCublasLt(&g->api_));
  FASTBERT_RETURN_IF_ERROR(LtError(g->api_->Create(&g->handle_), "cublasLtCreate"));
  g->type_ = CudaType(config.dtype);
  g->compute_ =
      config.precision == FASTBERT_PRECISION_TF32 && config.dtype == FASTBERT_FLOAT32 ? kLtCompute32FFastTf32 : kLtCompute32F;
  g->compute_capability_ = compute_capability;
  g->workspace_bytes_ = (compute_capability >= 90 ? size_t{32} : size_t{8}) << 20;  // what cuBLAS itself takes by default

  const int n[kNumGemmSites] = {3 * d.heads, d.padded_hidden, d.padded_inner, d.padded_hidden};
  const int k[kNumGemmSites] = {d.padded_hidden, d.heads, d.padded_hidden, d.padded_inner};
  const LtEpilogue epilogue[kNumGemmSites] = {kLtEpilogueBias, kLtEpilogueDefault, IntermediateEpilogue(config),
                                              kLtEpilogueDefault};
  for (int i = 0; i < kNumGemmSites; ++i) {
    g->n_[i] = n[i];
    g->k_[i] = k[i];
    g->epilogue_[i] = epilogue[i];
    FASTBERT_RETURN_IF_ERROR(g->CreateLayout(n[i], k[i], &g->weight_[i]));
  }

  FASTBERT_RETURN_IF_ERROR(LtError(g->api_->MatmulPreferenceCreate(&g->preference_), "cublasLtMatmulPreferenceCreate"));
  auto prefer = [&](LtPreferenceAttribute attribute, auto value) {
    return LtError(g->api_->MatmulPreferenceSetAttribute(g->preference_, attribute, &value, sizeof(value)),
                   "cublasLtMatmulPreferenceSetAttribute");
  };
  FASTBERT_RETURN_IF_ERROR(prefer(kLtPreferenceMaxWorkspaceBytes, uint64_t{g->workspace_bytes_}));
  FASTBERT_RETURN_IF_ERROR(prefer(kLtPreferenceReductionSchemeMask, uint32_t{kLtReductionComputeType}));
  FASTBERT_RETURN_IF_ERROR(prefer(kLtPreferenceMinAlignmentA, uint32_t{16}));
  FASTBERT_RETURN_IF_ERROR(prefer(kLtPreferenceMinAlignmentB, uint32_t{16}));
  FASTBERT_RETURN_IF_ERROR(prefer(kLtPreferenceMinAlignmentC, uint32_t{16}));
  FASTBERT_RETURN_IF_ERROR(prefer(kLtPreferenceMinAlignmentD, uint32_t{16}));
  FASTBERT_RETURN_IF_ERROR(g->UseTable());
  *gemms = std::move(g);
  return Status::Ok();
}

// Takes what has been measured before for this GPU and cuBLASLt, as far as cuBLASLt still accepts it.
Status Gemms::UseTable() {
  int device = 0;
  cudaDeviceProp properties;
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaGetDevice(&device), "cudaGetDevice"));
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties"));
  gpu_ = properties.name;
  for (const GemmTableEntry& entry : FindGemmTable(gpu_, api_->GetVersion())) {
    for (int i = 0; i < kNumGemmSites; ++i) {
      if (entry.n != n_[i] || entry.k != k_[i] || entry.type != type_ || entry.compute != compute_ || entry.epilogue != epilogue_[i]) {
        continue;
      }
      const auto site = static_cast<GemmSite>(i);
      int bucket;
      int64_t last;
      FindBucket(entry.last_row, &bucket, &last);
      if (last != entry.last_row || bucket >= kNumBuckets) continue;
      GemmRows rows;
      GemmLayer any;  // the algorithm does not depend on the bias's address
      FASTBERT_RETURN_IF_ERROR(PrepareRows(last, &rows));
      any.api_ = api_;
      FASTBERT_RETURN_IF_ERROR(CreateDesc(site, reinterpret_cast<const void*>(uintptr_t{256}),
                                          &any.desc_[i]));
      LtHeuristicResult result = {};
      const LtStatus status = api_->MatmulAlgoCheck(handle_, any.desc_[i], weight_[i], rows.input_[i], rows.output_[i],
                                                    rows.output_[i], &entry.algorithm, &result);
      if (status != kLtSuccess || result.workspace_bytes > workspace_bytes_) continue;
      delete algorithms_[i][bucket].exchange(new LtAlgorithm(entry.algorithm));
      tuned_[i][bucket].store(true, std::memory_order_release);
    }
  }
  return Status::Ok();
}

Status Gemms::CreateLayout(int64_t rows, int64_t cols, LtMatrixLayout* layout) const {
  return LtError(api_->MatrixLayoutCreate(layout, type_, rows, cols, rows), "cublasLtMatrixLayoutCreate");
}

Status Gemms::CreateDesc(GemmSite site, const void* bias, LtMatmulDesc* desc) const {
  FASTBERT_RETURN_IF_ERROR(LtError(api_->MatmulDescCreate(desc, compute_, CUDA_R_32F), "cublasLtMatmulDescCreate"));
  if (epilogue_[site] == kLtEpilogueDefault) return Status::Ok();
  const int32_t epilogue = epilogue_[site];
  FASTBERT_RETURN_IF_ERROR(LtError(api_->MatmulDescSetAttribute(*desc, kLtDescEpilogue, &epilogue, sizeof(epilogue)),
                                   "cublasLtMatmulDescSetAttribute(EPILOGUE)"));
  return LtError(api_->MatmulDescSetAttribute(*desc, kLtDescBiasPointer, &bias, sizeof(bias)),
                 "cublasLtMatmulDescSetAttribute(BIAS_POINTER)");
}

bool Gemms::tuned(int64_t num_rows) const {
  int index;
  int64_t last;
  FindBucket(num_rows, &index, &last);
  return std::all_of(std::begin(tuned_), std::end(tuned_), [&](const auto& site) { return site[index].load(std::memory_order_acquire); });
}

Status Gemms::PrepareLayer(const void* qkv_bias, const void* intermediate_bias, GemmLayer* layer) const {
  layer->api_ = api_;
  FASTBERT_RETURN_IF_ERROR(CreateDesc(kGemmQkv, qkv_bias, &layer->desc_[kGemmQkv]));
  FASTBERT_RETURN_IF_ERROR(CreateDesc(kGemmAttentionOutput, nullptr, &layer->desc_[kGemmAttentionOutput]));
  FASTBERT_RETURN_IF_ERROR(CreateDesc(kGemmIntermediate, intermediate_bias, &layer->desc_[kGemmIntermediate]));
  return CreateDesc(kGemmOutput, nullptr, &layer->desc_[kGemmOutput]);
}

Status Gemms::PrepareRows(int64_t num_rows, GemmRows* rows) const {
  rows->api_ = api_;
  rows->num_rows_ = num_rows;
  for (int i = 0; i < kNumGemmSites; ++i) {
    FASTBERT_RETURN_IF_ERROR(CreateLayout(k_[i], num_rows, &rows->input_[i]));
    FASTBERT_RETURN_IF_ERROR(CreateLayout(n_[i], num_rows, &rows->output_[i]));
  }
  return Status::Ok();
}

Status Gemms::FindAlgorithms(GemmSite site, LtMatmulDesc desc, const GemmRows& rows, int wanted,
                             std::vector<LtAlgorithm>* algorithms) const {
  const auto what = [&] {
    return "cublasLtMatmulAlgoGetHeuristic for M=" + std::to_string(rows.num_rows_) + " N=" + std::to_string(n_[site]) +
           " K=" + std::to_string(k_[site]) + " type=" + std::to_string(type_) + " epilogue=" + std::to_string(epilogue_[site]);
  };
  std::vector<LtHeuristicResult> results(wanted);
  int found = 0;
  const LtStatus status = api_->MatmulAlgoGetHeuristic(handle_, desc, weight_[site], rows.input_[site], rows.output_[site],
                                                       rows.output_[site], preference_, wanted, results.data(), &found);
  if (status != kLtSuccess) return LtError(status, what());
  algorithms->clear();
  for (int i = 0; i < found; ++i) {
    if (results[i].state == kLtSuccess) algorithms->push_back(results[i].algorithm);
  }
  return algorithms->empty() ? Status::Internal(what() + ": cuBLASLt has no algorithm") : Status::Ok();
}

LtStatus Gemms::Multiply(GemmSite site, LtMatmulDesc desc, const GemmRows& rows, const void* input, const void* weight,
                         void* output, const LtAlgorithm& algorithm, void* workspace, cudaStream_t stream) const {
  const float alpha = 1.0f, beta = 0.0f;
  return api_->Matmul(handle_, desc, &alpha, weight, weight_[site], input, rows.input_[site], &beta, output, rows.output_[site],
                      output, rows.output_[site], &algorithm, workspace, workspace_bytes_, stream);
}

Status Gemms::LookUp(GemmSite site, LtMatmulDesc desc, int64_t num_rows, const LtAlgorithm** algorithm) const {
  int index;
  int64_t last;
  FindBucket(num_rows, &index, &last);
  std::atomic<const LtAlgorithm*>& slot = algorithms_[site][index];
  *algorithm = slot.load(std::memory_order_acquire);
  if (*algorithm != nullptr) return Status::Ok();

  GemmRows rows;
  FASTBERT_RETURN_IF_ERROR(PrepareRows(last, &rows));
  std::vector<LtAlgorithm> found;
  FASTBERT_RETURN_IF_ERROR(FindAlgorithms(site, desc, rows, 1, &found));
  std::unique_ptr<const LtAlgorithm> created(new LtAlgorithm(found[0]));
  const LtAlgorithm* expected = nullptr;
  if (slot.compare_exchange_strong(expected, created.get(), std::memory_order_acq_rel)) {
    *algorithm = created.release();
  } else {
    *algorithm = expected;  // another thread was faster
  }
  return Status::Ok();
}

Status Gemms::Run(GemmSite site, const GemmLayer& layer, const GemmRows& rows, const void* input, const void* weight,
                  void* output, void* workspace, cudaStream_t stream) const {
  const LtMatmulDesc desc = layer.desc_[site];
  const LtAlgorithm* algorithm;
  FASTBERT_RETURN_IF_ERROR(LookUp(site, desc, rows.num_rows_, &algorithm));
  LtStatus status = Multiply(site, desc, rows, input, weight, output, *algorithm, workspace, stream);
  if (status == kLtNotSupported || status == kLtInvalidValue) {
    // The bucket's algorithm doesn't fit this M exactly: take one that does.
    std::vector<LtAlgorithm> exact;
    FASTBERT_RETURN_IF_ERROR(FindAlgorithms(site, desc, rows, 1, &exact));
    status = Multiply(site, desc, rows, input, weight, output, exact[0], workspace, stream);
  }
  return status == kLtSuccess ? Status::Ok()
                              : LtError(status, "cublasLtMatmul with M=" + std::to_string(rows.num_rows_) +
                                                    " N=" + std::to_string(n_[site]) + " K=" + std::to_string(k_[site]));
}

}  // namespace cuda
}  // namespace tf_fastbert
