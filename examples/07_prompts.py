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
    models = f"http://127.0.0.1:{port}/v1/models"
    local = await factory.create_backend("concurrent")
    prompts = await factory.create_backend("inference", config={"max_tokens": 60, "max_workers": 4})
    async with WorkflowEngine.create([local, prompts]) as flow:

        @flow.executable_task(service=True, ready_url=models, timeout=600)
        def serve() -> str:
            return server.format(port=port)

        @flow.prompt_task
        def explain(word: str, models: str) -> Prompt:
            question = f"Explain {word!r} in one sentence."
            return Prompt(question, options={"base_url": models.removesuffix("/models")})

        @flow.prompt_task(retries=2)
        def judge(word: str, explanation: Answer, models: str) -> Prompt[Verdict]:
            question = f"How good is this explanation of {word!r}? {explanation}"
            options = {"base_url": models.removesuffix("/models"), "max_tokens": 200}
            return Prompt(question, options=options)

        @flow.function_task
        def summarise(explanations: list[Answer], verdicts: list[Verdict]) -> str:
            cost = sum(answer.usage.total_tokens for answer in explanations if answer.usage)
            best = max(verdicts, key=lambda verdict: verdict.score)
            return f"{len(explanations)} explanations for {cost} tokens; best score {best.score}"

        up = serve()  # its info, the address that answered, goes into the prompts
        explanations = [explain(word, up) for word in WORDS]
        verdicts = [judge(*both, up) for both in zip(WORDS, explanations, strict=True)]
        print(await summarise(explanations, verdicts))
        await up.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default=TINY + " --port {port}", help="the command")
    asyncio.run(main(parser.parse_args().server))
