"""The CUDA encoder from Python without TensorFlow or PyTorch: what the benchmarks, the profiler and the tuner stand on.

- abi: ctypes declarations of cuda/fastbert_cuda.h, and the library that they are loaded from.
- driver: memory, streams, events and graphs through the CUDA driver, which every machine with a GPU has.
- encoder: an encoder with weights on the GPU, made of the two.
- ceilings: what the GPU reaches in matrix products and copies, to compare with.
"""
