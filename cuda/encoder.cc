#include "cuda/encoder.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "cuda/activation.h"
#include "cuda/fused_gemm_large.h"
#include "cuda/fused_gemm_small.h"
#include "cuda/fused_layers.h"
#include "cuda/layer_norm.h"
#include "cuda/quantized_gemm.h"
#include "cuda/quantized_rows.h"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int64_t kMaxRows = int64_t{1} << 27;  // batch * seq_len; row numbers are 32-bit, and no GPU's memory holds more

// Up to this many rows the host would need longer to queue a pass's launches than the GPU to run them: they go as a CUDA graph.
constexpr int64_t kMaxGraphRows = 4096;

// A graph's sizes are fixed, so token counts are rounded up; the rows in between are computed for nothing (3 % on average at 1,024).
int64_t BucketOfTokens(int64_t num_tokens) {
  if (num_tokens > kMaxGraphRows) return num_tokens;
  const int64_t step = num_tokens <= 1024 ? 64 : 128;
  return (num_tokens + step - 1) / step * step;
}

std::string Named(const char* name, int64_t value) { return std::string(name) + " = " + std::to_string(value); }

Status CheckConfig(const FastBertConfig& c) {
  const auto at_least_1 = [](const char* name, int32_t value) {
    return value >= 1 ? Status::Ok() : Status::InvalidArgument(Named(name, value) + " must be at least 1");
  };
  FASTBERT_RETURN_IF_ERROR(at_least_1("num_layers", c.num_layers));
  FASTBERT_RETURN_IF_ERROR(at_least_1("num_heads", c.num_heads));
  FASTBERT_RETURN_IF_ERROR(at_least_1("size_per_head", c.size_per_head));
  FASTBERT_RETURN_IF_ERROR(at_least_1("inner_size", c.inner_size));
  if (c.size_per_head % 2 != 0) return Status::InvalidArgument(Named("size_per_head", c.size_per_head) + " must be even");
  if (c.size_per_head > kMaxHeadSize) {
    return Status::Unimplemented(Named("size_per_head", c.size_per_head) + " is above the largest supported, " +
                                 std::to_string(kMaxHeadSize));
  }
  const int64_t hidden = int64_t{c.num_heads} * c.size_per_head;
  if (hidden > kMaxHiddenSize) {
    return Status::Unimplemented(Named("hidden size num_heads * size_per_head", hidden) + " is above the largest supported, " +
                                 std::to_string(kMaxHiddenSize));
  }
  if (c.inner_size > (1 << 20)) {
    return Status::Unimplemented(Named("inner_size", c.inner_size) + " is above the largest supported, " +
                                 std::to_string(1 << 20));
  }
  if (!(c.epsilon >= 0.0f) || std::isinf(c.epsilon)) {
    return Status::InvalidArgument("epsilon = " + std::to_string(c.epsilon) + " must be a number of at least 0");
  }
  const auto known = [](const char* name, int32_t value, int32_t last) {
    return value >= 0 && value <= last ? Status::Ok()
                                       : Status::InvalidArgument(Named(name, value) + " is not one of the enum's values");
  };
  FASTBERT_RETURN_IF_ERROR(known("activation", c.activation, FASTBERT_RELU));
  FASTBERT_RETURN_IF_ERROR(known("layer_norm", c.layer_norm, FASTBERT_PRE_LAYER_NORM));
  FASTBERT_RETURN_IF_ERROR(known("dtype", c.dtype, FASTBERT_BFLOAT16));
  FASTBERT_RETURN_IF_ERROR(known("precision", c.precision, FASTBERT_PRECISION_TF32));
  FASTBERT_RETURN_IF_ERROR(known("quantization", c.quantization, FASTBERT_FP8));
  if (c.min_quantized_rows < 0) {
    return Status::InvalidArgument(Named("min_quantized_rows", c.min_quantized_rows) + " is negative");
  }
  return Status::Ok();
}

// From how many rows on quantized passes are faster: below, the time goes into launches and into reading the weights. Measured on
// an H100 for hidden sizes 384, 768 and 1024; an int8 residual stream costs conversions, which more rows must make up for.
int MinQuantizedRows(const FastBertConfig& config, const Dimensions& d) {
  const int elements = HasInt8Stream(config) ? 1024 * 768 : 512 * 768;
  return std::max(512, elements / d.hidden);
}

