"""The implementations that benchmarks/encoder.py times, one family a module and a process of its own.

A family's module has:

    def start(case) -> Family      # raises NotInstalled(reason) where it cannot run

Two families in one process would fight for the GPU's memory and load each other's CUDA libraries.
"""

FAMILIES = {  # name on the command line -> module; in the order of the table
    "fastbert": "benchmarks.peers.fastbert",
    "tensorflow": "benchmarks.peers.tensorflow_peers",
    "torch": "benchmarks.peers.torch_peers",
    "onnxruntime": "benchmarks.peers.onnxruntime_peers",
    "jax": "benchmarks.peers.jax_peers",
}
