"""The check that a backend does what the table "Portability" says of it."""

from __future__ import annotations

import asyncio
import tempfile

import pytest

from ...backend._portability import ROWS, Row, refusal
from ...errors import ConfigurationError, ResourceError
from .._programs import PROGRAMS, Trial
from .needs import needs, slow
from .suite import Suite


class Portability(Suite):
    @slow
    @needs("executes", "workers")
    @pytest.mark.usefixtures("guard")
    async def test_each_kind_and_option_has_its_one_meaning_or_is_refused(
        self, folder: str
    ) -> None:
        assert list(PROGRAMS) == [row.title for row in ROWS]
        async with await self.new_flow(journal=f"{folder}/journal") as flow:
            said = [(row, refusal(row, flow.backend)) for row in ROWS]
            for row, lacking in said:
                if lacking and row.is_deadly:
                    continue  # the program would end this one
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    found = await self._outcome(row, Trial(flow, place, self.slots))
                if lacking and lacking != row.lacks(flow.backend.capabilities):
                    assert lacking.removeprefix("it ") in found, row.title
                else:
                    expected = {"does not"} if lacking else {"does", "too large"}
                    assert found in expected, f"{row.title}: {lacking or 'yes'}"

    async def _outcome(self, row: Row, trial: Trial) -> str:
        """Return whether the program of *row* ``"does"`` it, or how its call was refused."""
        try:
            async with asyncio.timeout(self.patience):
                return "does" if await PROGRAMS[row.title](trial) else "does not"
        except ResourceError:
            return "too large" if "resources" in row.options else "does not"
        except ConfigurationError as error:
            return str(error)
