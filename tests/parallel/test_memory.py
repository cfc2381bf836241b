"""Memory that is freed stays with the process, whichever of its threads had it."""

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource, threading
import experiments.ablate_pooling, experiments.pretrain
import jax, numpy as np
from bert_jax.parallel.devices import prepare_process

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

prepare_process()
work = jax.jit(lambda x: (x @ x).sum())  # which has 16 MB inside
x = np.ones((2048, 2048), np.float32)

def compute():
    for _ in range(8):
        work(x).block_until_ready()

compute()
before = page_faults()
for _ in range(5):
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
print(page_faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone")
def test_scripts_keep_freed_memory():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    steps, pages = 40, 2**24 // 4096
    assert int(done.stdout) < steps * pages / 100