bool FitsQuantizedKernels(const FastBertConfig& config, const Dimensions& d) {
  return config.dtype != FASTBERT_FLOAT32 && d.head == d.padded_head && d.hidden % 32 == 0 && d.inner % 32 == 0 &&
         d.hidden <= kMaxQuantizedHiddenSize;
}

Status CheckPointer(const char* name, const void* pointer, uintptr_t alignment) {
  if (pointer == nullptr) return Status::InvalidArgument(std::string(name) + " is null");
  if (reinterpret_cast<uintptr_t>(pointer) % alignment == 0) return Status::Ok();
  return Status::InvalidArgument(std::string(name) + " is not " + std::to_string(alignment) + "-byte aligned");
}

// Makes the encoder's device current for as long as it lives.
class ScopedDevice {
 public:
  explicit ScopedDevice(int device) {
    status_ = CudaStatus(cudaGetDevice(&previous_), "cudaGetDevice");
    if (!status_.ok() || previous_ == device) return;
    status_ = CudaStatus(cudaSetDevice(device), "cudaSetDevice");
    restore_ = status_.ok();
  }
  ~ScopedDevice() {
    if (restore_) cudaSetDevice(previous_);
  }
  const Status& status() const { return status_; }

 private:
  int previous_ = 0;
  bool restore_ = false;
  Status status_;
};

}  // namespace

// All inside the caller's workspace, at the same offsets for all token counts of a bucket, since graphs hold their addresses.
// Rows: num_tokens, or batch * seq_len when padding is not removed.
struct Encoder::Buffers {
  int32_t* padded_row;
  int32_t* token;
  AttentionTile* tiles;
  void* x;           // [rows, padded_hidden]: the residual stream
  void* normalized;  // [rows, padded_hidden], pre-LN only: input of the sublayer
  void* projection;  // [rows, padded_hidden]: output of the sublayer's last product
  void* qkv;         // [rows, 3 * heads]
  void* context;     // [rows, heads]
  void* inner;       // [rows, padded_inner], in the place of qkv and context, which are not needed any more
  void* gemm;        // cuBLASLt's scratch memory

  // Quantized passes only, 8-bit:
  void* x8;        // [rows, hidden]: input of the sublayer; with HasInt8Stream the residual stream too, in place of x
  void* context8;  // [rows, hidden]
};

// The 8-bit inputs of the products: b.x8, b.context8, and b.inner in 8 bits.
struct Encoder::QuantizedInputs {
  QuantizedInput input[kNumGemmSites];
};

// One forward pass.
struct Encoder::Pass {
  const Weights& weights;
  const FastBertCall& call;
  const Buffers& buffers;
  const SequenceLayout& layout;
  const GemmRows& gemm_rows;
  int64_t rows;
  const void* input;  // [rows, padded_hidden]
  cudaStream_t stream;
  StepTimer* timer;  // null: nobody asked
  const QuantizedInputs* quantized;  // null: not a quantized pass
  bool fused;

  void Begin(FastBertStepKind step, int layer) const {
    if (timer != nullptr) timer->Begin(step, layer);
  }

  bool same_rows(const Dimensions& d) const { return layout.dense && d.hidden == d.padded_hidden; }
};

Weights::~Weights() {
  if (packed_ != nullptr) cudaEventDestroy(packed_);
}

