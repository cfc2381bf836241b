"""Killed while it copies, a pretraining goes on from its copy on an empty disk, and ends with the same bits.

With real servers where they are installed: moto for s3://, gcp-storage-emulator for gs://.
"""

import importlib.util
import random
import re
import shutil
import signal
import time
from contextlib import contextmanager

import processes
import pytest
from amounts import SEED, amount

from bert_jax.remote import Remote
from bert_jax.train.log import read_log
from bert_jax.train.mirror import LIST
from bert_jax.train.throughput import TIMES

KILLS = amount("MIRROR_KILLS", 1)
SETTINGS = (
    "tiny --documents 40 --vocab.size 200 --pretrain.max-length 24 --pretrain.batch-size 8 "
    "--eval-examples 40 --pretrain.steps 150 --log-every 7 --eval-every 150 --save-every 5 --keep-every 50"
).split()
PATIENCE = 3600
"""Seconds after which a process that does nothing has hung, on however busy a machine."""
MODEL = 151
"""The step after the last."""
SERVERS = {"file": "fsspec", "s3": "moto", "gs": "gcp_storage_emulator"}
"""Scheme -> the package that it needs."""


@contextmanager
def server(scheme, folder, monkeypatch):
    """The address of an empty folder, and the variables by which it is found."""
    if scheme == "file":
        yield f"file://{folder}/bucket", {}
    elif scheme == "s3":
        import s3fs
        from moto.server import ThreadedMotoServer

        moto = ThreadedMotoServer(port=0, verbose=False)
        moto.start()
        keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
        keys["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*moto.get_host_and_port())
        set_all(monkeypatch, keys)
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket/some/run", keys
        moto.stop()
    else:
        from gcp_storage_emulator.server import create_server

        port = processes.free_port()
        emulator = create_server("localhost", port, in_memory=True, default_bucket="bucket")
        emulator.start()
        variables = {"STORAGE_EMULATOR_HOST": f"http://localhost:{port}", "NO_GCE_CHECK": "true"}
        variables["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
        set_all(monkeypatch, variables)
        yield "gs://bucket/some/run", variables
        emulator.stop()


def set_all(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def outcome(out):
    lines = [{name: value for name, value in line.items() if name not in TIMES} for line in read_log(out)]
    return (out / "model" / "model.safetensors").read_bytes(), lines


def complete(names):
    """Steps of the complete checkpoints, and `MODEL` for a complete model."""
    found = [name.removesuffix(LIST).rpartition("/")[2] for name in names if name.endswith(LIST)]
    return {MODEL if name == "model" else int(name) for name in found}


def halves(names):
    """Folders of which a part is there."""
    folders = {"/".join(name.split("/")[: 2 if name.startswith("checkpoints") else 1]) for name in names if "/" in name}
    return {folder for folder in folders if not folder.endswith(LIST) and folder + LIST not in names}


def kill_in_a_copy(process, remote, before, draw):
    """Kill a process while it copies the first, second or third folder that is new, or soon after."""
    after = draw.choice([0, 0, 1, 2])

    def copies():
        names = remote.names()
        return len(complete(names) - before) >= after and halves(names)

    processes.wait_for(copies, process, PATIENCE)
    time.sleep(draw.choice([0, 0, 0.01, 0.03, 0.1]))
    process.kill()


@pytest.mark.parametrize("scheme", SERVERS)
def test_a_killed_run_goes_on_from_its_copy_on_an_empty_disk(scheme, tmp_path, monkeypatch):
    if importlib.util.find_spec(SERVERS[scheme]) is None:
        pytest.skip(f"{SERVERS[scheme]} is not installed")
    whole = processes.start([*SETTINGS, "--out", str(tmp_path / "whole")], tmp_path)
    status, text = processes.finish(whole, tmp_path, PATIENCE)
    assert status == 0, text
    draw, moments, inside, runs = random.Random(f"{SEED}-{scheme}"), [], 0, 0
    with server(scheme, tmp_path, monkeypatch) as (address, variables):
        while len(moments) < KILLS:
            runs += 1
            out, remote = tmp_path / "out", Remote(f"{address}{runs}", "--mirror")
            arguments = [*SETTINGS, "--out", str(out), "--mirror", f"{address}{runs}"]
            status, before = -signal.SIGKILL, set()
            while status == -signal.SIGKILL:
                shutil.rmtree(out, ignore_errors=True)
                process = processes.start(arguments, tmp_path, environment=variables)
                if len(moments) < KILLS:
                    kill_in_a_copy(process, remote, before, draw)
                status, text = processes.finish(process, tmp_path, PATIENCE)
                newest, names = max(before, default=0), remote.names()
                said = re.search(r"going on from step (\d+) of", text)
                assert int(said[1]) == newest if said else status != 0 or newest in (0, MODEL), text
                before = complete(names)
                assert max(before, default=0) >= newest, "a complete one is lost"
                if status == -signal.SIGKILL:
                    moments.append(max(before, default=0))
                    inside += bool(halves(names))
            assert status == 0, text
            assert outcome(out) == outcome(tmp_path / "whole")
            assert remote.read("model/model.safetensors") == outcome(out)[0] and {150, MODEL} <= complete(names)
    print(f"{scheme}: {KILLS} kills in {runs} runs, {inside} inside of a copy, with the newest complete one {moments}")
