// Matrix products through oneDNN's matmul primitive; see gemm.h.
#include "cc/cpu/gemm.h"

#include <mutex>

namespace tf_fastbert {
namespace cpu {
namespace {

// oneDNN chooses the weights' layout for this many rows; every other number of rows must do with it. Measured: the layout chosen
// for 64 rows is the one chosen for 16 to 256.
constexpr int kRepresentativeRows = 64;

dnnl::memory::data_type OneDnnType(DataType type) {
  return type == DataType::kBFloat16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

dnnl::memory::desc RowMajor(int rows, int columns, DataType type) {
  return {{rows, columns}, OneDnnType(type), dnnl::memory::format_tag::ab};
}

}  // namespace

std::unique_ptr<GemmKernel> Gemm::Compile(int rows, const dnnl::memory::desc& weights, dnnl::memory::desc* chosen) const {
  dnnl::post_ops post_ops;
  switch (shape_.epilogue) {
    case Epilogue::kNone:
      break;
    case Epilogue::kGeluTanh:
      post_ops.append_eltwise(dnnl::algorithm::eltwise_gelu_tanh, 0.0f, 0.0f);
      break;
    case Epilogue::kGeluErf:
      post_ops.append_eltwise(dnnl::algorithm::eltwise_gelu_erf, 0.0f, 0.0f);
      break;
    case Epilogue::kRelu:
      post_ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
      break;
    case Epilogue::kAccumulate:
      post_ops.append_sum(1.0f);
      break;
  }
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_post_ops(post_ops);

  auto kernel = std::make_unique<GemmKernel>();
  kernel->in = RowMajor(rows, shape_.k, shape_.in);
  kernel->out = RowMajor(rows, shape_.n, shape_.out);
  const SingleThreadedOpenMp guard;
  const dnnl::matmul::primitive_desc description(CpuEngine(), kernel->in, weights, RowMajor(1, shape_.n, DataType::kFloat32),
                                                 kernel->out, attributes);
  kernel->primitive = dnnl::matmul(description);
  kernel->scratchpad = description.scratchpad_desc();
  kernel->scratchpad_bytes = kernel->scratchpad.get_size();
  if (chosen != nullptr) *chosen = description.weights_desc();
  return kernel;
}

Status Gemm::Create(const GemmShape& shape, std::unique_ptr<Gemm>* gemm) {
  return CatchErrors(shape.name, [&] {
    std::unique_ptr<Gemm> created(new Gemm(shape));
    const dnnl::memory::desc any({shape.k, shape.n}, OneDnnType(shape.in), dnnl::memory::format_tag::any);
    created->kernels_[kRepresentativeRows] = created->Compile(kRepresentativeRows, any, &created->packed_);
    *gemm = std::move(created);
    return Status::Ok();
  });
}

Status Gemm::Pack(const void* source, void* packed, const float* bias, GemmWeights* weights) const {
  return CatchErrors(shape_.name, [&] {
    const SingleThreadedOpenMp guard;
    const dnnl::engine& engine = CpuEngine();
    dnnl::memory from(RowMajor(shape_.k, shape_.n, shape_.in), engine, const_cast<void*>(source));
    weights->kernel = dnnl::memory(packed_, engine, packed);
    weights->bias = dnnl::memory(RowMajor(1, shape_.n, DataType::kFloat32), engine, const_cast<float*>(bias));
    dnnl::reorder(from, weights->kernel).execute(CpuStream(), from, weights->kernel);
    CpuStream().wait();
    return Status::Ok();
  });
}

Status Gemm::Find(int rows, const GemmKernel** kernel) const {
  {
    std::shared_lock<std::shared_mutex> lock(mutex_);
    const auto found = kernels_.find(rows);
    if (found != kernels_.end()) {
      *kernel = found->second.get();
      return Status::Ok();
    }
  }
  return CatchErrors(shape_.name, [&] {
    std::unique_lock<std::shared_mutex> lock(mutex_);
    auto found = kernels_.find(rows);
    if (found == kernels_.end()) found = kernels_.emplace(rows, Compile(rows, packed_, nullptr)).first;
    *kernel = found->second.get();
    return Status::Ok();
  });
}

void Gemm::Run(const GemmKernel& kernel, const GemmWeights& weights, const void* in, void* out, void* scratchpad) {
  const dnnl::engine& engine = CpuEngine();
  const dnnl::memory source(kernel.in, engine, const_cast<void*>(in));
  const dnnl::memory destination(kernel.out, engine, out);
  const dnnl::memory scratch(kernel.scratchpad, engine, kernel.scratchpad_bytes > 0 ? scratchpad : nullptr);
  const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, source.get()},
                                       {DNNL_ARG_WEIGHTS, weights.kernel.get()},
                                       {DNNL_ARG_BIAS, weights.bias.get()},
                                       {DNNL_ARG_DST, destination.get()},
                                       {DNNL_ARG_SCRATCHPAD, scratch.get()}};
  dnnl::error::wrap_c_api(dnnl_primitive_execute(kernel.primitive.get(), CpuStream().get(), 5, arguments),
                          "could not execute a matmul");
}

}  // namespace cpu
}  // namespace tf_fastbert
