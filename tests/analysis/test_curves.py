"""The curves show every measurement that was logged, under its name."""

import numpy as np

from bert_jax.analysis.curves import draw_curves, running_mean


def line(step, split, **values):
    return {"step": step, "split": split, "time": 0.0, **values}


LINES = [
    *(line(step, "train", mlm_loss=10 / step, mlm_accuracy=step / 100, nsp_accuracy=0.5) for step in range(10, 70, 10)),
    *(line(step, "heldout", mlm_loss=12 / step, mlm_accuracy=step / 110, nsp_accuracy=0.6) for step in (30, 60)),
]


def curves(figure):
    """title -> [the points of each line]."""
    return {
        axes.get_title(loc="left"): [np.array(curve.get_xydata()) for curve in axes.get_lines()] for axes in figure.axes
    }


def test_each_measure_has_a_panel_with_both_texts():
    found = curves(draw_curves(LINES))
    assert list(found) == ["loss of masked tokens (nats)", "accuracy of masked tokens", "accuracy of sentence pairs"]
    raw, mean, held_out = found["accuracy of masked tokens"]
    np.testing.assert_allclose(raw, [[step, step / 100] for step in range(10, 70, 10)])
    np.testing.assert_allclose(held_out, [[30, 30 / 110], [60, 60 / 110]])
    np.testing.assert_allclose(mean, raw)  # so few points are not averaged


def test_what_was_not_measured_has_no_panel():
    lines = [line(10, "train", mlm_loss=1.0, mlm_accuracy=0.5)]
    assert list(curves(draw_curves(lines))) == ["loss of masked tokens (nats)", "accuracy of masked tokens"]


def test_a_run_that_has_measured_nothing_has_curves_too():
    assert len(draw_curves([]).axes) == 1


def test_a_running_mean_is_over_what_came_before():
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0, 8.0, 1.0]), 3), [1, 2, 4, 4])
    np.testing.assert_allclose(running_mean(np.array([1.0, 3.0]), 1), [1, 3])
    assert running_mean(np.zeros(0), 3).shape == (0,)
