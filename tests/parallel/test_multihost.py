"""One run on one process with four devices, on two with two each, and on one device in four pieces is one run."""

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import processes
import pytest

from bert_jax.train.log import read_log

STEPS = 20
SETTINGS = (
    "tiny --documents 30 --vocab.size 150 --log-every 1 --eval-every 10 --save-every 10 "
    f"--pretrain.steps {STEPS} --pretrain.batch-size 16 --pretrain.max-length 24 "
    "--pretrain.optim.learning-rate 0.01"
).split()


def hosts_of(number):
    port = processes.free_port()
    return [f"--coordinator localhost:{port} --num-hosts {number} --host {host}".split() for host in range(number)]


def run_hosts(folder, number, *arguments, seconds=120):
    """(exit status, output) of each host of a run with two devices each."""
    running = [
        processes.start([*SETTINGS, *arguments, *host], folder, 2, folder / f"seen{i}.npy")
        for i, host in enumerate(hosts_of(number))
    ]
    return [processes.finish(process, folder, seconds) for process in running]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of each way to run the same."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "two", "pieces")}
    ends = {"two": run_hosts(folders["two"], 2, "--out", str(folders["two"] / "run"))}
    for name, devices, more in [("one", 4, []), ("pieces", 1, ["--pretrain.accumulate", "4"])]:
        folder = folders[name]
        arguments = [*SETTINGS, *more, "--out", str(folder / "run")]
        ends[name] = [processes.run(arguments, folder, devices=devices, record=folder / "seen0.npy")]
    assert all(status == 0 for end in ends.values() for status, _ in end), ends
    return folders


def measured(folder, split, *names):
    lines = [line for line in read_log(folder / "run") if line["split"] == split]
    return np.array([[line[name] for name in names] for line in lines])


def seen(folder):
    """The token ids of each step [steps B L], one host's rows after the other's."""
    return np.concatenate([np.load(path) for path in sorted(folder.glob("seen*.npy"))], axis=1)


@pytest.mark.parametrize("name", ["two", "pieces"])
def test_the_same_examples_are_seen_and_no_host_takes_anothers(runs, name):
    assert seen(runs["one"]).shape == (STEPS, 16, 24)
    np.testing.assert_array_equal(seen(runs[name]), seen(runs["one"]))
    if name == "two":
        assert [np.load(runs["two"] / f"seen{host}.npy").shape for host in (0, 1)] == [(STEPS, 8, 24)] * 2


@pytest.mark.parametrize("name", ["two", "pieces"])
def test_the_losses_are_the_same_up_to_rounding(runs, name):
    """With dropout: a row draws the same, wherever it is computed."""
    names = ("loss", "mlm_loss", "nsp_loss", "grad_norm", "padding")
    found, wanted = (measured(runs[key], "train", *names) for key in (name, "one"))
    assert found.shape == (STEPS, len(names)) and np.ptp(wanted[:, 0]) > 0.3, "something is learned"
    np.testing.assert_allclose(found, wanted, rtol=2e-5)


@pytest.mark.parametrize("name", ["two", "pieces"])
def test_held_out_text_is_evaluated_the_same(runs, name):
    names = ("mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy")
    found, wanted = (measured(runs[key], "heldout", *names) for key in (name, "one"))
    assert found.shape == (2, len(names))
    np.testing.assert_allclose(found, wanted, rtol=2e-5)


def test_the_first_host_alone_talks_and_writes(runs):
    folder = runs["two"]
    texts = [path.read_text() for path in folder.glob("output-*.txt")]
    assert sum("is complete" in text for text in texts) == 1 and sum("held out" in text for text in texts) == 1
    assert (folder / "run" / "model" / "model.safetensors").exists() and (folder / "run" / "curves.png").exists()


