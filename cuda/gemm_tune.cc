// Choosing among cuBLASLt's algorithms by the clock, and telling others what was chosen.
#include <memory>
#include <string>
#include <vector>

#include "cuda/captured_graph.h"
#include "cuda/gemm.h"
#include "cuda/gemm_bucket.h"
#include "cuda/gemm_table.h"

namespace tf_fastbert {
namespace cuda {
namespace {

// How many of cuBLASLt's proposals are timed, and how often.
constexpr int kCandidates = 32;
constexpr int kTimedPasses = 5;

class Timer {
 public:
  ~Timer() {
    if (begin_ != nullptr) cudaEventDestroy(begin_);
    if (end_ != nullptr) cudaEventDestroy(end_);
  }
  Status Init() {
    FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&begin_), "cudaEventCreate"));
    return CudaStatus(cudaEventCreate(&end_), "cudaEventCreate");
  }
  Status Start(cudaStream_t stream) { return CudaStatus(cudaEventRecord(begin_, stream), "cudaEventRecord"); }
  // Waits for the stream.
  Status Stop(cudaStream_t stream, float* ms) {
    FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(end_, stream), "cudaEventRecord"));
    FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaEventSynchronize(end_), "cudaEventSynchronize"));
    return CudaStatus(cudaEventElapsedTime(ms, begin_, end_), "cudaEventElapsedTime");
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace

Status Gemms::Tune(GemmSite site, const std::vector<Operands>& operands, int64_t num_rows, const void* input, void* output,
                   void* workspace, cudaStream_t stream) const {
  GemmRows rows;
  FASTBERT_RETURN_IF_ERROR(PrepareRows(num_rows, &rows));
  std::vector<LtAlgorithm> candidates;
  FASTBERT_RETURN_IF_ERROR(FindAlgorithms(site, operands[0].layer->desc_[site], rows, kCandidates, &candidates));
  const LtAlgorithm* best = nullptr;
  float best_ms = 0.0f;
  Timer timer;
  FASTBERT_RETURN_IF_ERROR(timer.Init());
  for (const LtAlgorithm& candidate : candidates) {
    const auto all_layers = [&](cudaStream_t s) {
      for (const Operands& o : operands) {
        const LtStatus status = Multiply(site, o.layer->desc_[site], rows, input, o.weight, output, candidate, workspace, s);
        if (status != kLtSuccess) return LtError(status, "cublasLtMatmul");
      }
      return Status::Ok();
    };
    // A candidate that fails is passed over. The first run loads its kernels; what is timed is a graph, since a small product takes
    // less time than its launch.
    std::unique_ptr<CapturedGraph> graph;
    if (!all_layers(stream).ok() || !CapturedGraph::Capture(all_layers, &graph).ok()) continue;
    float ms = 0.0f;
    for (int pass = 0; pass <= kTimedPasses; ++pass) {
      FASTBERT_RETURN_IF_ERROR(timer.Start(stream));
      FASTBERT_RETURN_IF_ERROR(graph->Launch(stream));
      float pass_ms = 0.0f;
      FASTBERT_RETURN_IF_ERROR(timer.Stop(stream, &pass_ms));
      if (pass == 1 || (pass > 1 && pass_ms < ms)) ms = pass_ms;
    }
    if (best != nullptr && ms >= best_ms) continue;
    best = &candidate;
    best_ms = ms;
  }
  if (best == nullptr) return Status::Internal("none of cuBLASLt's candidates ran for M=" + std::to_string(num_rows));

  int index;
  int64_t last;
  FindBucket(num_rows, &index, &last);
  std::lock_guard<std::mutex> lock(replaced_mutex_);
  replaced_.emplace_back(algorithms_[site][index].exchange(new LtAlgorithm(*best), std::memory_order_acq_rel));
  tuned_[site][index].store(true, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_acq_rel);
  return Status::Ok();
}

std::string Gemms::TunedTable() const {
  std::vector<GemmTableEntry> entries;
  std::lock_guard<std::mutex> lock(replaced_mutex_);  // keeps Tune from replacing what is being read
  for (int site = 0; site < kNumGemmSites; ++site) {
    for (int index = 0; index < kNumBuckets; ++index) {
      if (!tuned_[site][index].load(std::memory_order_acquire)) continue;
      GemmTableEntry entry;
      entry.n = n_[site];
      entry.k = k_[site];
      entry.type = type_;
      entry.compute = compute_;
      entry.epilogue = epilogue_[site];
      entry.last_row = LastRowOfBucket(index);
      entry.algorithm = *algorithms_[site][index].load(std::memory_order_acquire);
      entries.push_back(entry);
    }
  }
  return FormatGemmTable(gpu_, api_->GetVersion(), entries);
}

}  // namespace cuda
}  // namespace tf_fastbert
