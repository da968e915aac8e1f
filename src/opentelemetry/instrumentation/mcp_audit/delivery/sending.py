# SPDX-License-Identifier: Apache-2.0
"""One batch, until each of its records is acknowledged or known to be refused for what it is.

A batch that is refused is sent in halves, and these in halves, down to the record. Before a single record is believed to
be the reason, the endpoint must prove that it is well: a record that it acknowledged before (or an empty request) is sent
again, then the record once more. Single records refused one after another are the endpoint's illness, not theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .answer import Acknowledged, Answer, Refused, Retry
from .otlp import Batch, Run, first_of, halves, is_json, size
from .transport import Transport

# So many single records refused in a row, with no new record acknowledged in between, and nothing is believed any more.
MAX_IN_A_ROW: Final = 10
_PROBE_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class Sent:
    """What became of a batch. ``refused``: single records with the reason. ``stopped``: why the rest was not tried.

    ``left``: what of the batch is neither acknowledged nor refused. ``ill``: so many single records were refused in a row
    that none of those since the last acknowledgement is believed; those of this batch are in ``left``.
    """

    acknowledged: int = 0
    acknowledged_bytes: int = 0
    refused: list[tuple[Run, str]] = field(default_factory=list)
    left: list[Run] = field(default_factory=list)
    stopped: Retry | None = None
    too_large: bool = False
    ill: bool = False


class Sender:
    """Sends batches by one transport, and remembers how the endpoint does."""

    def __init__(self, transport: Transport) -> None:
        self.in_a_row = 0
        self._transport = transport
        self._known: Batch = ()
        # How many of the batch's refused records came before its last acknowledgement.
        self._here = 0

    def send(self, batch: Batch) -> Sent:
        """Send it, in parts where it is refused. Stops at the first part that is to be tried again later."""
        sent = Sent()
        self._here = 0
        parts: list[Batch] = [batch]
        while parts:
            part = parts.pop()
            answer = self._try(part)
            if isinstance(answer, Refused):
                sent.too_large = sent.too_large or answer.too_large
                if size(part)[0] > 1:
                    parts.extend(reversed(halves(part)))
                    continue
                answer = self._again(part, answer)
            if isinstance(answer, Retry):
                sent.stopped = answer
                sent.left = [run for rest in (part, *reversed(parts)) for run in rest]
                if self.in_a_row + 1 >= MAX_IN_A_ROW:
                    self._disbelieve(sent)
                return sent
            self._note(part, answer, sent)
        return sent

    def _note(self, part: Batch, answer: Answer, sent: Sent) -> None:
        if isinstance(answer, Refused):
            self.in_a_row += 1
            sent.refused.append((part[0], answer.why))
            return
        self.in_a_row = 0
        records, length = size(part)
        sent.acknowledged += records
        sent.acknowledged_bytes += length
        self._here = len(sent.refused)
        known = first_of(part)
        if size(known)[1] <= _PROBE_BYTES:
            self._known = known

    def _disbelieve(self, sent: Sent) -> None:
        sent.ill = True
        sent.left += [run for run, _ in sent.refused[self._here :]]
        del sent.refused[self._here :]

    def _again(self, single: Batch, refused: Refused) -> Answer:
        """Whether it is really this record: acknowledged after all, refused for good, or the endpoint is ill."""
        if self.in_a_row + 1 >= MAX_IN_A_ROW:
            return Retry(f"{refused.why} ({self.in_a_row + 1} single records in a row: the endpoint is ill)")
        health = self._transport.send(self._known)
        if isinstance(health, Retry):
            return health
        if not isinstance(health, Acknowledged):
            return Retry(f"{refused.why} (and so is what it took before: the endpoint is ill)")
        return self._try(single)

    def _try(self, part: Batch) -> Answer:
        answer = self._transport.send(part)
        if isinstance(answer, Retry) and not is_json(part):
            # There are endpoints that answer 500 to garbage; it would be sent for ever.
            return Refused(f"no JSON ({answer.why})")
        return answer
