"""Attention knockout: a linear probe of an encoder whose [CLS] attends only to itself in some blocks."""

from bert_jax.config import ProbeConfig
from bert_jax.evaluate.probe import is_random
from bert_jax.study.regime import Regime, lacks_training
from bert_jax.study.regimes.probe import joins_pairs, run_probes

regime = Regime(
    "knockout",
    "[CLS] blind",
    ProbeConfig,
    run_probes,
    lacks_training,
    is_random=is_random,
    section="probe",
    joins_pairs=joins_pairs,
)
