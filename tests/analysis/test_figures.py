"""Nothing that a figure says is cut off at its edges."""

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bert_jax.analysis.figures import draw_heat_maps


@pytest.mark.parametrize("tasks", [("SST-2",), ("SST-2", "TREC", "MR", "CR")])
def test_the_caption_of_a_heat_map_is_within_the_figure_and_its_axis_has_a_name(tasks):
    names = [f"{layer}/{pooling}/none" for layer in range(3) for pooling in ("cls", "mean")]
    lines = [
        {"regime": "probe", "label": task, "metric": "accuracy", "readout": name, "mean": 70.0 + place}
        for task in tasks
        for place, name in enumerate(names)
    ]
    compared = pd.DataFrame(columns=["regime", "label", "p_adjusted", "readout"])
    figure = draw_heat_maps(pd.DataFrame(lines), compared)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert figure.axes[0].get_ylabel() == "layer"
    for text in [*figure.texts, *(axes.title for axes in figure.axes)]:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width, text.get_text()
