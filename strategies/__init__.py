"""The table of contents: name -> "module:Name", and nothing else."""

STRATEGIES = {
    "elbert-label": "strategies.elbert:ElbertLabel",
    "elbert-mono": "strategies.elbert:ElbertMono",
    "elbert-range": "strategies.elbert:ElbertRange",
    "entropy": "strategies.entropy:Entropy",
    "full": "strategies.controls:Full",
}

HEADS = {
    "linear": "strategies.entropy:LinearHead",
    "shared": "strategies.elbert:SharedHead",
}

RECIPES = {
    "elbert": "strategies.elbert:ElbertRecipe",
    "finetune": "strategies.controls:FinetuneRecipe",
    "joint": "strategies.entropy:JointRecipe",
}
