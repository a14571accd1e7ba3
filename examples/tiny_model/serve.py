"""Serve a tiny language model with random weights, with OpenAI's interface, by llama.cpp.

Its answers make no sense, but the server is a real one, and all is there within a second.  For
answers that make sense, start another server in its place, such as ``vllm serve`` or
``llama-server``.  It needs two packages: ``pip install xllamacpp gguf``.

    python serve.py --port 8000
"""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WIDTH, HIDDEN, HEADS, CONTEXT = 32, 64, 2, 4096


def write_model(path: Path) -> None:
    """Write a model of one layer to *path*: its tokens are bytes and letters."""
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    kinds = gguf.TokenType
    tokens = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)]
    tokens += [(chr(code).replace(" ", "\u2581"), kinds.NORMAL) for code in range(32, 127)]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    shapes = {
        "token_embd": (len(tokens), WIDTH),
        "output": (len(tokens), WIDTH),
        **{f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate": (HIDDEN, WIDTH),
        "blk.0.ffn_up": (HIDDEN, WIDTH),
        "blk.0.ffn_down": (WIDTH, HIDDEN),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.4, shape).astype("f4"))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, "f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--parallel", type=int, default=4, help="answers at once")
    options = parser.parse_args()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before there are threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        write_model(path)
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.model_alias = {"tiny"}
        settings.port = options.port
        settings.n_ctx = CONTEXT * options.parallel
        settings.n_parallel = options.parallel
        settings.endpoint_slots = True
        # With more, they wait for each other on a busy machine, and this model has no work for two.
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
        server = xllamacpp.Server(settings)
        print(f"listening on {server.listening_address}/v1", flush=True)
        signal.sigwait(signals)
        del server


if __name__ == "__main__":
    main()