Status Encoder::Create(const FastBertConfig& config, std::unique_ptr<Encoder>* encoder) {
  FASTBERT_RETURN_IF_ERROR(CheckConfig(config));
  int device = 0, major = 0, minor = 0;
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaGetDevice(&device), "cudaGetDevice"));
  FASTBERT_RETURN_IF_ERROR(
      CudaStatus(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute"));
  FASTBERT_RETURN_IF_ERROR(
      CudaStatus(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "cudaDeviceGetAttribute"));
  const int capability = major * 10 + minor;
  if (config.dtype == FASTBERT_BFLOAT16 && capability < 80) {
    return Status::Unimplemented("bfloat16 needs a GPU of compute capability 8.0; this one has " + std::to_string(major) + "." +
                                 std::to_string(minor));
  }
  std::unique_ptr<Encoder> e(new Encoder(config, device));
  FASTBERT_RETURN_IF_ERROR(Gemms::Create(config, e->dimensions_, capability, &e->gemms_));
  if (config.quantization != FASTBERT_NO_QUANTIZATION) {
    e->can_quantize_ = FitsQuantizedKernels(config, e->dimensions_) && HasQuantizedGemm(capability);
    e->min_quantized_rows_ = config.min_quantized_rows > 0 ? config.min_quantized_rows : MinQuantizedRows(config, e->dimensions_);
  }
  e->can_fuse_ = FitsFusedLayers(config, e->dimensions_) && HasFusedGemm(capability) && HasSmallGemm(capability);
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaDeviceGetAttribute(&e->num_processors_, cudaDevAttrMultiProcessorCount, device),
                                      "cudaDeviceGetAttribute"));
  e->attention_ = PlanAttention(config.dtype, config.precision, e->dimensions_.padded_head, capability);
  FASTBERT_RETURN_IF_ERROR(Persistent::Create(config, e->dimensions_, device, &e->persistent_));
  *encoder = std::move(e);
  return Status::Ok();
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
  if (can_fuse_) FASTBERT_RETURN_IF_ERROR(PackFusedWeights(config_, dimensions_, layers, next, stream, &w->fused_));
  std::vector<FastBertLayerWeights> dequantized;
  if (HasInt8Kernels(config_)) {
    FASTBERT_RETURN_IF_ERROR(DequantizeWeights(config_, layers, ranges, next, stream, &dequantized));
    layers = dequantized.data();
  }
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

size_t Encoder::PlanBuffers(int64_t batch, int64_t seq_len, int64_t num_tokens, int64_t rows, char* workspace,
                            Buffers* buffers) const {
  size_t used = 0;
  const auto take = [&](int64_t bytes) {
    char* p = workspace + used;
    used += (bytes + 255) / 256 * 256;
    return p;
  };
  const Dimensions& d = dimensions_;
  num_tokens = BucketOfTokens(num_tokens);
  rows = BucketOfTokens(rows);
  const int64_t row = rows * SizeOf(config_.dtype);
  buffers->padded_row = reinterpret_cast<int32_t*>(take(num_tokens * sizeof(int32_t)));
  buffers->token = reinterpret_cast<int32_t*>(take(batch * seq_len * sizeof(int32_t)));
  buffers->tiles = reinterpret_cast<AttentionTile*>(
      take(MaxAttentionTiles(static_cast<int>(batch), num_tokens, attention_.tile_size) * sizeof(AttentionTile)));
  buffers->x = take(row * d.padded_hidden);
  buffers->normalized = config_.layer_norm == FASTBERT_PRE_LAYER_NORM ? take(row * d.padded_hidden) : nullptr;
  buffers->projection = take(row * d.padded_hidden);
  const size_t shared_from = used;
  buffers->qkv = take(row * 3 * d.heads);
  buffers->context = take(row * d.heads);
  const size_t after_attention = used;
  used = shared_from;
  buffers->inner = take(row * d.padded_inner);
  used = std::max(used, after_attention);
  buffers->gemm = take(gemms_->workspace_bytes());
  buffers->x8 = RunsQuantized(rows) ? take(rows * d.hidden) : nullptr;
  buffers->context8 = RunsQuantized(rows) ? take(rows * d.hidden) : nullptr;
  return used;
}

bool Encoder::RunsQuantized(int64_t num_rows) const { return can_quantize_ && BucketOfTokens(num_rows) >= min_quantized_rows_; }

