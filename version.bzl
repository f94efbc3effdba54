# The version of tf_fastbert. setup.py reads it too.
VERSION = "0.1.0"
