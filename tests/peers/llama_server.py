"""Serves a GGUF with llama.cpp behind an OpenAI-compatible address, to test against a server that is not ours.

    python3 tests/peers/llama_server.py GGUF PORT        (xllamacpp)

Prints `ready http://127.0.0.1:PORT` once /health answers (PORT 0 takes a free one), and goes away when its standard
input closes, so that it never outlives the test that started it.
"""

import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads are slow as soon as anything else runs

import xllamacpp


def wait_until_healthy(address: str) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):  # not listening yet, or 503 while the model loads
            time.sleep(0.1)


def main() -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.model_alias = {Path(sys.argv[1]).stem}  # the name it answers to, instead of a path
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(sys.argv[2])
    parameters.n_gpu_layers = 0
    parameters.n_parallel = 2
    parameters.n_ctx = 4096
    parameters.cpuparams.n_threads = 2
    server = xllamacpp.Server(parameters)
    wait_until_healthy(server.listening_address)
    print("ready", server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # without waiting for requests under way


main()
