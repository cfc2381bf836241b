"""Spec strings are read, never run."""

import pytest

from bert_jax.config import ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.spec import Spec, parse_spec, parse_sum


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("mean", Spec("mean")),
        ("  mean ", Spec("mean")),
        ("mean()", Spec("mean")),
        ("-2", Spec("index", (-2,))),
        ("0", Spec("index", (0,))),
        ("avg(1, -1)", Spec("avg", (1, -1))),
        ("attention(num_heads=4)", Spec("attention", (), {"num_heads": 4})),
        (
            "mylab.poolers.Gated(temperature=2.0, on=True)",
            Spec("mylab.poolers.Gated", (), {"temperature": 2.0, "on": True}),
        ),
        ("f('+', [1, 2], g=(-1e-3, None))", Spec("f", ("+", [1, 2]), {"g": (-1e-3, None)})),
    ],
)
def test_a_single_spec(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


def test_a_sum_keeps_order_and_repeats() -> None:
    specs = parse_sum("cls+gem(p=2.0) + -1 + cls")
    assert specs == [Spec("cls"), Spec("gem", (), {"p": 2.0}), Spec("index", (-1,)), Spec("cls")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "mean,",
        "mean +",
        "+ mean",
        "mean - cls",
        "mean * 2",
        "'mean'",
        "1.5",
        "True",
        "mean(",
        "mean(x)",
        "mean(num_heads=n)",
        "mean(**{'a': 1})",
        "mean(*[1])",
        "mean()()",
        "mean[0]",
        "f().g",
        "a.b.",
        ".a",
        "lambda: 0",
        "mean; cls",
        "mean\ncls",
        "mean(1)(2)",
        "__import__('os').getcwd()",
        "mean(__import__('os').getcwd())",
        "me an",
        "\x00",
        "(" * 500,
    ],
)
def test_what_is_no_spec_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"cannot read the spec .*attention\(num_heads=4\)"):
        parse_sum(text)


def test_a_sum_where_one_is_needed() -> None:
    with pytest.raises(InputError, match=r"'last \+ 0' is a sum of specs where a single one is needed"):
        parse_spec("last + 0")


@pytest.mark.parametrize("part", ["layers", "pooling", "projection"])
def test_a_readout_is_read_when_it_is_made(part: str) -> None:
    with pytest.raises(InputError, match=r"cannot read the spec 'mean\('"):
        ReadoutConfig(**{part: "mean("})
