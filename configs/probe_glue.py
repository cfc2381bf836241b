"""Linear probes on GLUE's small tasks, [CLS] and mean pooling at every layer.

Not run for the record yet. About 35,000 texts are read once.

python -m experiments.probe glue --encoder DIR_OR_HUB_ID
"""

from pathlib import Path

from experiments.settings.frozen import ProbeRun

NAME = "glue"
config = ProbeRun(suite="glue", tasks=("cola", "mrpc", "stsb", "rte"), out=Path("runs/probe-glue"))
