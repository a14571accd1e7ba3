"""Keep the limits per minute: pure counting, and the queue of those who wait for their turn.

A limit holds in *any* 60 seconds, not only from one full minute to the next.  So a request counts
until 60 seconds after it was certainly sent.  Its tokens count until 60 seconds after its end:
until then as many as it can possibly have, from then on as many as the server counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

__all__ = ["Limits", "Permit", "Window"]

SPAN_S = 60.0
"""Seconds for which limits are given."""

MARGIN_S = 0.1
"""Seconds that a request may be faster on its way to the server than the one before it."""


class Entry:
    """Something that counts in a `Window`.

    Attributes:
        cost: how much it counts.
        ended: True if it counts for another 60 seconds only.
    """

    __slots__ = ("cost", "ended")

    def __init__(self, cost: int) -> None:
        self.cost = cost
        self.ended = False


class Window:
    """A limit on what counts in any 60 seconds; times are in seconds of one clock.

    Attributes:
        limit: how much may count.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._sum = 0
        self._ended: deque[tuple[float, int]] = deque()  # (until when it counts, cost)

    def delay(self, now: float, cost: int) -> float | None:
        """Return the seconds until *cost* fits; 0 if it fits now.

        None means that this depends on an entry that has not ended.  What is beyond the limit
        alone fits when nothing else counts.
        """
        ended = self._ended
        while ended and ended[0][0] <= now:
            self._sum -= ended.popleft()[1]
        excess = self._sum + min(cost, self.limit) - self.limit
        if excess <= 0:
            return 0.0
        for until, freed in ended:
            excess -= freed
            if excess <= 0:
                return until - now
        return None

    def add(self, cost: int) -> Entry:
        """Let *cost* count from now on."""
        self._sum += cost
        return Entry(cost)

    def end(self, entry: Entry, now: float, cost: int | None = None) -> None:
        """Let *entry* count for another 60 seconds, with its real *cost* if that is known.

        An entry that ended before stays as it is.
        """
        if entry.ended:
            return
        entry.ended = True
        if cost is not None:
            self._sum += cost - entry.cost
            entry.cost = cost
        self._ended.append((now + SPAN_S + MARGIN_S, entry.cost))


class Permit:
    """The permission to send one request."""

    def __init__(self, limits: Limits, request: Entry | None, tokens: Entry | None) -> None:
        self._limits = limits
        self._request = request
        self._tokens = tokens

    def sent(self) -> None:
        """Note that the request is on its way as a whole."""
        self._limits.end_request(self._request)

    def end(self, tokens: int | None) -> None:
        """Note that the request ended and cost so many *tokens*; None if that is not known."""
        self._limits.end_request(self._request)
        self._limits.end_tokens(self._tokens, tokens)


class _Waiter(NamedTuple):
    turn: asyncio.Future[Permit]
    tokens: int


class Limits:
    """The limits of one engine, and the requests that wait, the oldest first."""

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._requests = None if requests_per_minute is None else Window(requests_per_minute)
        self._tokens = None if tokens_per_minute is None else Window(tokens_per_minute)
        self._waiters: deque[_Waiter] = deque()
        self._paused_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, tokens: int) -> Permit:
        """Wait for the turn of a request that costs at most so many *tokens*."""
        waiter = _Waiter(self._loop.create_future(), tokens)
        self._waiters.append(waiter)
        self._serve()
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.turn.done() and not waiter.turn.cancelled():
                waiter.turn.result().end(0)  # nothing is sent for it
            self._serve()
            raise

    def state(self) -> tuple[str, float | None]:
        """Return what the next request waits for, in words, and the seconds until it is sent.

        The words are "" if nothing holds it up; None if the seconds are not known.
        """
        tokens = next((tokens for turn, tokens in self._waiters if not turn.done()), None)
        if tokens is None:
            return "", None
        now = self._loop.time()
        if self._paused_until > now:
            return "the server, which has asked to wait", self._paused_until - now
        for window, cost, what in (
            (self._requests, 1, "requests"),
            (self._tokens, tokens, "tokens"),
        ):
            if window is not None:
                delay = window.delay(now, cost)
                if delay is None or delay > 0:
                    return f"the limit of {window.limit:,} {what} a minute", delay
        return "", None

    def pause(self, seconds: float) -> None:
        """Send nothing for so many *seconds*, because the server said so."""
        self._paused_until = max(self._paused_until, self._loop.time() + seconds)
        self._serve()

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def end_request(self, entry: Entry | None) -> None:
        if self._requests is not None and entry is not None:
            self._requests.end(entry, self._loop.time())
            self._serve()

    def end_tokens(self, entry: Entry | None, cost: int | None) -> None:
        if self._tokens is not None and entry is not None:
            self._tokens.end(entry, self._loop.time(), cost)
            self._serve()

    def _serve(self) -> None:
        """Give a permit to each of the oldest that may have one; look again when one more may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:
            turn, tokens = self._waiters[0]
            if turn.done():  # it was cancelled
                self._waiters.popleft()
                continue
            delay = self._delay(tokens)
            if delay is None:
                return  # the end of a request serves again
            if delay > 0:
                self._timer = self._loop.call_later(delay, self._serve)
                return
            self._waiters.popleft()
            turn.set_result(
                Permit(
                    self,
                    None if self._requests is None else self._requests.add(1),
                    None if self._tokens is None else self._tokens.add(tokens),
                )
            )

    def _delay(self, tokens: int) -> float | None:
        """Return the seconds until a request may be sent; None if that is not known."""
        now = self._loop.time()
        delays = [self._paused_until - now]
        for window, cost in ((self._requests, 1), (self._tokens, tokens)):
            if window is not None:
                delay = window.delay(now, cost)
                if delay is None:
                    return None
                delays.append(delay)
        return max(delays)
