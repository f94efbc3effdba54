"""What examples/run_squad_wrap.py and examples/run_classifier_wrap.py are made of.

    flags.py        our flags beside Google's, and how a command line is read
    ahead_of_imports.py  what is begun before TensorFlow is imported
    google.py       imports Google's script, from bert-tensorflow or from a local copy (--bert_dir)
    scripts.py      the two scripts: required flags, head variables, files they read and write
    inputs.py       checks of configuration, vocabulary and data files before any graph is built
    checkpoints.py  checks of checkpoints: readable, complete, right shapes and dtypes
    progress.py     a bar around the Estimator's predict and evaluate, and their times
    logs.py         which of TensorFlow's and Google's log lines are shown
    compare.py      what --compare_stock reports
    runner.py       ties them together: checks, patch, Google's main

Google's code does the work: its main() is called, not copied. Nothing here does arithmetic on tensors.
"""
