"""What the comparisons of this folder share: programs that take turns, the spread of their times, the check that all found the
same objective, the report and the table.

Every peer is a process of its own, from a virtual environment of its own, on the same processors and with as many threads as
Tally. It loads the problem once and answers each line of its input with a measurement, a line of JSON, so that programs can
take turns: other work on the machine then slows all of them alike.
"""
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
# Before a turn: threads that spin after their work (OpenMP, TBB) sleep by then.
PAUSE_SECONDS = 0.3


def timed(work):
    """What work() returns, and its seconds by the clock and of the processor, of all threads together."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, (time.perf_counter() - wall, time.process_time() - processor)


def measurement_of_iteration(fit, few, many):
    """The fit of many iterations, and the seconds of one: the difference of two fits, so that setting up does not count."""
    _, short = timed(lambda: fit(few))
    fitted, long = timed(lambda: fit(many))
    seconds, processor_seconds = ((b - a) / (many - few) for a, b in zip(short, long))
    return fitted, {"seconds": seconds, "processor_seconds": processor_seconds}


def serve(versions, measure_once):
    """A peer's side: says what it is, then measures once for each line of its input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print
    print(json.dumps(versions), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure_once()), file=answers, flush=True)


class Machine:
    """The processors and threads that every program gets."""

    def __init__(self, threads):
        self.threads = threads
        self.processors = sorted(os.sched_getaffinity(0))[:threads]

    def start(self, command, **streams):
        threads = str(self.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "JAX_PLATFORMS": "cpu"}
        return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True, env=environment,
                                preexec_fn=lambda: os.sched_setaffinity(0, self.processors), **streams)

    def run(self, command):
        """What a program that ends by itself printed, as JSON."""
        process = self.start(command)
        printed, _ = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"{command[0]} ended with status {process.returncode}\n{printed}")
        return json.loads(printed)


