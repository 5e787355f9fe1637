"""What all tests share."""

import os

# One thread a process, here and in the commands that tests start: the networks are tiny, and on a busy machine threads
# wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