size_t Encoder::WorkspaceBytes(int batch, int seq_len, int num_tokens, bool remove_padding) const {
  if (batch <= 0 || seq_len <= 0 || num_tokens <= 0) return 0;
  const int64_t padded_rows = static_cast<int64_t>(batch) * seq_len;
  Buffers buffers;
  return PlanBuffers(batch, seq_len, num_tokens, remove_padding ? num_tokens : padded_rows, nullptr, &buffers);
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

Status Encoder::Tune(const Weights& weights, int num_tokens, void* workspace, size_t workspace_bytes, cudaStream_t stream) const {
  if (weights.owner_ != this) return Status::InvalidArgument("the weights were packed by another encoder");
  if (num_tokens < 1 || num_tokens > kMaxRows) {
    return Status::InvalidArgument(Named("num_tokens", num_tokens) + " is outside 1.." + std::to_string(kMaxRows));
  }
  FASTBERT_RETURN_IF_ERROR(CheckPointer("workspace", workspace, 256));
  Buffers b;
  const size_t needed = PlanBuffers(1, num_tokens, num_tokens, num_tokens, static_cast<char*>(workspace), &b);
  if (workspace_bytes < needed) {
    return Status::InvalidArgument("the workspace has " + std::to_string(workspace_bytes) + " bytes; " + std::to_string(needed) +
                                   " are needed for " + Named("num_tokens", num_tokens));
  }
  ScopedDevice device(device_);
  FASTBERT_RETURN_IF_ERROR(device.status());
  FASTBERT_RETURN_IF_ERROR(WaitForWeights(weights, stream));
  // Ordinary numbers (0x2D2D is 0.08 in float16, 1e-11 in the others): on NaN or zeros the clock could be another one.
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaMemsetAsync(workspace, 0x2D, needed, stream), "cudaMemsetAsync of the workspace"));

  const struct {
    GemmSite site;
    const void* PackedLayer::* weight;
    const void* input;
    void* output;
  } products[] = {{kGemmQkv, &PackedLayer::qkv_kernel, b.x, b.qkv},
                  {kGemmAttentionOutput, &PackedLayer::attention_output_kernel, b.context, b.projection},
                  {kGemmIntermediate, &PackedLayer::intermediate_kernel, b.x, b.inner},
                  {kGemmOutput, &PackedLayer::output_kernel, b.inner, b.projection}};
  for (const auto& product : products) {
    std::vector<Gemms::Operands> operands;
    for (int i = 0; i < config_.num_layers; ++i) operands.push_back({&weights.gemms_[i], weights.layers_[i].*product.weight});
    FASTBERT_RETURN_IF_ERROR(gemms_->Tune(product.site, operands, num_tokens, product.input, product.output, b.gemm, stream));
  }
  return Status::Ok();
}

