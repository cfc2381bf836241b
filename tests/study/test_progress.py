"""Where the output is no terminal, progress is said in lines, and not too often."""

from bert_jax.study import progress


def test_a_line_is_printed_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress_bar() as bar:
        runs = bar.add_task("runs", total=42, completed=2, note="")
        steps = bar.add_task("CoLA", total=None, note="")
        for second in range(0, 70, 10):
            now[0] = float(second)
            bar.update(steps, completed=10 * second, note="loss 0.5")
        bar.advance(runs)
        lines = capsys.readouterr().err.splitlines()
    assert lines == ["runs 2 of 42; CoLA 300, loss 0.5", "runs 2 of 42; CoLA 600, loss 0.5"]
