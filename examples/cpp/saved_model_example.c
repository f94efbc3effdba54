// A SavedModel of tools/export_saved_model.py from C, with TensorFlow's C API and no Python.
//
//   TF=$(python -c 'import tensorflow as tf; print(tf.sysconfig.get_lib())')
//   gcc saved_model_example.c -o saved_model_example -I$TF/include -L$TF -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2
//   export LD_LIBRARY_PATH=$TF
//   ./saved_model_example served/squad/1 served/squad/1/assets.extra/libtf_fastbert.so start_logits 101 2054 102 2023 102
//
// The model is loaded as TensorFlow Serving loads it: the op library first, then the graph with the tag "serve". The rest of the
// command line is the name of an output, as `saved_model_cli show --dir served/squad/1 --all` lists them, and the ids of one
// sequence, all of segment 0. Prints the output's values, a line for each position or label.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void check(TF_Status* status, const char* what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "error: %s: %s\n", what, TF_Message(status));
  exit(1);
}

// int32 [1, length]; `values` may be NULL for zeros.
static TF_Tensor* row(const int* values, int length, int fill) {
  int64_t dims[2] = {1, length};
  TF_Tensor* tensor = TF_AllocateTensor(TF_INT32, dims, 2, sizeof(int) * length);
  int* data = TF_TensorData(tensor);
  for (int i = 0; i < length; ++i) data[i] = values ? values[i] : fill;
  return tensor;
}

static TF_Output operation(TF_Graph* graph, const char* name, int index) {
  TF_Output output = {TF_GraphOperationByName(graph, name), index};
  if (output.oper == NULL) {
    fprintf(stderr, "error: the model has no operation %s: was it written by tools/export_saved_model.py?\n", name);
    exit(1);
  }
  return output;
}

// The outputs of signature serving_default are those of one operation, in the order of their names.
static int output_index(const char* name) {
  const char* orders[][2] = {{"end_logits", "start_logits"}, {"logits", "probabilities"}, {"pooled_output", "sequence_output"}};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 2; ++j)
      if (strcmp(name, orders[i][j]) == 0) return j;
  fprintf(stderr, "error: %s is the name of no output\n", name);
  exit(2);
}

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: %s SAVED_MODEL libtf_fastbert.so OUTPUT ID...\n", argv[0]);
    return 2;
  }
  TF_Status* status = TF_NewStatus();
  TF_LoadLibrary(argv[2], status);
  check(status, argv[2]);
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(status, argv[1]);

  const int length = argc - 4;
  int* ids = malloc(sizeof(int) * length);
  for (int i = 0; i < length; ++i) ids[i] = atoi(argv[4 + i]);
  TF_Output inputs[] = {operation(graph, "serving_default_input_ids", 0), operation(graph, "serving_default_input_mask", 0),
                        operation(graph, "serving_default_segment_ids", 0)};
  TF_Tensor* values[] = {row(ids, length, 0), row(NULL, length, 1), row(NULL, length, 0)};
  // A graph that has no state calls its function by the first name, one with variables by the second.
  const char* call = TF_GraphOperationByName(graph, "PartitionedCall") ? "PartitionedCall" : "StatefulPartitionedCall";
  TF_Output wanted[] = {operation(graph, call, 0)};
  if (TF_OperationNumOutputs(wanted[0].oper) > 1) wanted[0].index = output_index(argv[3]);  // an encoder may have one only
  TF_Tensor* answers[1];
  TF_SessionRun(session, NULL, inputs, values, 3, wanted, answers, 1, NULL, 0, NULL, status);
  check(status, "the model");

  const float* numbers = TF_TensorData(answers[0]);
  for (size_t i = 0; i < TF_TensorByteSize(answers[0]) / sizeof(float); ++i) printf("%.6f\n", numbers[i]);

  TF_DeleteTensor(answers[0]);
  for (int i = 0; i < 3; ++i) TF_DeleteTensor(values[i]);
  free(ids);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
