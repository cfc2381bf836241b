"""Linear probes on SentEval's transfer sets, [CLS] and mean pooling at every layer: Sentence-BERT's Table 5 and more.

python -m experiments.probe senteval --encoder DIR_OR_HUB_ID --senteval-dir DIR
"""

from pathlib import Path

from experiments.settings import ProbeRun

NAME = "senteval"
config = ProbeRun(
    suite="senteval",
    tasks=("mr", "cr", "subj", "mpqa", "sst2", "trec", "mrpc"),
    out=Path("runs/probe-senteval"),
)
