"""Fine-tune a plain `AutoModelForSequenceClassification` on a GLUE task and save it as transformers does.

It makes the folders that `bench advise` was tried on; nothing of ExitBench takes part.

    python finetune.py HUB TASK OUT --model DIR [--type roberta --layers 6 --hidden 256]
                       [--epochs 3] [--rows 20000] [--rate 1e-4]
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

TEXTS = {"sst2": ("sentence",), "mrpc": ("sentence1", "sentence2")}


def make_model(args: argparse.Namespace, names: list[str]) -> torch.nn.Module:
    """Load the weights of `--model` with a new classifier; with `--type` start from scratch at the size given."""
    numbers = {name: at for at, name in enumerate(names)}
    labels: dict[str, Any] = {"id2label": dict(enumerate(names)), "label2id": numbers, "num_labels": len(names)}
    if not args.type:
        return AutoModelForSequenceClassification.from_pretrained(args.model, **labels)
    size = {"vocab_size": len(AutoTokenizer.from_pretrained(args.model))}
    heads = args.hidden // 64
    if args.type == "distilbert":
        size |= {"dim": args.hidden, "n_layers": args.layers, "n_heads": heads, "hidden_dim": 4 * args.hidden}
    else:
        size |= {"hidden_size": args.hidden, "num_hidden_layers": args.layers, "num_attention_heads": heads}
        size |= {"intermediate_size": 4 * args.hidden}
    if args.type == "roberta":
        size |= {"max_position_embeddings": 514, "type_vocab_size": 1}
        size |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(args.type, **size, **labels))


def main() -> None:
    """Train with AdamW, a linear decay after 10 % warm-up and bf16 products; print the accuracy on validation rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("hub", type=Path)
    parser.add_argument("task", choices=TEXTS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--type", choices=["roberta", "distilbert", "bert"])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rate", type=float, default=1e-4)
    args = parser.parse_args()
    torch.manual_seed(0)
    data = load_dataset(str(args.hub / "datasets/nyu-mll/glue"), args.task)
    names = data["train"].features["label"].names
    tokenizer = AutoTokenizer.from_pretrained(args.model, model_max_length=128)
    model = make_model(args, names)
    train = data["train"].shuffle(seed=0)
    train = train.select(range(min(args.rows or len(train), len(train))))

    def encode(rows: dict[str, Any]) -> dict[str, torch.Tensor]:
        texts = (list(rows[key]) for key in TEXTS[args.task])
        return tokenizer(*texts, truncation=True, max_length=128, padding=True, return_tensors="pt")

    size, steps = 32, args.epochs * -(-len(train) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.01)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    for epoch in range(args.epochs):
        model.train()
        order = torch.randperm(len(train)).tolist()
        for start in range(0, len(order), size):
            rows = train[order[start : start + size]]
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(**encode(rows), labels=torch.tensor(rows["label"])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if start // size % 50 == 0:
                print(epoch, start, round(loss.item(), 4), flush=True)
        model.eval()
        right = 0
        for start in range(0, len(data["validation"]), 64):
            rows = data["validation"][start : start + 64]
            with torch.inference_mode():
                right += (model(**encode(rows)).logits.argmax(-1) == torch.tensor(rows["label"])).sum().item()
        print(f"epoch {epoch}: {right / len(data['validation']):.4f} of the validation rows", flush=True)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
