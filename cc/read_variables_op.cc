// FastBertReadVariables: many ReadVariableOps in one, with the VarHandleOps in front of them. An encoder of 12 layers reads 192
// variables on each call, and for so small an op as a read TensorFlow's executor, above all on a GPU device, takes several times as
// long as the read does.
//
// Nobody writes this op into a graph: fuse_variable_reads.cc puts it there when TensorFlow is about to run the graph. So graphs and
// SavedModels hold TensorFlow's own reads, and freezing, training and other tools work on them as ever.
#include <cstring>
#include <string>
#include <vector>

#include "cc/tensor_buffers.h"
#include "tensorflow/core/framework/device.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tf_fastbert {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;
using tensorflow::Var;

REGISTER_OP("FastBertReadVariables")
    .Input("resources: num_resources * resource")
    .Output("values: dtypes")
    .Attr("num_resources: int >= 0")
    .Attr("containers: list(string) = []")
    .Attr("names: list(string) = []")
    .Attr("dtypes: list({float, half, bfloat16, int8}) >= 1")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      for (int i = 0; i < c->num_outputs(); ++i) c->set_output(i, c->UnknownShape());
      return absl::OkStatus();
    })
    .Doc(R"doc(
The values of variables: as many ReadVariableOps, in one. Made by tf_fastbert from those in front of its encoder when a graph is
about to run; not meant to be used in programs.

resources: handles of resource variables.
containers, names: of more variables, those that VarHandleOps with these attributes stand for.
values: the values of `names`, then of `resources`; of `dtypes`.
)doc");

class ReadVariables : public tensorflow::OpKernel {
 public:
  explicit ReadVariables(tensorflow::OpKernelConstruction* ctx) : OpKernel(ctx) {
    int num_resources = 0;
    std::vector<std::string> containers, names;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_resources", &num_resources));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("containers", &containers));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("names", &names));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dtypes", &dtypes_));
    OP_REQUIRES(ctx, containers.size() == names.size() && names.size() + num_resources == dtypes_.size(),
                absl::InvalidArgumentError(type_string() + ": " + std::to_string(num_resources) + " resources, " +
                                           std::to_string(containers.size()) + " containers and " + std::to_string(names.size()) +
                                           " names, but " + std::to_string(dtypes_.size()) + " dtypes"));
    for (size_t i = 0; i < names.size(); ++i) {
      handles_.push_back(tensorflow::MakeResourceHandle<Var>(ctx, containers[i], names[i]));
    }
  }

  void Compute(OpKernelContext* ctx) override {
    const int named = static_cast<int>(handles_.size());
    for (int i = 0; i < named; ++i) OP_REQUIRES_OK(ctx, Read(ctx, handles_[i], i));
    for (int i = 0; i < ctx->num_inputs(); ++i) OP_REQUIRES_OK(ctx, Read(ctx, tensorflow::HandleFromInput(ctx, i), named + i));
  }

 private:
  absl::Status Read(OpKernelContext* ctx, const ResourceHandle& handle, int i) const {
    tensorflow::core::RefCountPtr<Var> variable;
    const absl::Status found = tensorflow::LookupResource(ctx, handle, &variable);
    if (!found.ok()) {
      return absl::FailedPreconditionError("Could not find variable " + handle.name() +
                                           ". It has not been initialized, or was deleted: " + std::string(found.message()));
    }
    // As in TensorFlow's own kernel: the lock orders reads and writes, and the output shares the variable's buffer, which writers
    // copy while somebody else holds a reference to it.
    tensorflow::tf_shared_lock lock(*variable->mu());
    const Tensor& value = *variable->tensor();
    if (value.dtype() != dtypes_[i]) {
      return absl::InvalidArgumentError("Trying to read variable " + handle.name() + " with wrong dtype. Expected " +
                                        tensorflow::DataTypeString(dtypes_[i]) + " got " +
                                        tensorflow::DataTypeString(value.dtype()));
    }
    if (!variable->copy_on_read_mode.load()) {
      ctx->set_output(i, value);
      return absl::OkStatus();
    }
    Tensor copy;
    const absl::Status copied = Copy(ctx, value, &copy);
    if (copied.ok()) ctx->set_output(i, copy);
    return copied;
  }

  // A variable with sparse updates, which write into its buffer under a shared lock.
  static absl::Status Copy(OpKernelContext* ctx, const Tensor& value, Tensor* copy) {
    const absl::Status allocated = ctx->allocate_temp(value.dtype(), value.shape(), copy);
    if (!allocated.ok() || value.NumElements() == 0) return allocated;
    if (ctx->op_device_context() == nullptr) {
      std::memcpy(const_cast<char*>(copy->tensor_data().data()), value.tensor_data().data(), value.tensor_data().size());
      return absl::OkStatus();
    }
    // A GPU queues the copy on the op's stream and calls back before it returns.
    absl::Status copied = absl::InternalError("the copy of a variable was not finished");
    ctx->op_device_context()->CopyTensorInSameDevice(&value, static_cast<tensorflow::Device*>(ctx->device()), copy,
                                                     [&copied](const absl::Status& status) { copied = status; });
    return copied;
  }

  std::vector<ResourceHandle> handles_;  // of `names`
  std::vector<tensorflow::DataType> dtypes_;
};

REGISTER_KERNEL_BUILDER(Name("FastBertReadVariables").Device(tensorflow::DEVICE_CPU), ReadVariables);
// Also in a library without CUDA: the variables may be on a GPU though the encoder is not.
REGISTER_KERNEL_BUILDER(Name("FastBertReadVariables").Device(tensorflow::DEVICE_GPU).HostMemory("resources"), ReadVariables);

}  // namespace
}  // namespace tf_fastbert
