"""Int8 and FP8: ranges are collected (calibrate), trained with (fake_quant, distillation) and folded into a checkpoint (convert).

    names.py         which quantizers a layer has, and their variables' names
    modes.py         ft1, ft2, ft3 and fp8: which of them are on, per channel or per tensor
    amax_list.py     the amaxList of a layer: the only module that knows its layout
    graph.py         Google's encoder in TensorFlow ops, with a hook at every quantizer
    fake_quant.py    the hook that quantizes and dequantizes, with straight-through gradients
    calibrate.py     the hook that collects histograms; a checkpoint with the ranges
    ranges.py        from a histogram to a range: max, percentile, mse, entropy
    search.py        which of these suits which quantizer
    convert.py       a checkpoint with ranges -> int8 kernels and amaxLists
    detect.py        what kind of checkpoint it is, for messages
    distillation.py  a teacher beside the model in training
"""