Status Encoder::Forward(const Weights& weights, const FastBertCall& call, void* workspace, size_t workspace_bytes,
                        cudaStream_t stream, StepTimer* timer) const {
  if (weights.owner_ != this) return Status::InvalidArgument("the weights were packed by another encoder");
  if (call.batch < 0) return Status::InvalidArgument(Named("batch", call.batch) + " is negative");
  if (call.seq_len < 0) return Status::InvalidArgument(Named("seq_len", call.seq_len) + " is negative");
  const int64_t padded_rows = static_cast<int64_t>(call.batch) * call.seq_len;
  if (padded_rows == 0) return Status::Ok();
  if (padded_rows > kMaxRows) {
    return Status::Unimplemented(Named("batch * seq_len", padded_rows) + " is above the largest supported, " +
                                 std::to_string(kMaxRows));
  }
  FASTBERT_RETURN_IF_ERROR(CheckPointer("input", call.input, 16));
  FASTBERT_RETURN_IF_ERROR(CheckPointer("output", call.output, 16));
  ScopedDevice device(device_);
  FASTBERT_RETURN_IF_ERROR(device.status());
  HostLengths lengths;
  FASTBERT_RETURN_IF_ERROR(lengths.Init(call.batch, call.seq_len, call.sequence_length, call.mask));
  const int num_tokens = lengths.num_tokens();
  if (num_tokens == 0) {
    const size_t bytes = padded_rows * dimensions_.hidden * SizeOf(config_.dtype) * (config_.all_layers ? config_.num_layers : 1);
    return CudaStatus(cudaMemsetAsync(call.output, 0, bytes, stream), "cudaMemsetAsync of the output");
  }

  const int64_t rows = call.remove_padding ? num_tokens : padded_rows;
  Buffers buffers;
  FASTBERT_RETURN_IF_ERROR(CheckPointer("workspace", workspace, 256));
  const size_t needed = PlanBuffers(call.batch, call.seq_len, num_tokens, rows, static_cast<char*>(workspace), &buffers);
  if (workspace_bytes < needed) {
    return Status::InvalidArgument("the workspace has " + std::to_string(workspace_bytes) + " bytes; " + std::to_string(needed) +
                                   " are needed for " + Named("batch", call.batch) + ", " + Named("seq_len", call.seq_len) +
                                   ", " + Named("num_tokens", num_tokens));
  }
  FASTBERT_RETURN_IF_ERROR(WaitForWeights(weights, stream));

  SequenceLayout layout;
  layout.batch = call.batch;
  layout.seq_len = call.seq_len;
  layout.num_tokens = num_tokens;
  layout.dense = num_tokens == padded_rows;
  if (!layout.dense) {
    layout.padded_row = buffers.padded_row;
    layout.token = buffers.token;
  }
  const bool fused = UsesFusedKernels(rows);
  if (timer == nullptr && !fused && UsesPersistentKernel(call.batch, num_tokens)) {
    PersistentArgs args = {};
    args.input = call.input;
    args.output = call.output;
    args.x = buffers.x;
    args.sum = buffers.projection;
    args.qkv = buffers.qkv;
    args.context = buffers.context;
    args.inner = buffers.inner;
    args.scale = 1.4426950408889634f / std::sqrt(static_cast<float>(dimensions_.head));  // log2(e)
    return persistent_.Run(lengths, call.mask, &layout, buffers.gemm, &args, weights.layers_, stream);
  }
  layout.tiles = buffers.tiles;
  const bool as_graph = rows <= kMaxGraphRows;
  if (as_graph) {
    layout.tile_slots = static_cast<int>(MaxAttentionTiles(call.batch, BucketOfTokens(num_tokens), attention_.tile_size));
  }
  if (timer != nullptr) {
    timer->Begin(FASTBERT_STEP_NOTHING, -1);
    timer->Begin(FASTBERT_STEP_LAYOUT, -1);
  }
  FASTBERT_RETURN_IF_ERROR(FillSequenceLayout(lengths, call.mask, attention_.tile_size, &layout, stream));

  // The rows of a dense or padded batch are the user's own, to whom nothing may be added. Others are rounded up for the first
  // call of a size already, which is launched directly, so that it gives the same bits as the graph of the later ones.
  const int64_t loop_rows = as_graph && call.remove_padding && !layout.dense ? BucketOfTokens(rows) : rows;
  GemmRows gemm_rows;
  if (!fused) FASTBERT_RETURN_IF_ERROR(gemms_->PrepareRows(loop_rows, &gemm_rows));
  QuantizedInputs quantized;
  if (RunsQuantized(rows)) {
    const struct {
      const void* values;
      int k;
    } inputs[kNumGemmSites] = {{buffers.x8, dimensions_.hidden},
                               {buffers.context8, dimensions_.hidden},
                               {buffers.x8, dimensions_.hidden},
                               {buffers.inner, dimensions_.inner}};
    for (int i = 0; i < kNumGemmSites; ++i) {
      FASTBERT_RETURN_IF_ERROR(MakeQuantizedInput(inputs[i].values, loop_rows, inputs[i].k, &quantized.input[i]));
    }
  }
  Pass pass{weights, call,  buffers, layout, gemm_rows, loop_rows, call.input, stream, timer,
            RunsQuantized(rows) ? &quantized : nullptr, fused};
  // With no padding and no padded columns the user's rows are packed rows: nothing to gather or scatter.
  if (!pass.same_rows(dimensions_)) {
    FASTBERT_RETURN_IF_ERROR(PackRows(pass));
    pass.input = buffers.x;
  }
  // Weights that are still being packed: waiting for them is not a part of the graph. Neither is a timer.
  if (timer != nullptr || !as_graph || !weights.ready_.load(std::memory_order_acquire)) return RunLayers(pass);
  const auto address = [](const void* p) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p)); };
  const GraphCache::Key key = {address(workspace), address(pass.input), address(call.output), call.batch, call.seq_len,
                               BucketOfTokens(num_tokens), (loop_rows << 2) | fused << 1 | layout.dense, gemms_->generation()};
  return weights.graphs_.Run(
      key,
      [&](cudaStream_t s) {
        Pass on_stream = pass;
        on_stream.stream = s;
        return RunLayers(on_stream);
      },
      stream);
}

// The first kernel that reads the user's input: packed rows, without padding.
Status Encoder::PackRows(const Pass& pass) const {
  PackRowsArgs pack;
  pack.input = pass.call.input;
  pack.padded_row = pass.layout.padded_row;
  pack.packed = pass.buffers.x;
  // Attention writes no rows beyond the tokens; the products then read zeros there.
  pack.also_zero = pass.quantized != nullptr ? pass.buffers.context8 : pass.buffers.context;
  pack.also_zero_columns = pass.quantized != nullptr ? dimensions_.heads / 2 : dimensions_.heads;
  pack.num_tokens = pass.layout.num_tokens;
  pack.rows = pass.rows;
  pack.hidden = dimensions_.hidden;
  pack.padded_hidden = dimensions_.padded_hidden;
  pack.dependent = pass.fused;
  pass.Begin(FASTBERT_STEP_PACK, -1);
  return LaunchPackRows(pack, config_.dtype, pass.stream);
}

