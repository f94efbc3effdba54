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

// A read, and where it has its variable from.
struct Read {
  Node* node = nullptr;
  DataType dtype = tensorflow::DT_INVALID;
  const Edge* handle = nullptr;
  bool named = false;  // by a VarHandleOp, whose container and name are:
  std::string container, name;
};

absl::Status Describe(Node* node, Read* read) {
  read->node = node;
  const absl::Status status = node->input_edge(0, &read->handle);
  if (!status.ok()) return status;
  if (!ReadDtype(*node, &read->dtype)) return absl::InternalError("not a read: " + node->name());
  const Node& from = *read->handle->src();
  if (from.type_string() != "VarHandleOp" || from.assigned_device_name() != node->assigned_device_name() ||
      !ControlInputs(from).empty() || !tensorflow::GetNodeAttr(from.attrs(), "container", &read->container).ok() ||
      !tensorflow::GetNodeAttr(from.attrs(), "shared_name", &read->name).ok()) {
    return absl::OkStatus();
  }
  // As VarHandleOp's kernel names it.
  if (read->name.empty()) read->name = from.name();
  read->named = read->name != tensorflow::ResourceHandle::ANONYMOUS_NAME;
  return absl::OkStatus();
}

// A session keeps the kernels of stateful ops by the names of their nodes, for all the graphs that it runs; where another part of the
// user's graph runs, or some reads are fed, it is other reads that become one. So the name says which.
std::string NameOf(const Node& user, const std::vector<Read>& reads) {
  std::string all;
  for (const Read& read : reads) {
    all += (read.named ? read.container + ' ' + read.name : read.handle->src()->name()) + ' ' +
           tensorflow::DataTypeString(read.dtype) + '\n';
  }
  return user.name() + "/read_variables_" + std::to_string(std::hash<std::string>()(all));
}

// The one op in place of `reads`, of which those with a name come first.
absl::Status AddFused(Graph* graph, const Node& user, const std::vector<Read>& reads, Node** fused) {
  std::vector<tensorflow::NodeBuilder::NodeOut> handles;
  std::vector<std::string> containers, names;
  std::vector<DataType> dtypes;
  for (const Read& read : reads) {
    dtypes.push_back(read.dtype);
    if (read.named) {
      containers.push_back(read.container);
      names.push_back(read.name);
    } else {
      handles.emplace_back(read.handle->src(), read.handle->src_output());
    }
  }
  const Node& first = *reads[0].node;
  const absl::Status status = tensorflow::NodeBuilder(graph->NewName(NameOf(user, reads)), "FastBertReadVariables")
                                  .Input(handles)
                                  .Attr("num_resources", static_cast<int>(handles.size()))
                                  .Attr("containers", containers)
                                  .Attr("names", names)
                                  .Attr("dtypes", dtypes)
                                  .Device(first.requested_device())
                                  .Finalize(graph, fused);
  if (!status.ok()) return status;
  (*fused)->set_assigned_device_name(first.assigned_device_name());
  for (int id : ControlInputs(first)) graph->AddControlEdge(graph->FindNodeId(id), *fused);
  return absl::OkStatus();
}

absl::Status Fuse(Graph* graph, const Node& user, const std::vector<Node*>& nodes) {
  std::vector<Read> reads(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    const absl::Status status = Describe(nodes[i], &reads[i]);
    if (!status.ok()) return status;
  }
  std::stable_partition(reads.begin(), reads.end(), [](const Read& read) { return read.named; });
  Node* fused = nullptr;
  absl::Status status = AddFused(graph, user, reads, &fused);
  if (!status.ok()) return status;
  for (int i = 0; i < static_cast<int>(reads.size()); ++i) {
    Node* const read = reads[i].node;
    const std::vector<const Edge*> edges(read->out_edges().begin(), read->out_edges().end());
    for (const Edge* edge : edges) {
      if (edge->dst()->IsSink()) continue;
      if (edge->IsControlEdge()) {
        graph->AddControlEdge(fused, edge->dst());
      } else {
        status = graph->UpdateEdge(fused, i, edge->dst(), edge->dst_input());
        if (!status.ok()) return status;
      }
    }
    Node* const handle = reads[i].handle->src();
    graph->RemoveNode(read);
    const auto& users = handle->out_edges();
    const auto is_sink = [](const Edge* edge) { return edge->dst()->IsSink(); };
    if (reads[i].named && std::all_of(users.begin(), users.end(), is_sink)) graph->RemoveNode(handle);
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
