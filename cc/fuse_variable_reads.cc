// A pass over each graph that TensorFlow is about to run: the ReadVariableOps in front of an op of ours become one
// FastBertReadVariables. It applies to sessions, tf.functions and loaded SavedModels alike, on the graph that runs alone; the one
// that the user holds keeps its reads.
//
// Reads become one if they feed the same op, sit on the same device and wait for the same ops, and if none of them leads to another
// (by way of an assignment, say): the one op then runs when each of them could have, and before all that any of them came before.
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/core/common_runtime/optimization_registry.h"
#include "tensorflow/core/framework/node_def_util.h"
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
  return type == "FastBertEncoder" || type == "FastBertQuantizedEncoder" || type == "FastBertEmbedding";
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

absl::Status Fuse(Graph* graph, const Node& user, const std::vector<Node*>& reads) {
  std::vector<tensorflow::NodeBuilder::NodeOut> handles;
  std::vector<DataType> dtypes;
  for (const Node* read : reads) {
    const Edge* handle = nullptr;
    absl::Status status = read->input_edge(0, &handle);
    if (!status.ok()) return status;
    handles.emplace_back(handle->src(), handle->src_output());
    DataType dtype;
    if (!ReadDtype(*read, &dtype)) return absl::InternalError("not a read: " + read->name());
    dtypes.push_back(dtype);
  }
  Node* fused = nullptr;
  absl::Status status = tensorflow::NodeBuilder(graph->NewName(user.name() + "/read_variables"), "FastBertReadVariables")
                            .Input(handles)
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