bool Encoder::UsesPersistentKernel(int batch, int num_tokens) const {
  const int kernels = kernels_.load(std::memory_order_relaxed);
  if (kernels == FASTBERT_KERNELS_LAYERS || !persistent_.Supports(batch, num_tokens)) return false;
  if (Persistent::ScratchBytes(batch, num_tokens) > gemms_->workspace_bytes()) return false;  // takes its place
  return kernels == FASTBERT_KERNELS_PERSISTENT || persistent_.Pays(num_tokens);
}

bool Encoder::UsesFusedKernels(int64_t rows) const {
  const int kernels = kernels_.load(std::memory_order_relaxed);
  return can_fuse_ && (kernels == FASTBERT_KERNELS_FUSED || (kernels == FASTBERT_KERNELS_FASTEST && FusedLayersPay(rows)));
}

Status Encoder::RunFused(const Pass& pass) const {
  const Buffers& b = pass.buffers;
  static_assert(2 * sizeof(RowStatistics) <= kStatisticsColumns * 2, "b.projection, of 16-bit values, has room for the statistics");
  FASTBERT_RETURN_IF_ERROR(RunFusedLayers({config_, dimensions_, attention_, pass.weights.fused_, pass.layout, num_processors_,
                                           pass.rows, pass.input, b.x, b.projection, b.qkv, b.context, b.inner, pass.stream,
                                           pass.timer}));
  const PackedLayer& last = pass.weights.layers_.back();
  LayerNormArgs norm;
  norm.residual = b.x;
  norm.gamma = last.output_layer_norm_gamma;
  norm.beta = last.output_layer_norm_beta;
  norm.rows = pass.rows;
  norm.hidden = dimensions_.hidden;
  norm.padded_hidden = dimensions_.padded_hidden;
  norm.epsilon = config_.epsilon;
  norm.dependent = true;
  if (pass.same_rows(dimensions_)) {
    norm.normalized = pass.call.output;
  } else {
    norm.output = pass.call.output;
    norm.token = pass.layout.token;
    norm.output_rows = static_cast<int64_t>(pass.layout.batch) * pass.layout.seq_len;
  }
  pass.Begin(FASTBERT_STEP_LAYER_NORM, config_.num_layers - 1);
  return LaunchLayerNorm(norm, config_.dtype, pass.stream);
}

