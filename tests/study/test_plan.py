"""The commands of a run folder are kept in their order, each once."""

from bert_jax.study.plan import note_command, read_commands


def test_each_command_is_kept_once(tmp_path):
    assert read_commands(tmp_path) == []
    for command in (
        "python -m experiments.sts sts",
        "",
        "python -m experiments.probe",
        "python -m experiments.sts sts",
    ):
        note_command(tmp_path, command)
    assert read_commands(tmp_path) == ["python -m experiments.sts sts", "python -m experiments.probe"]