def test_two_hosts_stop_together_and_go_on_as_one_that_never_stopped(runs, tmp_path):
    """SIGTERM goes to the second host; then the run is finished by a single host with four devices."""
    out = tmp_path / "run"
    arguments = [*SETTINGS, "--out", str(out), "--save-every", "1000"]
    hosts = [processes.start([*arguments, *host], tmp_path, 2) for host in hosts_of(2)]
    log = out / "metrics.jsonl"
    processes.wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") >= 2, hosts[0])
    hosts[1].terminate()
    ends = [processes.finish(host, tmp_path) for host in hosts]
    if {status for status, _ in ends} != {0}:  # the signal takes a moment, in which a run may end
        assert [status for status, _ in ends] == [143, 143], ends
        assert "stopped by SIGTERM; the state is saved" in ends[0][1] and not (out / "model").exists()
        stopped = json.loads(log.read_bytes().splitlines()[-1])["step"]
        assert 2 <= stopped < STEPS and (out / "checkpoints" / str(stopped)).is_dir()
    assert processes.run(arguments, tmp_path, devices=4)[0] == 0
    found, wanted = (measured(folder, "train", "loss") for folder in (tmp_path, runs["one"]))
    np.testing.assert_allclose(found, wanted, rtol=2e-5)


def test_a_batch_that_the_devices_cannot_share_is_refused_on_every_host(tmp_path):
    ends = run_hosts(tmp_path, 2, "--out", str(tmp_path / "run"), "--pretrain.batch-size", "18", seconds=60)
    assert [status for status, _ in ends] == [2, 2]
    for _, text in ends:
        assert "error: --pretrain.batch-size 18 does not divide by the 4 devices; use 16 or 20" in text


def test_what_the_first_host_is_refused_ends_the_others_too(tmp_path):
    """Only the first one looks at the run folder."""
    (tmp_path / "run").write_text("")
    ends = run_hosts(tmp_path, 2, "--out", str(tmp_path / "run"), seconds=60)
    assert [status for status, _ in ends] == [2, 2]
    assert re.search(rf"error: cannot write to {tmp_path}/run: .*--out", ends[0][1])
    assert "error: host 0 cannot go on; see what it says" in ends[1][1]


ALONE = """
import sys
from bert_jax.parallel import devices

devices.HEARTBEAT = 5
devices.join_hosts(sys.argv[1], 2, int(sys.argv[2]))
with devices.together():
    print("here", flush=True)
if sys.argv[2] == sys.argv[3]:
    input()
with devices.together():
    print("not reached", flush=True)
"""


@pytest.mark.parametrize(("lost", "said"), [(1, r"unhealthy \(stopped sending heartbeats\):\s+1\s"), (0, "leader")])
def test_a_killed_host_ends_the_other_with_an_error_that_says_which(lost, said):
    """Which waits for it in a collective operation. Host 0 is the one that all others ask."""
    address, pipe = f"localhost:{processes.free_port()}", subprocess.PIPE
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", ALONE, address, str(host), str(lost)],
            cwd=processes.ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True,
        )
        for host in (0, 1)
    ]  # fmt: skip
    for host in hosts:
        while "here" not in (line := host.stdout.readline()):
            assert line, "it ended"
    hosts[lost].kill()
    begin = time.monotonic()
    text, _ = hosts[1 - lost].communicate(timeout=100)
    hosts[lost].communicate()
    assert time.monotonic() - begin < 60 and hosts[1 - lost].returncode not in (0, None)
    assert re.search(said, text) and "not reached" not in text, text


def test_hosts_find_each_other_by_what_slurm_tells_them(tmp_path):
    """They know of all four devices, and so refuse what two could share."""
    arguments = [*SETTINGS, "--out", str(tmp_path / "run"), "--distributed", "auto", "--pretrain.batch-size", "18"]
    job = {"SLURM_JOB_ID": str(processes.free_port()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    job |= {"JAX_COORDINATOR_PORT": job["SLURM_JOB_ID"]}
    tasks = [job | {"SLURM_PROCID": str(host), "SLURM_LOCALID": str(host)} for host in (0, 1)]
    running = [processes.start(arguments, tmp_path, 2, environment=task) for task in tasks]
    for status, text in [processes.finish(process, tmp_path, 60) for process in running]:
        assert status == 2 and "18 does not divide by the 4 devices" in text


def test_hosts_that_cannot_be_found_are_named(tmp_path):
    arguments = [*SETTINGS, "--out", str(tmp_path / "run"), "--distributed", "auto"]
    status, text = processes.run(arguments, tmp_path)
    assert status == 2 and "error: cannot join a cluster (--distributed auto)" in text
