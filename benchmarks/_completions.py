"""A server that answers every prompt at once: ``python -m benchmarks._completions``.

It prints its address, and ends when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys

REPLY = {
    "model": "echo",
    "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
}
BODY = json.dumps(REPLY).encode()
HEAD = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line[15:])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            await reader.readexactly(length)
            writer.write(HEAD.encode() + BODY)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1")
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
