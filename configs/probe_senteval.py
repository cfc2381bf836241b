"""Linear probes on SentEval's transfer sets, [CLS] and mean pooling at every layer: Sentence-BERT's Table 5 and more.

Took 22 minutes on one CPU core with all-MiniLM-L6-v2 (results/sbert-table5). The table has for the last layer of
BERT-base, in the order of these tasks: mean 78.66 86.25 94.37 88.66 84.40 92.8 69.45, [CLS] 78.68 84.85 94.21 88.23
84.13 91.4 71.13. About 110,000 texts, most of them of SST-2, are read once.
With `--protocol senteval --layers last` the heads are SentEval's own, for figures beside the table's.

python -m experiments.probe senteval --encoder DIR_OR_HUB_ID --senteval-dir DIR
"""

from pathlib import Path

from experiments.settings.frozen import ProbeRun

NAME = "senteval"
config = ProbeRun(
    suite="senteval",
    tasks=("mr", "cr", "subj", "mpqa", "sst2", "trec", "mrpc"),
    out=Path("runs/probe-senteval"),
)
