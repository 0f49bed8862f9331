"""What PEFT makes of an adapter that ablate trained: prints the logits of some tokens as JSON, `[[...], ...]`.

    python3 tests/peers/adapter.py MODEL ADAPTER TOKENS        (torch, transformers 5, peft)

MODEL is a folder in Hugging Face's format, ADAPTER the folder that holds adapter_config.json and
adapter_model.safetensors, TOKENS a JSON array. In float32 with eager attention.
"""

import json
import sys

import peft
import torch
import transformers

model, adapter, tokens = sys.argv[1:]
base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager")
adapted = peft.PeftModel.from_pretrained(base, adapter).eval()
with torch.no_grad():
    print(json.dumps(adapted(torch.tensor([json.loads(tokens)])).logits[0].tolist()))
