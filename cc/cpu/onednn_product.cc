// Products by oneDNN; see onednn_product.h.
#include "cc/cpu/onednn_product.h"

#include <cstring>
#include <mutex>

namespace tf_fastbert {
namespace cpu {
namespace {

using dnnl::memory;

// oneDNN chooses the weights' layout for this many rows; every other number of rows must do with it. Measured: the layout chosen
// for 64 rows is the one chosen for 16 to 256.
constexpr int kRepresentativeRows = 64;
// Columns of a part, where it divides them all. Smaller parts cost more calls, larger ones leave threads idle with few tokens.
constexpr int kPart = 128;

memory::data_type OneDnnType(OperandType type) {
  if (type == OperandType::kInt8) return memory::data_type::s8;
  return type == OperandType::kBFloat16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::desc Vector(int n) { return {{1, n}, memory::data_type::f32, memory::format_tag::ab}; }

dnnl::algorithm Activation(Epilogue epilogue) {
  if (epilogue == Epilogue::kGeluErf) return dnnl::algorithm::eltwise_gelu_erf;
  return epilogue == Epilogue::kRelu ? dnnl::algorithm::eltwise_relu : dnnl::algorithm::eltwise_gelu_tanh;
}

}  // namespace

OneDnnProduct::OneDnnProduct(const ProductShape& shape) : Product(shape), part_(shape.n % kPart == 0 ? kPart : shape.n) {}

std::unique_ptr<OneDnnProduct::Kernel> OneDnnProduct::Compile(int rows, const memory::desc& weights, memory::desc* chosen) const {
  dnnl::post_ops post_ops;
  if (shape_.epilogue == Epilogue::kAccumulate) post_ops.append_sum(1.0f);
  if (has_operand_output()) post_ops.append_eltwise(Activation(shape_.epilogue), 0.0f, 0.0f);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_post_ops(post_ops);
  // The input's scale is part of the weights' (one for each column). A destination's scale divides.
  if (quantized()) attributes.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 1);
  if (quantized() && has_operand_output()) attributes.set_scales_mask(DNNL_ARG_DST, 0);

  memory::data_type out = shape_.out == DataType::kBFloat16 ? memory::data_type::bf16 : memory::data_type::f32;
  if (shape_.epilogue == Epilogue::kAccumulate) out = memory::data_type::f32;
  if (has_operand_output()) out = OneDnnType(shape_.in.type);

  auto kernel = std::make_unique<Kernel>();
  kernel->in = {{rows, shape_.k}, OneDnnType(shape_.in.type), memory::format_tag::ab};
  kernel->out = memory::desc({rows, part_}, out, memory::dims{shape_.n, 1});
  const SingleThreadedOpenMp guard;
  const dnnl::matmul::primitive_desc description(CpuEngine(), kernel->in, weights, Vector(part_), kernel->out, attributes);
  kernel->primitive = dnnl::matmul(description);
  kernel->scratchpad = description.scratchpad_desc();
  kernel->scratchpad_bytes = kernel->scratchpad.get_size();
  if (chosen != nullptr) *chosen = description.weights_desc();
  return kernel;
}

Status OneDnnProduct::Create(const ProductShape& shape, std::unique_ptr<Product>* product) {
  return CatchErrors(shape.name, [&] {
    std::unique_ptr<OneDnnProduct> created(new OneDnnProduct(shape));
    const memory::desc any({shape.k, created->part_}, OneDnnType(shape.in.type), memory::format_tag::any);
    created->kernels_[kRepresentativeRows] = created->Compile(kRepresentativeRows, any, &created->packed_);
    *product = std::move(created);
    return Status::Ok();
  });
}

size_t OneDnnProduct::PackedBytes() const { return shape_.n / part_ * part_bytes(); }

Status OneDnnProduct::Pack(const void* source, void* packed) const {
  return CatchErrors(shape_.name, [&] {
    const SingleThreadedOpenMp guard;
    const dnnl::engine& engine = CpuEngine();
    const memory::desc columns({shape_.k, part_}, OneDnnType(shape_.in.type), memory::dims{shape_.n, 1});
    for (int first = 0; first < shape_.n; first += part_) {
      const char* from = static_cast<const char*>(source) + first * shape_.in.element_bytes();
      memory part(columns, engine, const_cast<char*>(from));
      memory to(packed_, engine, static_cast<char*>(packed) + first / part_ * part_bytes());
      dnnl::reorder(part, to).execute(CpuStream(), part, to);
    }
    CpuStream().wait();
    return Status::Ok();
  });
}

Status OneDnnProduct::Find(int rows, const Kernel** kernel) const {
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

Status OneDnnProduct::ScratchBytes(int rows, int, size_t* bytes) const {
  const Kernel* kernel;
  const Status status = Find(rows, &kernel);
  if (status.ok()) *bytes = kernel->scratchpad_bytes;
  return status;
}

Status OneDnnProduct::Run(const ProductWeights& weights, const ProductCall& call) const {
  const Kernel* kernel;
  const Status found = Find(call.rows, &kernel);
  if (!found.ok()) return found;
  return CatchErrors(shape_.name, [&] {
    const dnnl::engine& engine = CpuEngine();
    const memory source(kernel->in, engine, const_cast<void*>(call.in));
    const memory scratch(kernel->scratchpad, engine, kernel->scratchpad_bytes > 0 ? call.scratch : nullptr);
    float operand_unit = 1 / call.out_operand.scale;
    const memory out_scale({{1}, memory::data_type::f32, memory::format_tag::x}, engine, &operand_unit);
    char* out = static_cast<char*>(has_operand_output() ? call.out_operand.data : call.out);
    const size_t out_bytes = dnnl::memory::data_type_size(kernel->out.get_data_type());
    for (int column = call.first_column; column < call.first_column + call.columns; column += part_) {
      const char* packed = static_cast<const char*>(weights.packed) + column / part_ * part_bytes();
      const memory kernel_memory(packed_, engine, const_cast<char*>(packed));
      const memory bias(Vector(part_), engine, const_cast<float*>(weights.bias + column));
      const memory destination(kernel->out, engine, out + column * out_bytes);
      dnnl_exec_arg_t arguments[7] = {{DNNL_ARG_SRC, source.get()},       {DNNL_ARG_WEIGHTS, kernel_memory.get()},
                                      {DNNL_ARG_BIAS, bias.get()},        {DNNL_ARG_DST, destination.get()},
                                      {DNNL_ARG_SCRATCHPAD, scratch.get()}};
      int count = 5;
      memory scales;
      if (quantized()) {
        float* first = const_cast<float*>(weights.scales + column);
        scales = memory({{part_}, memory::data_type::f32, memory::format_tag::x}, engine, first);
        arguments[count++] = {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, scales.get()};
        if (has_operand_output()) arguments[count++] = {DNNL_ARG_ATTR_SCALES | DNNL_ARG_DST, out_scale.get()};
      }
      dnnl::error::wrap_c_api(dnnl_primitive_execute(kernel->primitive.get(), CpuStream().get(), count, arguments),
                              "could not execute a matmul");
    }
    return Status::Ok();
  });
}

}  // namespace cpu
}  // namespace tf_fastbert