Status Encoder::RunLayers(const Pass& pass) const {
  if (pass.fused) return RunFused(pass);
  const Buffers& b = pass.buffers;
  const bool pre = config_.layer_norm == FASTBERT_PRE_LAYER_NORM;
  const bool same_rows = pass.same_rows(dimensions_);
  const bool stream8 = pass.quantized != nullptr && HasInt8Stream(config_);
  const void* x = pass.input;  // the residual stream
  if (pass.quantized != nullptr && !pre) {
    pass.Begin(FASTBERT_STEP_PACK, -1);
    FASTBERT_RETURN_IF_ERROR(Quantize(pass, x, b.x8, pass.weights.quantized_[0].attention_input_scale));
    if (stream8) x = b.x8;
  }

  LayerNormArgs norm;
  norm.rows = pass.rows;
  norm.hidden = dimensions_.hidden;
  norm.padded_hidden = dimensions_.padded_hidden;
  norm.epsilon = config_.epsilon;
  if (pre) {
    LayerNormArgs first = norm;
    first.residual = x;
    first.gamma = pass.weights.layers_[0].attention_layer_norm_gamma;
    first.beta = pass.weights.layers_[0].attention_layer_norm_beta;
    first.normalized = b.normalized;
    pass.Begin(FASTBERT_STEP_LAYER_NORM, 0);
    FASTBERT_RETURN_IF_ERROR(Normalize(pass, first, 0, kLayerStart));
  }

  const size_t output_bytes =
      static_cast<size_t>(pass.layout.batch) * pass.layout.seq_len * dimensions_.hidden * SizeOf(config_.dtype);
  for (int i = 0; i < config_.num_layers; ++i) {
    const PackedLayer& layer = pass.weights.layers_[i];
    const bool last = i + 1 == config_.num_layers;

    // Post: x = LN(x + attention(x)). Pre: x = x + attention(normalized), normalized = LN(x) for the feed-forward part.
    FASTBERT_RETURN_IF_ERROR(Attend(pass, i, pre ? b.normalized : x, b.projection));
    LayerNormArgs middle = norm;
    middle.projection = b.projection;
    middle.bias = layer.attention_output_bias;
    middle.residual = x;
    middle.gamma = pre ? layer.output_layer_norm_gamma : layer.attention_layer_norm_gamma;
    middle.beta = pre ? layer.output_layer_norm_beta : layer.attention_layer_norm_beta;
    middle.sum = pre ? b.x : nullptr;
    middle.normalized = pre ? b.normalized : b.x;
    pass.Begin(FASTBERT_STEP_LAYER_NORM, i);
    FASTBERT_RETURN_IF_ERROR(Normalize(pass, middle, i, kLayerMiddle));
    x = stream8 ? b.x8 : b.x;

    // The same around the feed-forward part; pre prepares the next layer's `normalized`.
    FASTBERT_RETURN_IF_ERROR(FeedForward(pass, i, pre ? b.normalized : x, b.projection));
    void* output = nullptr;
    if (config_.all_layers) {
      output = static_cast<char*>(pass.call.output) + i * output_bytes;
    } else if (last) {
      output = pass.call.output;
    }
    LayerNormArgs end = norm;
    end.projection = b.projection;
    end.bias = layer.output_bias;
    end.residual = x;
    if (!pre) {
      end.gamma = layer.output_layer_norm_gamma;
      end.beta = layer.output_layer_norm_beta;
    } else if (!last) {
      end.gamma = pass.weights.layers_[i + 1].attention_layer_norm_gamma;
      end.beta = pass.weights.layers_[i + 1].attention_layer_norm_beta;
      end.normalized = b.normalized;
    }
    void** result = pre ? &end.sum : &end.normalized;
    if (output != nullptr && same_rows) {
      *result = output;
      if (!stream8) x = output;
    } else {
      if (!last) *result = b.x;
      end.output = output;
      end.output_is_sum = pre;
      end.token = output != nullptr ? pass.layout.token : nullptr;
      end.output_rows = static_cast<int64_t>(pass.layout.batch) * pass.layout.seq_len;
    }
    pass.Begin(FASTBERT_STEP_LAYER_NORM, i);
    FASTBERT_RETURN_IF_ERROR(Normalize(pass, end, i, kLayerEnd));
  }
  return Status::Ok();
}

// `args` as a pass without quantization would have it. A quantized pass writes the next product's input in 8 bits, and no other
// copy of it but the residual stream and the user's output.
Status Encoder::Normalize(const Pass& pass, const LayerNormArgs& args, int layer, LayerPlace place) const {
  if (pass.quantized == nullptr) return LaunchLayerNorm(args, config_.dtype, pass.stream);
  const Buffers& b = pass.buffers;
  const QuantizedLayer& q = pass.weights.quantized_[layer];
  QuantizedLayerNormArgs a;
  static_cast<LayerNormArgs&>(a) = args;
  a.int8_stream = HasInt8Stream(config_);
  if (!a.int8_stream) a.bias = nullptr;  // added by the product
  if (a.normalized == b.normalized || (a.int8_stream && a.normalized == b.x)) a.normalized = nullptr;
  if (place != kLayerEnd || layer + 1 < config_.num_layers) a.quantized = b.x8;
  switch (place) {
    case kLayerStart: a.quantize_scale = q.attention_input_scale; break;
    case kLayerMiddle:
      a.projection_step = 1.0f / q.attention_output_sum_scale;
      a.residual_step = 1.0f / q.attention_input_scale;
      a.quantize_scale = q.intermediate_input_scale;
      break;
    case kLayerEnd:
      a.projection_step = 1.0f / q.output_sum_scale;
      a.residual_step = 1.0f / q.intermediate_input_scale;
      if (a.quantized != nullptr) a.quantize_scale = pass.weights.quantized_[layer + 1].attention_input_scale;
      break;
  }
  return LaunchQuantizedLayerNorm(a, QuantizedTypeOf(config_), config_.dtype, pass.stream);
}

