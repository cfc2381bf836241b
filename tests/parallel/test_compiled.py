"""The cost of a program is read from its text as XLA prints it, and one that is too large is refused with its size."""

import jax
import jax.numpy as jnp
import pytest

from bert_jax.parallel.compiled import Collective, TooLarge, compile_cost, read_cost

HLO = """HloModule jit_step

%sum.1 (a.1: f32[], b.1: f32[]) -> f32[] {
  %a.1 = f32[] parameter(0)
  ROOT %add.9 = f32[] add(%a.1, %a.1), backend_config={"estimated_cycles":"999"}
}

%body.1 (p.1: (s32[], f32[8]{0:T(128)})) -> (s32[], f32[8]) {
  %p.1 = (s32[], f32[8]{0:T(128)}) parameter(0)
  ROOT %f.1 = (s32[]{:T(128)}, /*index=1*/f32[8]{0:T(8,128)S(1)}) fusion(%p.1), x={"estimated_cycles":"10"}
}

%condition.1 (p.2: (s32[], f32[8])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(7)
  ROOT %lt.1 = pred[] compare(%constant.1, %constant.1), direction=LT
}

ENTRY %main.1 (x.1: f32[8]) -> f32[8] {
  %while.1 = (s32[], f32[8]{0:T(128)}) while(%x.1), condition=%condition.1, body=%body.1
  %w.2 = (s32[], f32[8]) while(%x.1), condition=%condition.1, body=%body.1, x={"known_trip_count":{"n":"3"}}
  %a.1 = (f32[8]{0:T(128)}, /*index=1*/f32[2,3]{1,0:T(8,128)S(1)}, s32[], bf16[4]) all-reduce(%x.1), to_apply=%sum.1
  ROOT %copy.1 = f32[8]{0} copy(%x.1), backend_config={"flags":[],"estimated_cycles":"1000"}
}
"""


def test_cycles_count_loops_as_often_as_they_run_and_collectives_have_the_bytes_of_their_results():
    collectives, cycles = read_cost(HLO)
    assert cycles == 1000 + 7 * 10 + 3 * 10
    assert collectives == [Collective("all-reduce", {"f32": 14, "s32": 1, "bf16": 4}, 4 * 14 + 4 + 2 * 4)]


class Refused:
    def __init__(self, message):
        self.message = message

    def compile(self):
        raise jax.errors.JaxRuntimeError(self.message)


@pytest.mark.parametrize(
    "message",
    [
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (20.50G) exceeds "
        "available HBM (15.75G).",
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
        "Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.",
    ],
)
def test_a_program_that_is_too_large_is_refused_with_its_size(message):
    with pytest.raises(TooLarge, match=r"needs 20.5 GiB of 15.8") as error:
        compile_cost(Refused(message))
    assert error.value.needed == 20.5 * 2**30


def test_another_error_of_the_compiler_is_not_taken_for_one_of_memory():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        compile_cost(Refused("INTERNAL: 20.50G of 15.75G"))


def test_the_memory_is_that_of_the_compiled_program():
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)
    cost = compile_cost(jax.jit(lambda x: jnp.outer(x, x) @ x).lower(x))
    assert 8000 <= cost.memory < 5e6 and cost.collectives == []
