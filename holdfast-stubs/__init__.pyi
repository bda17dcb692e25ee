# What holdfast.py has, for type checkers: a package can say that it is typed, a module by itself cannot (PEP 561).
from aggregate.frames import Frames as Frames
from aggregate.frames import load as load
from hpc.api.calls import status as status
from hpc.api.calls import submit as submit
from hpc.api.calls import wait as wait
from hpc.api.results import Submission as Submission
from hpc.api.results import SweepStatus as SweepStatus
from hpc.errors import ConfigError as ConfigError
from hpc.errors import SweepError as SweepError
from hpc.slurm.commands import SlurmError as SlurmError

def main() -> int: ...