class Peer:
    """A program that waits for its turns."""

    def __init__(self, name, command, machine):
        self.name = name
        self.process = machine.start(command, stdin=subprocess.PIPE)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self.process.wait()}")
        return json.loads(line)

    def measure_once(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Peers:
    """Peers of one workload; they load its data side by side, and end with the block."""

    def __init__(self, commands, machine):
        self.commands, self.machine, self.running, self.versions = commands, machine, [], {}

    def __enter__(self):
        try:
            for name, command in self.commands.items():
                self.running.append(Peer(name, command, self.machine))
            for peer in self.running:
                self.versions.update(peer.answer())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for peer in self.running:
            peer.end()


def take_turns(programs, rounds):
    """Measurements of each program by its name; in every round each has one turn."""
    found = {program.name: [] for program in programs}
    for _ in range(rounds):
        for program in programs:
            time.sleep(PAUSE_SECONDS)
            found[program.name].append(program.measure_once())
    return found


class Installed:
    """Which peers install.sh made; each name of a folder that lacks one is told once."""

    def __init__(self, folder):
        self.folder, self.left_out = pathlib.Path(folder), []

    def has(self, name):
        if (self.folder / name / "ready").exists():
            return True
        if name not in self.left_out:
            self.left_out.append(name)
            print(f"left out: {name}, which bench/peers/install.sh did not install in {self.folder}", file=sys.stderr)
        return False

    def python(self, name):
        return self.folder / name / "bin" / "python"


def spread(samples):
    """As in the reports of tally bench."""
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else samples * 3
    return {"best": min(samples), "lower_quartile": low, "median": median, "upper_quartile": high, "worst": max(samples),
            "samples": len(samples)}


def entry_of(workload, program, measurements, objective):
    return {"name": f"{workload}: {program}", "workload": workload, "program": program, "objective": objective,
            "check": "right", "notes": [],
            **{clock: spread([one[clock] for one in measurements]) for clock in ("seconds", "processor_seconds")}}


def compare_with_tally(peers, tally, tolerance, goals):
    """Adds to the entries of peers how many times Tally is as fast, by medians, the goal where there is one, and the check of
    their objectives."""
    for peer in peers:
        peer["ratio"], peer["ratio_by_processor_time"] = (peer[clock]["median"] / tally[clock]["median"]
                                                          for clock in ("seconds", "processor_seconds"))
        if peer["program"] in goals:
            peer["goal"] = goals[peer["program"]]
        peer["difference"] = abs(peer["objective"] - tally["objective"]) / abs(tally["objective"])
        if not peer["difference"] <= tolerance:
            peer["check"] = f"WRONG: {peer['objective']:.12g}, and Tally {tally['objective']:.12g}"


def shown(times):
    low, median, high = (1e3 * times[name] for name in ("lower_quartile", "median", "upper_quartile"))
    digits = 1 if median >= 10 else 2
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def print_table(entries):
    print(f"{'ms, medians and quartiles':26} {'wall':>30} {'processor':>30} {'Tally is':>9} {'by cpu':>7} {'goal':>6}  objective")
    workload = None
    for entry in entries:
        if entry["workload"] != workload:
            workload = entry["workload"]
            print(workload)
        ratios = [f"{entry[name]:{form}}x" if name in entry else ""
                  for name, form in (("ratio", ".1f"), ("ratio_by_processor_time", ".1f"), ("goal", "g"))]
        check = entry["check"] if "difference" not in entry or entry["check"] != "right" else f"differs by {entry['difference']:.0e}"
        print(f"  {entry['program']:24} {shown(entry['seconds']):>30} {shown(entry['processor_seconds']):>30} "
              f"{ratios[0]:>9} {ratios[1]:>7} {ratios[2]:>6}  {check}")
        for note in entry["notes"]:
            print(f"    {note}")


def describe_machine():
    with open("/proc/cpuinfo", encoding="ascii") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return {"processor": models[0] if models else platform.processor(), "processors": os.cpu_count(),
            "load_average": os.getloadavg()[0], "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "")}


class Report:
    """The table, the report bench/results/NAME.json, which bench/compare reads, and the exit status."""

    def __init__(self, name, threads):
        commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True,
                                check=False).stdout.strip()
        self.name, self.results = name, ROOT / "bench" / "results"
        command = " ".join([f"bench/peers/{pathlib.Path(sys.argv[0]).name}", "tally_bench", "PEERS", *sys.argv[3:]])
        self.fields = {"benchmark": "peers", "command": command, "commit": commit, "date": datetime.date.today().isoformat(),
                       "machine": describe_machine(), "ranks": 1, "threads": threads,
                       "versions": {"python": platform.python_version()}}
        self.entries = []

    def add(self, entries, versions):
        self.entries += entries
        self.fields["versions"].update(versions)
        print(f"{entries[0]['workload']}: done", file=sys.stderr)

    def finish(self, left_out):
        """Prints and writes; 1 where something is wrong."""
        print_table(self.entries)
        for name in left_out:
            print(f"left out: {name}")
        self.fields["machine"]["load_average_after"] = os.getloadavg()[0]
        self.results.mkdir(exist_ok=True)
        report = {**self.fields, "left_out": left_out, "entries": self.entries}
        (self.results / f"{self.name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        return 1 if any(entry["check"] != "right" for entry in self.entries) else 0


def add_arguments(parser, name):
    parser.add_argument("program", help="the tally_bench of a Release build")
    parser.add_argument("peers", help="the folder that bench/peers/install.sh filled")
    parser.add_argument("--quick", action="store_true", help="the short workloads alone, three rounds")
    parser.add_argument("--rounds", type=int, default=0, help="turns of each program (5; quick: 3)")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--name", default=name, help="of the file in bench/results")


def parse(parser):
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 5)
    return arguments


def chosen(workloads, arguments):
    return [one for one in workloads if arguments.only in one.name and (one.quick or not arguments.quick)]
