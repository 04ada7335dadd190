"""One member: images in, features out."""

import os

# Threads that wait by spinning stall each other wherever another process wants a core: beside one busy process on two
# cores, training ran at 11 images/s spinning and at 121 sleeping. It is read once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# cuBLAS adds up in one order only with a workspace of its own for each stream; read when it is first used.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
