"""The way back: of a plan, to what was there when it was made."""

import msgspec

from ebpfcheck.model.plan import Plan
from ebpfcheck.model.report import Verdict

_METHOD = "It leads back to what was there when the plan was made: each field gets the value that it had then."


def rollback_of(plan: Plan) -> Plan:
    """Return the way back as a plan of its own; that of a way back is itself."""
    if plan.direction == "rollback":
        return plan
    return msgspec.structs.replace(
        plan,
        direction="rollback",
        verdict=Verdict.READY,
        exit_code=0,
        method=_METHOD,
        blockers=(),
        undecided=(),
        cautions=(),
        forecast=("Connections that eBPF programs keep are cut, those through Services among them.",),
        steps=plan.rollback,
        rollback=(),
    )
