"""Makes the small fixtures of the language-model tests: what transformers and PEFT compute, for ours to agree with.

    python3 tests/peers/fixtures.py TINY GGUF        (torch, transformers 5, peft, safetensors, gguf)

TINY is a folder with the two given checkpoints `llama` and `mistral`, which are copied; GGUF is SmolLM2-135M-Instruct,
from which only the chat template is taken. Everything is written below tests/fixtures/language_model:

- FAMILY/{config.json,model.safetensors,reference.json}: a random checkpoint per architecture, with its logits at the
  last position, the logsumexp of the logits at every position, and 12 greedy tokens (float32, eager attention);
  llama3/config_v4.json is the same configuration as transformers 4, and so most of the model hub, spells it;
- lora/CASE: an adapter of `llama` as PEFT saves it, its loss and gradients on one batch, and 50 steps of AdamW on it;
- pickled: the checkpoint `llama` as torch.save writes it; malicious.bin: a pickle that runs a command when read;
- chat_templates.json: conversations as the templates in chat_templates/ (smollm2.jinja is written, the others are
  there already) render them.

The seeds are fixed: on one machine, running it again writes the same bytes.
"""

import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

import gguf
import jinja2
import peft
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

OUT = Path(__file__).parents[1] / "fixtures" / "language_model"
MADE_WITH = {
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "peft": peft.__version__,
    "jinja2": jinja2.__version__,
    "dtype": "float32",
    "attention": "eager",
}
VOCABULARY, PROMPT, NEW = 320, 21, 12
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attn_implementation": "eager",
}
# The wavelengths at this theta and head size are 6, 15, 35, 84, ... positions: below 64 / 4 they stay as they are,
# above 64 / 1 they are stretched, and one lies in between. All three cases act within 20 tokens.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES = {
    "llama3": transformers.LlamaConfig(
        **SIZES, head_dim=16, tie_word_embeddings=False, rope_parameters={"rope_theta": 1000.0, **LLAMA3_ROPE}
    ),
    "qwen2": transformers.Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(**SIZES, head_dim=12, tie_word_embeddings=False),
    "mistral_window": transformers.MistralConfig(**SIZES, sliding_window=5, tie_word_embeddings=False),
}
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "qv": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
    "all_rslora": {"r": 3, "lora_alpha": 6, "target_modules": LINEARS, "use_rslora": True},
}
SPECIAL_TOKENS = {
    "smollm2": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "mistral": ("<s>", "</s>"),
    "qwen2.5": (None, "<|im_end|>"),
    "qwen3": (None, "<|im_end|>"),
}
SYSTEM = {"role": "system", "content": "You recommend films.\nAnswer with one title."}
QUESTION = {"role": "user", "content": " I liked “Alien” & <Amélie>; what next? "}
ANSWER = {"role": "assistant", "content": "Blade Runner"}
THOUGHT = {"role": "assistant", "content": "<think>\nThey like the future.\n</think>\n\nBlade Runner"}
CONVERSATIONS = [
    ([SYSTEM, QUESTION], True),
    ([QUESTION, ANSWER, {"role": "user", "content": "Seen it."}], True),
    ([SYSTEM, QUESTION, ANSWER], False),
    ([QUESTION, THOUGHT], False),
    ([QUESTION, THOUGHT, QUESTION], True),
    ([QUESTION, QUESTION], True),
]

# At 1e-2 the curve of the case `all_rslora` is chaotic: another order of additions changes the loss by 0.1 within 30 steps.
LEARNING_RATE = 1e-3


def rounded(tensor: torch.Tensor) -> list[float]:
    return [round(x, 6) for x in tensor.tolist()]


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


@torch.no_grad()
def randomize(model: torch.nn.Module) -> None:
    """Draws every parameter, the norms and the biases too, so that none is a one or a zero that hides a mistake."""
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.uniform_(0.5, 1.5)
        else:
            parameter.normal_(std=0.3)


@torch.no_grad()
def reference(model: torch.nn.Module, ids: torch.Tensor) -> dict:
    logits = model(ids[None]).logits[0]
    greedy = ids
    for _ in range(NEW):  # without a cache, so that nothing depends on how one treats a window
        best = model(greedy[None]).logits[0, -1].topk(2)
        assert best.values[0] - best.values[1] > 1e-3, "a tie would make the greedy tokens depend on rounding"
        greedy = torch.cat([greedy, best.indices[:1]])
    return {
        "made_with": MADE_WITH,
        "input_ids": ids.tolist(),
        "logits_last": rounded(logits[-1]),
        "logsumexp": rounded(logits.logsumexp(-1)),
        "greedy": greedy.tolist(),
    }


def save_checkpoint(folder: Path, model: transformers.PreTrainedModel) -> None:
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()


def make_family(name: str, config: transformers.PreTrainedConfig, seed: int) -> None:
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    randomize(model)
    ids = torch.randint(3, VOCABULARY, (PROMPT,))
    save_checkpoint(OUT / name, model)
    write_json(OUT / name / "reference.json", reference(model, ids))
    if name == "llama3":
        make_config_v4(OUT / name, ids)


