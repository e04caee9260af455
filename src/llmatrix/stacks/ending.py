"""Ending processes with all that they started, and no others.

Members of a launch are recognised by the marker that they inherit in their environment and by
their session, never by a name. Each is signalled through a descriptor bound to it, so that a
number given away meanwhile does no harm.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from functools import partial
from typing import Final

from llmatrix.stacks import process_table
from llmatrix.stacks.identity import MARKER, Identity, children, exit_status
from llmatrix.stacks.process_table import Entry
from llmatrix.stacks.waiting import until

GRACE_S: Final = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_KILL_S: Final = 10.0


def end(identities: Iterable[Identity], *, grace_s: float = GRACE_S) -> list[str]:
    """End these processes and all that they started: ask by SIGTERM, then make sure by SIGKILL.

    Returns when none is left, and forgets their records; what could not be ended stays on record.

    Returns:
        What could not be ended, in words; empty when nothing is left.
    """
    here = process_table.boot()
    wanted = list(identities)
    elsewhere = [i for i in wanted if i.boot != here and i.machine != process_table.machine()]
    ours = [i for i in wanted if i not in elsewhere]
    hunt = _Hunt([identity for identity in ours if identity.boot == here])
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_S)):
        hunt.told.clear()
        if until(partial(hunt.over, number), patience_s, every_s=0.1):
            break
    left = {identity.launch for identity in hunt.members.values()}
    for identity in ours:
        if identity.launch not in left:
            identity.file.unlink(missing_ok=True)
            child = children.pop(identity.launch, None)
            if child is not None:
                child.wait()  # it has ended, but may have done so after it was last reaped
    return [
        f"process {entry.pid} ({identity.name}) does not end, not even by SIGKILL"
        f"{hunt.refused.get(entry, '')}; see: ps -o pid,user,stat,wchan,args -p {entry.pid}"
        for entry, identity in hunt.members.items()
    ] + [
        f"process {one.pid} ({one.name}) was started on machine '{one.machine}' and can only be "
        f"ended there; if it is gone, remove {one.file}"
        for one in elsewhere
    ]


class _Hunt:
    """Finds and signals all that descends from some launches, until nothing is left."""

    def __init__(self, identities: list[Identity]) -> None:
        self.identities = identities
        self.members: dict[Entry, Identity] = {}
        self.told: set[Entry] = set()
        self.refused: dict[Entry, str] = {}

    def over(self, number: signal.Signals) -> bool:
        """Signal whoever is left and was not told yet; true when nobody is left."""
        for identity in self.identities:
            exit_status(identity)
        running = process_table.entries()
        launches = process_table.marked(MARKER)
        known = {entry: self.members[entry] for entry in running if entry in self.members}
        for identity in self.identities:
            certain = {entry for entry, whose in known.items() if whose is identity}
            certain |= {e for e in running if launches.get(e.pid) == identity.launch}
            known |= dict.fromkeys(_with_session(identity, running, certain), identity)
        self.members = known
        for entry in self.members.keys() - self.told:
            self.told.add(entry)
            try:
                process_table.send(entry, number)
            except PermissionError:
                self.refused[entry] = ", for it belongs to another user"
        return not self.members


def _with_session(identity: Identity, running: list[Entry], certain: set[Entry]) -> set[Entry]:
    """Add to the processes that are certainly of a launch the rest of its session.

    A session keeps its number from being given away as long as anybody is in it. So if one member
    is certainly ours (one with the marker, one already known, the leader itself), all of them are,
    also those that have overwritten their environment.
    """
    session = {entry for entry in running if entry.session == identity.pid}
    leader = Entry(identity.pid, identity.pid, identity.started)
    return certain | session if leader in session or certain & session else certain
