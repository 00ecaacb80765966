"""Processes of this machine, as /proc tells of them: for tests that start jobs, watch them, and kill parts of them."""

import os
import subprocess

from tally_cli import command, source_folder


class Process:
    """One as it was when it was found: its number may be another's later. One that has ended has no words."""

    def __init__(self, number):
        self.number = number
        self.words, self.environment, self.name, self.parent, self.born = [], {}, "", 0, ""
        try:
            with open(f"/proc/{number}/cmdline", "rb") as file:
                self.words = [os.fsdecode(word) for word in file.read().split(b"\0")]
            with open(f"/proc/{number}/environ", "rb") as file:
                self.environment = dict(os.fsdecode(word).split("=", 1) for word in file.read().split(b"\0") if b"=" in word)
            with open(f"/proc/{number}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            self.parent, self.born = int(fields[1]), fields[19]
            self.name = os.path.basename(os.readlink(f"/proc/{number}/exe"))
        except OSError:
            pass

    @property
    def rank(self):
        """Of tally in a job of MPI's; None where it is none of its ranks."""
        rank = self.environment.get("OMPI_COMM_WORLD_RANK", self.environment.get("PMIX_RANK"))
        return None if rank is None or self.name != os.path.basename(command) or "launch" in self.words else int(rank)

    def __eq__(self, other):
        return (self.number, self.born) == (other.number, other.born)

    def __hash__(self):
        return hash((self.number, self.born))


def all_processes():
    """But this one."""
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [Process(number) for number in numbers if number != os.getpid()]


def processes_with(text):
    """Those whose command line has this in one of its words."""
    return [process for process in all_processes() if any(text in word for word in process.words)]


def processes_marked(mark):
    """Those that were started with TALLY_TEST_MARK of this value, and what they started."""
    return [process for process in all_processes() if process.environment.get("TALLY_TEST_MARK") == mark]


def ranks_among(processes):
    """The numbers of the processes of a job's ranks, in the order of the ranks."""
    ranks = [(process.rank, process.number) for process in processes if process.rank is not None]
    return [number for _, number in sorted(ranks)]


def is_running(number):
    """Not ended; a zombie has."""
    try:
        with open(f"/proc/{number}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def mpirun_environment():
    """This environment with mpirun.sh's settings of Open MPI, for what starts ranks in another way."""
    settings = subprocess.run([os.path.join(source_folder, "tests", "mpirun.sh")], check=True, capture_output=True,
                              env={**os.environ, "TALLY_MPIEXEC": "env"}, text=True, timeout=10).stdout
    return dict(line.split("=", 1) for line in settings.splitlines() if "=" in line)
