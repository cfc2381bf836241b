"""A linear probe of an encoder in which [CLS] sees only itself in some blocks."""

from bert_jax.config import ProbeConfig
from bert_jax.study.regime import Regime
from bert_jax.study.regimes.probe import run_probes

regime = Regime("knockout", "[CLS] blind", ProbeConfig, run_probes, section="probe")
