"""The loop pauses where it is told to, keeps the devices busy in between, and stops at the first bad step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.train.loop import Diverged, Watch, fit
from bert_jax.train.step import TrainState


def scripted(losses, first=0, **options):
    """`fit` over a step that does nothing and reports these losses."""
    events = []

    def step(state, batch, key):
        events.append(("step", int(batch[0])))
        return state._replace(step=state.step + 1), {"loss": jnp.float32(losses[int(batch[0])]), "grad_norm": 1.0}

    state = TrainState(jnp.int32(first), {}, ())
    batches = [np.full(1, number) for number in range(len(losses))]
    return events, fit(step, state, batches, jax.random.key(0), **options)


def test_it_yields_where_it_is_told_to_pause_and_after_the_last_step():
    asked, watched = [], []
    _, steps = scripted(
        [5, 4, 3, 2, 1],
        first=10,
        pause=lambda step: asked.append(step) or step % 4 == 0,
        watch=lambda step, metrics: watched.append((step, metrics["loss"])),
    )
    assert [(step, int(state.step), metrics["loss"]) for step, state, metrics in steps] == [(12, 12, 4), (15, 15, 1)]
    assert asked == [11, 12, 13, 14, 15], "once for each step"
    assert watched == [(11, 5), (12, 4), (13, 3), (14, 2), (15, 1)], "every step, in its order"


def test_the_devices_have_steps_to_do_while_metrics_are_looked_at_but_not_more_than_a_few():
    events, steps = scripted(
        [1.0] * 12,
        pause=lambda step: step == 8,
        watch=lambda step, metrics: events.append(("watched", step)),
    )
    list(steps)
    given = 0
    for number, (what, step) in enumerate(events):
        given += what == "step"
        if what == "watched":
            ahead = given - step
            assert 0 <= ahead <= 2
            assert ahead == 2 or step >= 7, f"no step was given ahead of step {step}: {events[:number]}"


def test_at_a_pause_every_step_has_been_looked_at():
    seen = []
    _, steps = scripted([1.0] * 9, pause=lambda step: step == 5, watch=lambda step, metrics: seen.append(step))
    step, _, _ = next(steps)
    assert step == 5 and seen == [1, 2, 3, 4, 5]


def test_a_bad_step_between_two_pauses_is_the_one_that_is_named():
    seen = []
    _, steps = scripted([1, 2, np.nan, 4, 5, 6], pause=lambda step: False, watch=lambda step, _: seen.append(step))
    with pytest.raises(Diverged, match="the loss is nan at step 3") as error:
        list(steps)
    assert error.value.step == 3 and seen == [1, 2]


def feed(watch, losses, first=1):
    for step, loss in enumerate(losses, start=first):
        watch(step, {"loss": loss, "grad_norm": 1.0})


def test_a_loss_far_above_its_running_median_is_a_spike():
    watch = Watch(3.0)
    feed(watch, [9.0] * 10 + [2.0] * 30)
    feed(watch, [5.9], first=41)
    with pytest.raises(Diverged, match=r"the loss is 6\.1, 3\.0 times its running median, at step 42") as error:
        feed(watch, [6.1], first=42)
    assert error.value.step == 42


def test_the_median_is_over_the_last_hundred_steps():
    watch = Watch(3.0)
    feed(watch, [9.0] * 100 + [1.0] * 49)
    feed(watch, [5.0], first=150)
    feed(watch, [1.0, 1.0, 1.0])
    with pytest.raises(Diverged):
        feed(watch, [5.0])


def test_the_first_steps_have_no_median_yet():
    feed(Watch(3.0), [1.0] * 19 + [100.0])
    with pytest.raises(Diverged, match="step 21"):
        feed(Watch(3.0), [1.0] * 20 + [100.0])


def test_zero_lets_any_finite_loss_pass():
    losses = [1.0] * 50 + [1e6]
    feed(Watch(0.0), losses)
    with pytest.raises(Diverged, match="step 51"):
        feed(Watch(3.0), losses)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_stops_the_run_though_its_loss_is(bad):
    with pytest.raises(Diverged, match=f"the norm of the gradient is {bad} at step 7"):
        Watch(0.0)(7, {"loss": 1.0, "grad_norm": float(bad)})