// One of the four products of a layer, with what belongs to it: bias and activation where the next step doesn't add them. A
// quantized pass has its inputs in pass.quantized.
Status Encoder::Multiply(const Pass& pass, int i, GemmSite site, const void* input, void* output) const {
  constexpr FastBertStepKind kSteps[kNumGemmSites] = {FASTBERT_STEP_QKV, FASTBERT_STEP_ATTENTION_OUTPUT,
                                                      FASTBERT_STEP_INTERMEDIATE, FASTBERT_STEP_OUTPUT};
  const Buffers& b = pass.buffers;
  pass.Begin(kSteps[site], i);
  if (pass.quantized != nullptr) {
    const QuantizedLayer& q = pass.weights.quantized_[i];
    QuantizedGemmArgs args;
    args.output = output;
    if (site == kGemmIntermediate) {
      args.quantize = true;
      args.output_scale = q.output_input_scale;
      args.activation = config_.activation;
    } else if (site != kGemmQkv && HasInt8Stream(config_)) {
      args.quantize = true;
      args.output_scale = site == kGemmOutput ? q.output_sum_scale : q.attention_output_sum_scale;
    }
    return LaunchQuantizedGemm(QuantizedTypeOf(config_), pass.quantized->input[site], q.weight[site], args, config_.dtype, -1,
                               num_processors_, pass.stream);
  }

  const PackedLayer& layer = pass.weights.layers_[i];
  const void* const weights[kNumGemmSites] = {layer.qkv_kernel, layer.attention_output_kernel, layer.intermediate_kernel,
                                              layer.output_kernel};
  FASTBERT_RETURN_IF_ERROR(gemms_->Run(site, pass.weights.gemms_[i], pass.gemm_rows, input, weights[site], output, b.gemm,
                                       pass.stream));
  if (site != kGemmIntermediate || gemms_->fuses_activation()) return Status::Ok();
  return LaunchBiasActivation(output, layer.intermediate_bias, pass.rows, dimensions_.padded_inner, config_.activation,
                              config_.dtype, pass.stream);
}

// All rows of [rows, hidden] in 8 bits.
Status Encoder::Quantize(const Pass& pass, const void* from, void* to, float scale) const {
  QuantizeRowsArgs quantize;
  quantize.input = from;
  quantize.quantized = to;
  quantize.scale = scale;
  quantize.rows = pass.rows;
  quantize.hidden = dimensions_.hidden;
  return LaunchQuantizeRows(quantize, QuantizedTypeOf(config_), config_.dtype, pass.stream);
}

// projection = attention(input) times the output kernel, without its bias.
Status Encoder::Attend(const Pass& pass, int i, const void* input, void* projection) const {
  const Buffers& b = pass.buffers;
  FASTBERT_RETURN_IF_ERROR(Multiply(pass, i, kGemmQkv, input, b.qkv));
  AttentionArgs attention;
  attention.qkv = b.qkv;
  attention.context = b.context;
  attention.tiles = pass.layout.tiles;
  attention.num_tiles = pass.layout.tile_slots;
  attention.num_heads = dimensions_.num_heads;
  attention.head_size = dimensions_.padded_head;
  attention.scale = 1.0f / std::sqrt(static_cast<float>(dimensions_.head));
  if (pass.quantized != nullptr) {
    attention.context = b.context8;
    attention.quantize = QuantizedTypeOf(config_) == QuantizedType::kInt8 ? AttentionArgs::kInt8 : AttentionArgs::kE4M3;
    attention.context_scale = pass.weights.quantized_[i].context_scale;
  }
  pass.Begin(FASTBERT_STEP_ATTENTION, i);
  FASTBERT_RETURN_IF_ERROR(LaunchAttention(attention_, attention, config_.dtype, pass.stream));
  return Multiply(pass, i, kGemmAttentionOutput, b.context, projection);
}

// projection = activation(input times the intermediate kernel + bias) times the output kernel, without its bias.
Status Encoder::FeedForward(const Pass& pass, int i, const void* input, void* projection) const {
  FASTBERT_RETURN_IF_ERROR(Multiply(pass, i, kGemmIntermediate, input, pass.buffers.inner));
  return Multiply(pass, i, kGemmOutput, pass.buffers.inner, projection);
}

}  // namespace cuda
}  // namespace tf_fastbert
