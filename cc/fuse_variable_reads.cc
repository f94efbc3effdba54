// A pass over each graph that TensorFlow is about to run: the ReadVariableOps in front of an op of ours become one
// FastBertReadVariables, and so do the VarHandleOps that only they need. It applies to sessions, tf.functions and loaded SavedModels
// alike, on the graph that runs alone; the one that the user holds keeps its reads.
//
// Reads become one if they feed the same op, sit on the same device and wait for the same ops, and if none of them leads to another
// (by way of an assignment, say): the one op then runs when each of them could have, and before all that any of them came before.
#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/core/common_runtime/optimization_registry.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/framework/resource_handle.h"
#include "tensorflow/core/graph/algorithm.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/graph/node_builder.h"
#include "tensorflow/core/util/device_name_utils.h"

namespace tf_fastbert {
namespace {

using tensorflow::DataType;
using tensorflow::Edge;
using tensorflow::Graph;
using tensorflow::Node;

// Ids, not pointers, in keys: the order of the groups, and with it the graph, is the same in each run.
using Group = std::pair<std::string, std::set<int>>;  // device, the ops that the reads wait for

bool IsOurs(const Node& node) {
  const std::string& type = node.type_string();
  return type == "FastBertEncoder" || type == "FastBertQuantizedEncoder" || type == "FastBertEmbedding" ||
         type == "FastBertSpanLogits";
}

bool ReadDtype(const Node& node, DataType* dtype) {
  if (node.type_string() != "ReadVariableOp" || !tensorflow::GetNodeAttr(node.attrs(), "dtype", dtype).ok()) return false;
  return *dtype == tensorflow::DT_FLOAT || *dtype == tensorflow::DT_HALF || *dtype == tensorflow::DT_BFLOAT16 ||
         *dtype == tensorflow::DT_INT8;
}

// Whether FastBertReadVariables has a kernel for the device; an accelerator of another kind keeps its reads.
bool HasKernel(const std::string& device) {
  tensorflow::DeviceNameUtils::ParsedName parsed;
  return tensorflow::DeviceNameUtils::ParseFullName(device, &parsed) && parsed.has_type &&
         (parsed.type == tensorflow::DEVICE_CPU || parsed.type == tensorflow::DEVICE_GPU);
}

std::set<int> ControlInputs(const Node& node) {
  std::set<int> ids;
  for (const Edge* edge : node.in_edges()) {
    if (edge->IsControlEdge() && !edge->src()->IsSource()) ids.insert(edge->src()->id());
  }
  return ids;
}

// Whether one of the reads comes, by whatever way, before another of them.
bool DependOnEachOther(const std::vector<Node*>& reads) {
  const std::set<const Node*> wanted(reads.begin(), reads.end());
  std::set<const Node*> seen;
  std::vector<const Node*> waiting(reads.begin(), reads.end());
  while (!waiting.empty()) {
    const Node* node = waiting.back();
    waiting.pop_back();
    if (node->IsNextIteration()) continue;  // what comes behind is the next turn of a loop
    for (const Edge* edge : node->out_edges()) {
      if (wanted.count(edge->dst()) > 0) return true;
      if (seen.insert(edge->dst()).second) waiting.push_back(edge->dst());
    }
  }
  return false;
}

// Where a read has its variable from.
struct Source {
  const Edge* handle = nullptr;
  DataType dtype = tensorflow::DT_INVALID;
  bool named = false;  // by a VarHandleOp, whose container and name are:
  std::string container, name;
};

absl::Status FindSource(const Node& read, Source* source) {
  const absl::Status status = read.input_edge(0, &source->handle);
  if (!status.ok()) return status;
  if (!ReadDtype(read, &source->dtype)) return absl::InternalError("not a read: " + read.name());
  const Node& from = *source->handle->src();
  if (from.type_string() != "VarHandleOp" || from.assigned_device_name() != read.assigned_device_name() ||
      !ControlInputs(from).empty() || !tensorflow::GetNodeAttr(from.attrs(), "container", &source->container).ok() ||
      !tensorflow::GetNodeAttr(from.attrs(), "shared_name", &source->name).ok()) {
    return absl::OkStatus();
  }
  // As VarHandleOp's kernel names it.
  if (source->name.empty()) source->name = from.name();
  source->named = source->name != tensorflow::ResourceHandle::ANONYMOUS_NAME;
  return absl::OkStatus();
}

// A session keeps the kernels of stateful ops by the names of their nodes, and runs the same ones in all of its graphs: where another
// part of the user's graph runs, or some reads are fed, other reads become one. So the name says which.
std::string NameOf(const Node& user, const std::vector<Source>& sources) {
  std::string all;
  for (const Source& source : sources) {
    all += source.handle->src()->name() + ' ' + (source.named ? source.container + ' ' + source.name : "") + ' ' +
           tensorflow::DataTypeString(source.dtype) + '\n';
  }
  return user.name() + "/read_variables_" + std::to_string(std::hash<std::string>()(all));
}

absl::Status Fuse(Graph* graph, const Node& user, std::vector<Node*> reads) {
  std::vector<Source> sources(reads.size());
  std::map<const Node*, const Source*> source_of;
  for (size_t i = 0; i < reads.size(); ++i) {
    const absl::Status status = FindSource(*reads[i], &sources[i]);
    if (!status.ok()) return status;
    source_of[reads[i]] = &sources[i];
  }
  std::stable_partition(reads.begin(), reads.end(), [&](const Node* read) { return source_of[read]->named; });
  std::vector<tensorflow::NodeBuilder::NodeOut> handles;
  std::vector<std::string> containers, names;
  std::vector<DataType> dtypes;
  std::set<Node*> handle_ops;
  for (const Node* read : reads) {
    const Source& source = *source_of[read];
    dtypes.push_back(source.dtype);
    if (source.named) {
      containers.push_back(source.container);
      names.push_back(source.name);
      handle_ops.insert(source.handle->src());
    } else {
      handles.emplace_back(source.handle->src(), source.handle->src_output());
    }
  }
  Node* fused = nullptr;
  absl::Status status = tensorflow::NodeBuilder(graph->NewName(NameOf(user, sources)), "FastBertReadVariables")
                            .Input(handles)
                            .Attr("num_resources", static_cast<int>(handles.size()))
                            .Attr("containers", containers)
                            .Attr("names", names)
                            .Attr("dtypes", dtypes)
                            .Device(reads[0]->requested_device())
                            .Finalize(graph, &fused);
  if (!status.ok()) return status;
  fused->set_assigned_device_name(reads[0]->assigned_device_name());
  for (int id : ControlInputs(*reads[0])) graph->AddControlEdge(graph->FindNodeId(id), fused);
  for (int i = 0; i < static_cast<int>(reads.size()); ++i) {
    const std::vector<const Edge*> edges(reads[i]->out_edges().begin(), reads[i]->out_edges().end());
    for (const Edge* edge : edges) {
      if (edge->dst()->IsSink()) continue;
      if (edge->IsControlEdge()) {
        graph->AddControlEdge(fused, edge->dst());
      } else {
        status = graph->UpdateEdge(fused, i, edge->dst(), edge->dst_input());
        if (!status.ok()) return status;
      }
    }
    graph->RemoveNode(reads[i]);
  }
  for (Node* handle : handle_ops) {
    const auto& out = handle->out_edges();
    if (std::all_of(out.begin(), out.end(), [](const Edge* edge) { return edge->dst()->IsSink(); })) graph->RemoveNode(handle);
  }
  return absl::OkStatus();
}

absl::Status FuseReadsOf(Graph* graph, const Node& user) {
  std::map<Group, std::vector<Node*>> groups;
  std::set<const Node*> seen;
  std::vector<const Edge*> inputs;
  absl::Status status = user.input_edges(&inputs);
  if (!status.ok()) return status;
  for (const Edge* edge : inputs) {
    Node* read = edge->src();
    DataType dtype;
    if (!ReadDtype(*read, &dtype) || !seen.insert(read).second) continue;
    groups[{read->assigned_device_name(), ControlInputs(*read)}].push_back(read);
  }
  for (const auto& [group, reads] : groups) {
    if (reads.size() < 2 || !HasKernel(group.first) || DependOnEachOther(reads)) continue;
    status = Fuse(graph, user, reads);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

class FuseVariableReads : public tensorflow::GraphOptimizationPass {
 public:
  absl::Status Run(const tensorflow::GraphOptimizationPassOptions& options) override {
    if (options.graph == nullptr || *options.graph == nullptr) return absl::OkStatus();
    Graph* graph = options.graph->get();
    std::vector<const Node*> users;
    for (const Node* node : graph->op_nodes()) {
      if (IsOurs(*node)) users.push_back(node);
    }
    if (users.empty()) return absl::OkStatus();
    for (const Node* user : users) {
      const absl::Status status = FuseReadsOf(graph, *user);
      if (!status.ok()) return status;
    }
    tensorflow::FixupSourceAndSinkEdges(graph);
    return absl::OkStatus();
  }
};

// Behind all of TensorFlow's own passes, XLA's among them: those know ReadVariableOp.
constexpr int kPhase = 1000;
REGISTER_OPTIMIZATION(tensorflow::OptimizationPassRegistry::POST_REWRITE_FOR_EXEC, kPhase, FuseVariableReads);

}  // namespace
}  // namespace tf_fastbert
