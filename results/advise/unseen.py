"""Write rows that `finetune.py` did not train on as a CSV of texts and label names, which `bench advise --data` reads.

python unseen.py HUB sst2 OUT.csv    6,000 rows of train from the 30,000th on, in finetune.py's order
python unseen.py HUB mrpc OUT.csv    the test and the validation rows
"""

import csv
import sys
from pathlib import Path

from datasets import concatenate_datasets, load_dataset
from finetune import TEXTS

hub, task, out = sys.argv[1:]
data = load_dataset(str(Path(hub) / "datasets/nyu-mll/glue"), task)
if task == "sst2":
    rows = data["train"].shuffle(seed=0).select(range(30_000, 36_000))
else:
    rows = concatenate_datasets([data["test"], data["validation"]])
names = rows.features["label"].names
with Path(out).open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow([*(TEXTS[task] if len(TEXTS[task]) > 1 else ("text",)), "label"])
    writer.writerows([*(row[key] for key in TEXTS[task]), names[row["label"]]] for row in rows)
