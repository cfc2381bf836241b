"""Checkpoints are restored bit for bit after any interruption, and damaged ones are never used."""

import json
import logging
import os
import pickle
import random
import resource
import shutil
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from amounts import SEED, amount

from bert_jax.errors import InputError
from bert_jax.train.state_checkpoints import Checkpoints
from bert_jax.train.step import TrainState, init_state

OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2))


def state_of(seed=0, width=40):
    """A state after two updates, with arrays of all kinds: a scalar, an odd shape, bfloat16, a NaN, an infinity."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(width, 33)).astype(np.float32)
    kernel[0, :3] = np.nan, np.inf, -0.0
    params = {"dense": {"kernel": kernel, "bias": np.ones(3, jnp.bfloat16)}, "scale": np.float32(1.5)}
    state = init_state(params, OPTIMIZER)
    for _ in range(2):
        grads = jax.tree.map(lambda x: jnp.full_like(x, 0.1), state.params)
        updates, opt_state = OPTIMIZER.update(grads, state.opt_state, state.params)
        state = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
    return state


def at(step, seed=0):
    return state_of(seed)._replace(step=jnp.int32(step))


def assert_same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == np.asarray(y).tobytes()


def save(folder, *steps, **settings):
    with Checkpoints(folder, **settings) as checkpoints:
        for step in steps:
            checkpoints.save(step, at(step, seed=step))


def restored(folder, like=None):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.restore(state_of() if like is None else like)


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def test_nothing_saved_is_nothing_found(tmp_path):
    with Checkpoints(tmp_path / "new" / "folder") as checkpoints:
        assert checkpoints.restore(state_of()) is None and checkpoints.wait() is None


def test_the_newest_state_comes_back_bit_for_bit(tmp_path):
    save(tmp_path, 9, 10)
    assert_same(restored(tmp_path), at(10, seed=10))


def test_what_is_saved_is_the_state_of_that_moment_though_the_next_step_overwrites_it(tmp_path):
    """On a CPU a donated buffer is written to in place, while the checkpoint of it is still being written."""
    step = jax.jit(lambda x: jax.tree.map(lambda y: y + 1, x), donate_argnums=0)
    state = TrainState(jnp.int32(0), {"kernel": jnp.zeros((1000, 1000))}, ())
    with Checkpoints(tmp_path, keep_last=10) as checkpoints:
        for number in range(1, 6):
            before, state = state, step(state)
            assert before.params["kernel"].is_deleted(), "a checkpoint holds on to the memory of a state"
            checkpoints.save(number, state)
        for _ in range(20):
            state = step(state)
        for number in range(5, 0, -1):
            found = checkpoints.restore(state)
            assert int(found.step) == number and (found.params["kernel"] == number).all()
            os.rename(tmp_path / str(number), tmp_path / "aside")
            os.rename(tmp_path / "aside", tmp_path.parent / f"aside{number}")
            checkpoints._manager.reload()


def test_the_newest_are_kept_and_those_of_every_so_many_steps(tmp_path):
    save(tmp_path, *range(10, 100, 10), keep_last=2, keep_every=30)
    assert steps_in(tmp_path) == [30, 60, 80, 90]


def test_one_step_is_saved_once(tmp_path):
    save(tmp_path, 10)
    before = (tmp_path / "10" / "_CHECKPOINT_METADATA").stat().st_mtime_ns
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(10, at(10, seed=3))
        assert checkpoints.wait() == 10
    assert (tmp_path / "10" / "_CHECKPOINT_METADATA").stat().st_mtime_ns == before


def test_what_was_being_written_when_a_run_was_killed_is_not_taken_for_a_checkpoint(tmp_path):
    save(tmp_path, 10)
    (tmp_path / "20.orbax-checkpoint-tmp" / "default").mkdir(parents=True)
    assert int(restored(tmp_path).step) == 10
    save(tmp_path, 30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "30"]


DAMAGES = {
    "truncated": lambda path, content: path.write_bytes(content[: len(content) // 2]),
    "empty": lambda path, content: path.write_bytes(b""),
    "missing": lambda path, content: path.unlink(),
    "flipped": lambda path, content: path.write_bytes(
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    ),
}


def restored_from_damaged(folder):
    """The step that comes back of 10 and 20, bit for bit and with a warning if it is not the newest."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = restored(folder)
    step = int(found.step)
    assert_same(found, at(step, seed=step))
    assert (folder / "20.damaged").exists() == (step == 10) == bool(caught)
    for message in {str(warning.message) for warning in caught}:
        assert message.startswith(f"checkpoint 20 in {folder} is damaged (")
        assert message.endswith("); going on from step 10") and "\n" not in message
    return step


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints 10 and 20."""
    folder = tmp_path_factory.mktemp("saved")
    save(folder, 10, 20)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """`copy()`: a new folder with the same checkpoints."""
    return lambda: Path(shutil.copytree(saved, tmp_path / str(len([*tmp_path.iterdir()]))))


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_to_any_file_passes_unseen(saved, copy, damage):
    """The newest comes back as it was, or the one before does, with a warning; never anything else."""
    files = [path for path in sorted((saved / "20").rglob("*")) if path.is_file() and path.stat().st_size]
    steps = []
    for path in files:
        folder = copy()
        DAMAGES[damage](folder / path.relative_to(saved), path.read_bytes())
        steps.append(restored_from_damaged(folder))
    assert steps.count(10) >= 2, "some file holds the arrays, and some file says where they are"


FOLDER_DAMAGES = {
    "missing": shutil.rmtree,
    "empty": lambda path: [shutil.rmtree(path), path.mkdir()],
    "a file": lambda path: [shutil.rmtree(path), path.write_text("")],
}


@pytest.mark.parametrize("damage", FOLDER_DAMAGES)
def test_no_damage_to_any_folder_costs_more_than_its_checkpoint(saved, copy, damage):
    folders = [path for path in sorted((saved / "20").rglob("*")) if path.is_dir()]
    assert {path.name for path in folders} >= {"default", "d", "ocdbt.process_0"}
    for path in folders:
        folder = copy()
        FOLDER_DAMAGES[damage](folder / path.relative_to(saved))
        assert restored_from_damaged(folder) == 10
    folder = copy()
    FOLDER_DAMAGES[damage](folder / "20")
    if damage == "empty":
        assert restored_from_damaged(folder) == 10
    else:  # nobody can know that there was a checkpoint
        assert_same(restored(folder), at(10, seed=10))
    save(folder, 20)
    assert_same(restored(folder), at(20, seed=20))


def test_bits_that_flip_anywhere_cost_no_more_than_their_checkpoint(saved, copy):
    """As those of keys and numbers of a JSON file, which may stay valid. CONTRIBUTING has the command for many more."""
    draw = random.Random(SEED)
    files = [path for path in sorted((saved / "20").rglob("*")) if path.is_file()]
    steps = []
    for number in range(amount("FLIPS", 30)):
        path = files[number % len(files)]
        content = bytearray(path.read_bytes())
        for _ in range(draw.choice([1, 3])):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        folder = copy()
        (folder / path.relative_to(saved)).write_bytes(content)
        steps.append(restored_from_damaged(folder))
        shutil.rmtree(folder / "10")
    assert steps.count(10) >= 2, "some file holds the arrays, and some file says where they are"


@pytest.mark.parametrize(
    "change",
    [
        {"init_timestamp_nsecs": "yesterday"},
        {"commit_timestamp_nsecs": 10**30},
        {"custom_metadata": 3},
        {"custom_metadata": {"a": 1}, "unknown": 2},
        {"item_handlers": 5},
    ],
)
def test_a_time_that_cannot_be_read_keeps_no_checkpoint_from_being_used(copy, change):
    """Neither the newest's nor an older one's."""
    folder = copy()
    for step in (10, 20):
        path = folder / str(step) / "_CHECKPOINT_METADATA"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert restored_from_damaged(folder) == 20


def test_several_damaged_ones_are_all_passed_over(tmp_path):
    save(tmp_path, 10, 20, 30)
    shutil.rmtree(tmp_path / "30" / "default")
    (tmp_path / "40").mkdir()
    damage(tmp_path, 20)
    with pytest.warns(UserWarning) as caught:
        assert int(restored(tmp_path).step) == 10
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 3 and all("going on from step 10" in message for message in messages)
    for message, (step, reason) in zip(messages, [(40, "default"), (30, "default"), (20, "checksum")], strict=True):
        assert f"checkpoint {step} in {tmp_path} is damaged (" in message and reason in message
    assert steps_in(tmp_path) == [10]


def damage(folder, step):
    """Flip a bit in the largest file, which holds the arrays."""
    path = max((path for path in (folder / str(step)).rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    DAMAGES["flipped"](path, path.read_bytes())


def test_a_run_that_fell_back_saves_the_damaged_step_again(tmp_path):
    save(tmp_path, 10, 20)
    damage(tmp_path, 20)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match="20 .* is damaged .*checksum.*going on from step 10"):
            checkpoints.restore(state_of())
        assert checkpoints.wait() == 10
        checkpoints.save(20, at(20, seed=5))
    assert_same(restored(tmp_path), at(20, seed=5))


def test_where_none_can_be_read_nothing_begins_anew_by_itself(tmp_path):
    save(tmp_path, 10, 20)
    for step in (10, 20):
        damage(tmp_path, step)
    with pytest.raises(InputError, match=r"none of the checkpoints 20, 10 in .* can be read \(the newest: .*checksum"):
        restored(tmp_path)
    assert steps_in(tmp_path) == [10, 20]


def test_a_checkpoint_of_another_model_is_not_cut_to_fit(tmp_path):
    save(tmp_path, 10)
    for width in (20, 60):
        with pytest.raises(InputError, match="none of the checkpoints 10"):
            restored(tmp_path, like=state_of(width=width))


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"cannot write to {tmp_path}/file.*--out"):
        Checkpoints(tmp_path / "file")


def test_a_folder_that_cannot_be_looked_through_is_named(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    level = logging.getLogger("absl").level
    monkeypatch.setattr("orbax.checkpoint.CheckpointManager", refuse)
    with pytest.raises(
        InputError,
        match=rf"cannot look through {tmp_path}: Permission denied; there is none before\. Use",
    ):
        Checkpoints(tmp_path)
    assert logging.getLogger("absl").level == level


def test_a_full_disk_is_said_and_what_was_saved_before_is_whole(tmp_path):
    """A limit on the size of files, which the operating system sets, stands for the size of the disk."""
    save(tmp_path, 10)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (
        pytest.raises(InputError, match=r"cannot write .*File too large; the one of step 10 is whole\. Make room"),
        Checkpoints(tmp_path) as checkpoints,
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
        try:
            checkpoints.save(20, at(20, seed=20))
            checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert steps_in(tmp_path) == [10]
    assert_same(restored(tmp_path), at(10, seed=10))
    save(tmp_path, 20)
    assert steps_in(tmp_path) == [10, 20]


def test_a_checkpoint_executes_nothing(tmp_path, monkeypatch):
    """Not even where it names code that could be imported."""
    save(tmp_path, 10)
    (tmp_path / "evil_checkpoint_code.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "10" / "_CHECKPOINT_METADATA"
    metadata = json.loads(path.read_text())
    assert "default" in metadata["item_handlers"]
    path.write_text(json.dumps(metadata | {"item_handlers": {"default": "evil_checkpoint_code.Handler"}}))
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, lambda *args, **kwargs: pytest.fail("something was unpickled"))
    assert_same(restored(tmp_path), at(10, seed=10))
    assert "evil_checkpoint_code" not in sys.modules
