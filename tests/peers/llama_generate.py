"""llama.cpp's speed of generating with a GGUF, as the yardstick of our language models: prints one JSON line.

    python3 tests/peers/llama_generate.py GGUF STEPS [THREADS]        (xllamacpp)

One step is what language_model.py's `generate` does: 128 greedy tokens for each of 8 prompts of 64 random tokens.
They go as 8 concurrent requests to llama.cpp's own server in this process, which decodes them as one batch. It
multiplies with the quantised weights, where the others use float32: that is its way of being fast, and belongs here.
"""

import json
import os
import platform
import random
import statistics
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in language_model.py

import xllamacpp

BATCH, PROMPT, NEW, VOCABULARY = 8, 64, 128, 49152


def serve(gguf: str, threads: int) -> xllamacpp.Server:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = gguf
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_gpu_layers = 0
    parameters.n_parallel = BATCH
    parameters.n_ctx = BATCH * 256
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(parameters)


def generate(address: str, prompt: list[int]) -> None:
    body = {
        "prompt": prompt,
        "n_predict": NEW,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,  # every step does the whole work
        "return_tokens": True,
    }
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{address}/completion", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        tokens = json.load(response)["tokens"]
    assert len(tokens) == NEW


def peak_memory_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(status["VmHWM"].split()[0]) / 1024, 1)


def main() -> None:
    gguf, steps = sys.argv[1], int(sys.argv[2])
    threads = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    server = serve(gguf, threads)
    random.seed(1)
    prompts = [[random.randrange(VOCABULARY) for _ in range(PROMPT)] for _ in range(BATCH)]
    wall, cpu = [], []
    with ThreadPoolExecutor(BATCH) as clients:
        for _ in range(1 + steps):
            start = time.perf_counter(), time.process_time()
            list(clients.map(generate, [server.listening_address] * BATCH, prompts))
            wall.append(1e3 * (time.perf_counter() - start[0]))
            cpu.append(1e3 * (time.process_time() - start[1]))
    measured = {
        "work": "generate",
        "wall_ms": round(statistics.median(wall[1:]), 1),  # the first warms up
        "cpu_ms": round(statistics.median(cpu[1:]), 1),
        "peak_memory_mb": peak_memory_mb(),
        "steps": steps,
        "threads": threads,
        "versions": {"python": platform.python_version(), "xllamacpp": version("xllamacpp")},
    }
    print(json.dumps(measured))


main()
