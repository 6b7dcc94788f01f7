"""Which tokens are computed in the next step: pure policy, no clock, no tensors. README.md beside this file is the contract."""

from __future__ import annotations

from octavo.scheduler.limits import SchedulerLimits
from octavo.scheduler.request import BeamParams, CoreRequest, SequenceOutput
from octavo.scheduler.scheduler import Scheduler
from octavo.scheduler.sequence import Sequence, SequenceGroup

__all__ = ["BeamParams", "CoreRequest", "Scheduler", "SchedulerLimits", "Sequence", "SequenceGroup", "SequenceOutput"]
