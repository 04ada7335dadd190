"""One member: images in, features out."""

import os

# Threads that spin while they wait block each other when another process needs a core. Beside one busy process on two
# cores, training ran at 11 images/s with spinning and 121 without. Read once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# cuBLAS sums in a fixed order only with one workspace per stream. Read when cuBLAS is first used.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