def make_config_v4(folder: Path, ids: torch.Tensor) -> None:
    """Writes the configuration in the older spelling, and checks that it is the same model."""
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope, "torch_dtype": config.pop("dtype")}
    config["transformers_version"] = "4.56.0"
    with tempfile.TemporaryDirectory() as other:
        shutil.copyfile(folder / "model.safetensors", Path(other, "model.safetensors"))
        Path(other, "config.json").write_text(json.dumps(config))
        old, new = (load(path)(ids[None]).logits for path in (other, folder))
    assert torch.equal(old, new)
    (folder / "config_v4.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load(folder: Path | str) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()


def padded(sequences: list[list[int]], fill: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s in sequences], True, fill)


def make_adapter(case: str, options: dict, seed: int) -> None:
    torch.manual_seed(seed)
    folder = OUT / "lora" / case
    folder.mkdir(parents=True, exist_ok=True)
    config = peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **options)
    model = peft.get_peft_model(load(OUT / "llama"), config)
    config.base_model_name_or_path = "llama"
    config.target_modules = sorted(options["target_modules"])  # a set until here, whose order differs between runs
    adapter = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in adapter.values():
            parameter.normal_(std=0.2)
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved, save_embedding_layers=False)  # otherwise it asks a hub about "llama"
        for file in ("adapter_model.safetensors", "adapter_config.json"):
            shutil.copyfile(Path(saved, file), folder / file)

    lengths, prompts = (24, 17, 9), (11, 6, 3)
    sequences = [torch.randint(3, VOCABULARY, (length,)).tolist() for length in lengths]
    labels = [[-100] * prompt + ids[prompt:] for ids, prompt in zip(sequences, prompts)]
    batch = {
        "input_ids": padded(sequences, 0),
        "attention_mask": padded([[1] * length for length in lengths], 0),
        "labels": padded(labels, -100),
    }
    first = model(torch.tensor(sequences[:1])).logits[0, -1].detach()
    loss = model(**batch).loss
    loss.backward()
    assert math.isclose(loss.item(), loss_one_by_one(model, sequences, labels), rel_tol=1e-5)
    save_file({name.replace(".default", ""): p.grad for name, p in adapter.items()}, folder / "gradients.safetensors")
    write_json(
        folder / "reference.json",
        {
            "made_with": MADE_WITH,
            "input_ids": sequences,
            "labels": labels,
            "loss": round(loss.item(), 6),
            "logits_last": rounded(first),
            "optimizer": {"name": "AdamW", "lr": LEARNING_RATE, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
            "losses": train(model, list(adapter.values()), batch),
        },
    )


@torch.no_grad()
def loss_one_by_one(model: torch.nn.Module, sequences: list[list[int]], labels: list[list[int]]) -> float:
    """The mean over all supervised tokens, from one unpadded sequence at a time: padding must not change it."""
    total, count = 0.0, 0
    for ids, label in zip(sequences, labels):
        target = torch.tensor(label[1:])
        total += F.cross_entropy(model(torch.tensor([ids])).logits[0, :-1], target, reduction="sum").item()
        count += int((target != -100).sum())
    return total / count


def train(model: torch.nn.Module, parameters: list[torch.nn.Parameter], batch: dict) -> list[float]:
    """The loss before each of 50 steps on the same batch."""
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses = []
    for _ in range(50):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(round(loss.item(), 6))
    return losses


def make_chat_templates(smollm2: Path) -> None:
    folder = OUT / "chat_templates"
    template = gguf.GGUFReader(smollm2).fields["tokenizer.chat_template"].contents()
    (folder / "smollm2.jinja").write_text(template, encoding="utf-8")
    cases = []
    for name, (bos, eos) in SPECIAL_TOKENS.items():
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel({})),
            bos_token=bos,
            eos_token=eos,
            chat_template=(folder / f"{name}.jinja").read_text(encoding="utf-8"),
        )
        for messages, prompt in CONVERSATIONS:
            case = {"template": name, "bos_token": bos, "eos_token": eos}
            case |= {"messages": messages, "add_generation_prompt": prompt}
            try:
                case["text"] = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            except jinja2.TemplateError as error:  # what a template says of conversations that it does not take
                case["error"] = str(error)
            cases.append(case)
    write_json(OUT / "chat_templates.json", {"made_with": MADE_WITH, "cases": cases})


class Command:
    """Creates a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ablate-was-here",)


def make_pickles() -> None:
    folder = OUT / "pickled"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(OUT / "llama" / "config.json", folder / "config.json")
    torch.save(load_file(OUT / "llama" / "model.safetensors"), folder / "pytorch_model.bin")
    torch.save({"model.norm.weight": Command()}, OUT / "malicious.bin")


def main() -> None:
    tiny, smollm2 = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    for name in ("llama", "mistral"):
        (OUT / name).mkdir(parents=True, exist_ok=True)
        for file in ("config.json", "model.safetensors", "reference.json"):
            shutil.copyfile(tiny / name / file, OUT / name / file)
    for seed, (name, config) in enumerate(FAMILIES.items()):
        make_family(name, config, seed)
    for seed, (case, options) in enumerate(ADAPTERS.items()):
        make_adapter(case, options, seed)
    make_pickles()
    make_chat_templates(smollm2)


main()
