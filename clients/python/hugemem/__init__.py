"""A client of hugemem: RAM disks over NBD that cost nothing until written, and fork in microseconds."""

from ._client import Disk, Event, Job, Problem, Server, Unreachable

__all__ = ["Disk", "Event", "Job", "Problem", "Server", "Unreachable"]
__version__ = "0.1.0"
