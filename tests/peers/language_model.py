"""What transformers and PEFT need for SmolLM2-135M, as the yardstick of our language models: prints one JSON line.

    python3 tests/peers/language_model.py GGUF WORK STEPS [THREADS] [--check REFERENCE]
                                                            (torch, transformers 5, peft, gguf)

One step of each WORK, in float32 with SDPA attention:

- forward: the logits of 4 x 256 tokens at every position;
- lora: forward, backward and AdamW step of a rank-8 adapter of q_proj and v_proj, 4 x 256 supervised tokens;
- generate: 128 greedy tokens for each of 8 prompts of 64;
- score_one_by_one: two answer logits for each of 21 prompts of 400 + about 12 tokens, one at a time;
- score_shared: the same, the common 400 tokens computed once and the 21 endings as one batch on top of them.

`wall_ms` and `cpu_ms` (of all threads) are medians over the steps; the peak memory includes loading, and the
libraries, which alone need `import_memory_mb`. --check compares the logits with smollm2_reference_logits.json first,
and the two ways of scoring with each other; that takes more memory than the work, so do not measure with it.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads would count as CPU time, and slow other work down

import gguf
import numpy as np
import peft
import torch
import transformers

VOCABULARY, ANSWERS = 49152, [9904, 3725]
TENSORS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
    "token_embd": "embed_tokens",
    "output_norm": "norm",
}


def load(path: str) -> transformers.LlamaForCausalLM:
    """Dequantises a GGUF of the architecture `llama` with tied embeddings to float32."""
    reader = gguf.GGUFReader(path)

    def field(name: str):
        return reader.fields[f"llama.{name}"].contents()

    config = transformers.LlamaConfig(
        vocab_size=field("vocab_size"),
        hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"),
        num_attention_heads=field("attention.head_count"),
        num_key_value_heads=field("attention.head_count_kv"),
        max_position_embeddings=field("context_length"),
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")},
        tie_word_embeddings=True,
    )
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {}
    for tensor in reader.tensors:
        *block, kind, _ = tensor.name.split(".")  # blk.3.attn_q.weight, token_embd.weight
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if kind in heads:  # llama.cpp interleaves the halves that rotary embeddings pair
            rows, columns = value.shape
            value = value.reshape(heads[kind], -1, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        layer = f"layers.{block[1]}." if block else ""
        state[f"model.{layer}{TENSORS[kind]}.weight"] = torch.from_numpy(np.array(value, dtype=np.float32))
    model = transformers.LlamaForCausalLM.from_pretrained(
        None, config=config, state_dict=state, dtype=torch.float32, attn_implementation="sdpa"
    )
    return model.eval()


def forward(model: transformers.LlamaForCausalLM) -> Callable[[], torch.Tensor]:
    ids = torch.randint(VOCABULARY, (4, 256))
    return torch.inference_mode()(lambda: model(ids, use_cache=False).logits)


def lora(model: transformers.LlamaForCausalLM) -> Callable[[], torch.Tensor]:
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, config).train()
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.randint(VOCABULARY, (4, 256))

    def step() -> torch.Tensor:
        loss = adapted(input_ids=ids, labels=ids, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    return step


def generate(model: transformers.LlamaForCausalLM) -> Callable[[], torch.Tensor]:
    ids, new = torch.randint(VOCABULARY, (8, 64)), 128
    options = {"do_sample": False, "min_new_tokens": new, "max_new_tokens": new, "pad_token_id": 2, "eos_token_id": 2}
    mask = torch.ones_like(ids)
    return lambda: model.generate(ids, attention_mask=mask, **options)


def candidates() -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A prefix of 400 tokens and 21 endings of 10 to 14."""
    return torch.randint(VOCABULARY, (400,)), [torch.randint(VOCABULARY, (10 + i % 5,)) for i in range(21)]


def score_one_by_one(model: transformers.LlamaForCausalLM) -> Callable[[], torch.Tensor]:
    prefix, endings = candidates()
    prompts = [torch.cat([prefix, ending])[None] for ending in endings]

    @torch.inference_mode()
    def step() -> torch.Tensor:
        return torch.stack([model(p, use_cache=False, logits_to_keep=1).logits[0, -1, ANSWERS] for p in prompts])

    return step


def score_shared(model: transformers.LlamaForCausalLM) -> Callable[[], torch.Tensor]:
    prefix, endings = candidates()
    last = torch.tensor([len(ending) - 1 for ending in endings])
    padded = torch.nn.utils.rnn.pad_sequence(endings, batch_first=True)  # nothing attends to padding on the right
    rows = torch.arange(len(endings))

    @torch.inference_mode()
    def step() -> torch.Tensor:
        cache = transformers.DynamicCache(config=model.config)
        model.model(prefix[None], past_key_values=cache)
        cache.batch_repeat_interleave(len(endings))
        states = model.model(padded, past_key_values=cache).last_hidden_state
        return model.lm_head(states[rows, last])[:, ANSWERS]

    return step


@torch.inference_mode()
def check(model: transformers.LlamaForCausalLM, reference: Path) -> None:
    expected = json.loads(reference.read_text())["prompts"][0]
    logits = model(torch.tensor([expected["token_ids"]])).logits[0]
    top = expected["last_pos_top20"]
    ours = logits[-1].topk(20)
    assert ours.indices.tolist() == [t["id"] for t in top]
    torch.testing.assert_close(ours.values, torch.tensor([t["logit"] for t in top]), rtol=0, atol=1e-3)
    scores = []
    for scoring in (score_one_by_one, score_shared):
        torch.manual_seed(1)
        scores.append(scoring(model)())
    torch.testing.assert_close(*scores, rtol=0, atol=1e-3)


def peak_memory_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(status["VmHWM"].split()[0]) / 1024, 1)


def main() -> None:
    works = {work.__name__: work for work in (forward, lora, generate, score_one_by_one, score_shared)}
    import_memory_mb = peak_memory_mb()
    parser = argparse.ArgumentParser()
    parser.add_argument("gguf")
    parser.add_argument("work", choices=works)
    parser.add_argument("steps", type=int)
    parser.add_argument("threads", type=int, nargs="?", default=2)
    parser.add_argument("--check", type=Path, metavar="REFERENCE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.disable_progress_bar()
    model = load(arguments.gguf)
    if arguments.check:
        check(model, arguments.check)

    torch.manual_seed(1)
    step = works[arguments.work](model)
    step()  # warms up
    wall, cpu = [], []
    for _ in range(arguments.steps):
        start = time.perf_counter(), time.process_time()
        step()
        wall.append(1e3 * (time.perf_counter() - start[0]))
        cpu.append(1e3 * (time.process_time() - start[1]))
    measured = {
        "work": arguments.work,
        "wall_ms": round(statistics.median(wall), 1),
        "cpu_ms": round(statistics.median(cpu), 1),
        "peak_memory_mb": peak_memory_mb(),
        "import_memory_mb": import_memory_mb,
        "steps": arguments.steps,
        "threads": arguments.threads,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
    }
    print(json.dumps(measured))


main()
