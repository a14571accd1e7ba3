"""Start a server for a language model, ask it, and score its answers: one workflow.

    python examples/07_prompts.py
    python examples/07_prompts.py --server "vllm serve my/model --port {port}"

The default is a real server with a tiny model whose answers make no sense.  It needs two packages
more: ``pip install xllamacpp gguf``.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import socket
import sys
from pathlib import Path

import httpx
from pydantic import BaseModel, Field
from radical.asyncflow import Answer, Prompt, WorkflowEngine, factory

TINY = f"{shlex.quote(sys.executable)} {Path(__file__).parent / 'tiny_model/serve.py'}"
WORDS = ["entropy", "enzyme", "eclipse", "estuary"]


class Verdict(BaseModel):
    """The only JSON that the model may answer with when it judges an explanation."""

    score: int = Field(ge=0, le=9)
    clear: bool


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def main(server: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    local = await factory.create_backend("concurrent")
    prompts = await factory.create_backend(
        "inference", config={"base_url": url, "max_tokens": 60, "max_workers": 4}
    )
    async with WorkflowEngine.create([local, prompts]) as flow:

        @flow.executable_task
        def serve() -> str:
            return server.format(port=port)

        @flow.block
        async def server_is_up() -> str:
            """Wait until the server answers; its address goes into the prompts."""
            async with httpx.AsyncClient() as client:
                while True:
                    try:
                        if (await client.get(f"{url}/models")).status_code == 200:
                            return url
                    except httpx.TransportError:
                        await asyncio.sleep(0.1)

        @flow.prompt_task
        def explain(word: str, server: str) -> Prompt:
            return Prompt(f"Explain {word!r} in one sentence.", options={"base_url": server})

        @flow.prompt_task(retries=2)
        def judge(word: str, explanation: Answer) -> Prompt[Verdict]:
            question = f"How good is this explanation of {word!r}? {explanation}"
            return Prompt(question, options={"max_tokens": 200})

        @flow.function_task
        def summarise(explanations: list[Answer], verdicts: list[Verdict]) -> str:
            cost = sum(answer.usage.total_tokens for answer in explanations if answer.usage)
            best = max(verdicts, key=lambda verdict: verdict.score)
            return f"{len(explanations)} explanations for {cost} tokens; best score {best.score}"

        running = serve()
        address = server_is_up()
        explanations = [explain(word, address) for word in WORDS]
        verdicts = [judge(*both) for both in zip(WORDS, explanations, strict=True)]
        summary = summarise(explanations, verdicts)
        await asyncio.wait([running, summary], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()  # raises with what the server said when it ended
        print(await summary)
        running.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default=TINY + " --port {port}", help="the command")
    asyncio.run(main(parser.parse_args().server))
