"""simulate.py TALLY_SIMULATE [options]: fits on many simulated ranks, beside the analytic model of docs/scaling.md.

bench/simulate/run.sh builds the program and calls this. Prints a table a topology, and writes all of it as JSON.
"""
import argparse
import datetime
import json
import math
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# Bytes that the simulation may hold in all copies of the sample that ranks exchange in the first scan.
SAMPLE_MEMORY = 3e9
COPIES_OF_SAMPLE = 5
# Of a switch, up and down each.
PORTS = 32
# Seconds for which a waiting rank looks without rest.
BUSY = 1e-3


def fat_tree(ranks):
    """Full bisection from switches of 64 ports: two levels, three beyond 2048 hosts."""
    down = min(PORTS, 2 ** math.ceil(math.log2(max(ranks, 2)) / 2))
    leaves = math.ceil(ranks / down)
    if leaves <= 2 * PORTS:
        return f"2;{down},{leaves};1,{down};1,1"
    return f"3;{down},{down},{math.ceil(leaves / down)};1,{down},{down};1,1,1"


# Groups, chassis in a group, routers in a chassis, hosts of a router. SimGrid's routes need no more groups than routers.
DRAGONFLIES = ((2, 2, 2, 2), (4, 2, 4, 2), (4, 4, 4, 4), (8, 4, 8, 4), (16, 4, 16, 4))


def dragonfly(ranks):
    """Half of the hosts' bandwidth leaves a group."""
    shape = next((shape for shape in DRAGONFLIES if math.prod(shape) >= ranks), None)
    if not shape:
        sys.exit(f"simulate: the largest dragonfly has {math.prod(DRAGONFLIES[-1])} hosts")
    groups, chassis, routers, hosts = shape
    between = max(1, chassis * routers * hosts // (2 * groups))
    return f"{groups},{between};{chassis},2;{routers},2;{hosts}"


def hosts_of(topology, parameters):
    numbers = parameters.split(";")
    if topology == "fat-tree":
        return math.prod(int(n) for n in numbers[1].split(","))
    return math.prod(int(n.split(",")[0]) for n in numbers)


def write_platform(path, topology, ranks, arguments):
    attributes = ""
    hosts = ranks
    if topology != "switch":
        parameters = fat_tree(ranks) if topology == "fat-tree" else dragonfly(ranks)
        hosts = hosts_of(topology, parameters)
        attributes = f'topology="{topology.upper().replace("-", "_")}" topo_parameters="{parameters}"'
    path.write_text(f"""<?xml version="1.0"?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <cluster id="cluster" prefix="node-" radical="0-{hosts - 1}" suffix="" speed="1Gf" bw="{arguments.bandwidth}Bps"
           lat="{arguments.latency}s" sharing_policy="SPLITDUPLEX" {attributes}/>
</platform>
""")


def steps_of(ranks):
    return math.ceil(math.log2(ranks)) if ranks > 1 else 0


def way_of(ranks, size, arguments):
    """How a sum of `size` bytes travels."""
    if arguments.allreduce != "open-mpi":
        return arguments.allreduce
    return "rabenseifner" if size >= 65536 and ranks >= 4 else "binomial"


def allreduce_seconds(ranks, size, latencies, arguments):
    """The critical path of a sum of `size` bytes, every rank entering at once."""
    steps = steps_of(ranks)
    per_byte, per_sum, overhead = 1 / arguments.bandwidth, 1 / arguments.sum_rate, 2 * arguments.overhead
    start = sum(latency + overhead for latency in latencies)
    if way_of(ranks, size, arguments) == "rabenseifner":
        part = size * (1 - 1 / ranks)
        return 2 * start + part * (2 * per_byte + per_sum)
    return 2 * start + size * (steps * (per_byte + per_sum) + steps * (steps + 1) / 2 * per_byte)


def largest_of_normals(count):
    """The expected largest of so many standard normals, by Blom's approximation."""
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def analytic(case, arguments):
    ranks, rows = case["ranks"], case["rows"]
    block = case["block_rows"]
    blocks = math.ceil(rows / block)
    mean = rows / ranks / arguments.row_rate
    busiest = min(rows, math.ceil(blocks / ranks) * block) / arguments.row_rate
    wait = max(0.0, busiest - mean) + arguments.noise * mean * largest_of_normals(ranks)
    size = case["statistics_bytes"]
    if wait > BUSY:
        naps = 1.7 if way_of(ranks, size, arguments) == "rabenseifner" else 0.75
        wait += naps * steps_of(ranks) * arguments.nap
    result = {
        "compute": mean,
        "wait": wait,
        "allreduce": allreduce_seconds(ranks, size, case["step_latencies"], arguments),
        "m_step": case["seconds"]["m_step"],
    }
    result["iteration"] = sum(result.values())
    return result


def rate_of(arguments):
    """Rows a second of one rank's E-step."""
    for entry in json.loads((HERE / "rates.json").read_text()):
        if all(entry[name] == getattr(arguments, name) for name in ("model", "covariance", "columns", "components")):
            return entry["rows_per_second"]
    sys.exit(f"simulate: rates.json has no rate of {arguments.model} {arguments.covariance}, {arguments.columns} columns, "
             f"{arguments.components} components; measure it (tally bench --only) and give it as --row-rate")


def run_case(program, topology, ranks, arguments):
    rows = arguments.rows if arguments.rows else arguments.rows_per_rank * ranks
    sample = int(SAMPLE_MEMORY / (ranks * COPIES_OF_SAMPLE * 8 * (arguments.columns + 1)))
    sample = min(20000, sample)
    with tempfile.TemporaryDirectory() as folder:
        description = pathlib.Path(folder) / "platform.xml"
        write_platform(description, topology, ranks, arguments)
        command = [program, "--platform", description, "--ranks", ranks, "--rows", rows, "--model", arguments.model,
                   "--columns", arguments.columns, "--components", arguments.components, "--row-rate", arguments.row_rate,
                   "--noise", arguments.noise, "--iterations", arguments.iterations, "--sample-rows", sample,
                   "--allreduce", arguments.allreduce, "--overhead", arguments.overhead, "--sum-rate", arguments.sum_rate,
                   "--nap", arguments.nap, "--m-step", arguments.m_step, "--seed", arguments.seed]
        if arguments.covariance:
            command += ["--covariance", arguments.covariance]
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"simulate: {ranks} ranks on a {topology} failed")
    case = json.loads(done.stdout)
    case["topology"] = topology
    case["analytic_seconds"] = analytic(case, arguments)
    alone = rows / ranks / arguments.row_rate + case["seconds"]["m_step"]
    case["efficiency"] = alone / case["seconds"]["iteration"]
    case["analytic_efficiency"] = alone / case["analytic_seconds"]["iteration"]
    return case


COLUMNS = ("ranks", "ms", "analytic", "efficiency", "compute", "wait", "allreduce", "analytic", "M-step", "connect",
           "messages", "peers", "MB a rank")


def row_of(case):
    seconds, model = case["seconds"], case["analytic_seconds"]
    return (str(case["ranks"]), f"{1e3 * seconds['iteration']:.2f}", f"{1e3 * model['iteration']:.2f}",
            f"{100 * case['efficiency']:.1f} %", f"{1e3 * seconds['compute']:.2f}", f"{1e3 * seconds['wait']:.2f}",
            f"{1e3 * seconds['allreduce']:.2f}", f"{1e3 * model['allreduce']:.2f}", f"{1e3 * seconds['m_step']:.2f}",
            f"{1e3 * case['startup_seconds']['connect']:.2f}", str(case["startup_traffic"]["messages"]),
            str(case["traffic"]["peers"]), f"{case['simulator_bytes_per_rank'] / 1e6:.1f}")


WIDTHS = tuple(max(len(name), 8) for name in COLUMNS)


def print_row(cells):
    print("| " + " | ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS)) + " |", flush=True)


def parse(words):
    def numbers(text):
        return [int(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(prog="bench/simulate/run.sh", description=__doc__.split("\n")[0])
    parser.add_argument("program", help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=numbers, default=[16, 64, 256, 1024])
    parser.add_argument("--topology", type=lambda text: text.split(","), default=["fat-tree", "dragonfly"],
                        help="of fat-tree, dragonfly, switch")
    parser.add_argument("--model", default="gmm")
    parser.add_argument("--covariance", default="full")
    parser.add_argument("-d", "--columns", type=int, default=32)
    parser.add_argument("-k", "--components", type=int, default=64)
    parser.add_argument("--rows-per-rank", type=int, default=200000, help="weak scaling")
    parser.add_argument("--rows", type=int, help="of all ranks, instead: strong scaling")
    parser.add_argument("--row-rate", type=float, help="rows a second of a rank's E-step; default: rates.json")
    parser.add_argument("--speed", type=float, default=1, help="ranks so many times as fast as measured")
    parser.add_argument("--noise", type=float, default=0.01, help="standard deviation of an E-step's time, as a fraction")
    parser.add_argument("--m-step", type=float, default=0, help="seconds; 0: measured when it starts")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--latency", type=float, default=1e-6, help="seconds of a link")
    parser.add_argument("--bandwidth", type=float, default=25e9, help="bytes a second of a link")
    parser.add_argument("--overhead", type=float, default=0.5e-6, help="seconds of a processor a message")
    parser.add_argument("--sum-rate", type=float, default=8e9, help="bytes a second that a rank adds to its own")
    parser.add_argument("--nap", type=float, default=1e-4, help="seconds between the looks of a rank that has waited long")
    parser.add_argument("--allreduce", choices=("open-mpi", "binomial", "rabenseifner"), default="open-mpi")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", help="JSON; default bench/results/simulation.json")
    arguments = parser.parse_args(words)
    arguments.row_rate = (arguments.row_rate or rate_of(arguments)) * arguments.speed
    return arguments


def main(words):
    arguments = parse(words)
    cases = []
    for topology in arguments.topology:
        print(f"\n{topology}: {arguments.model} {arguments.covariance}, {arguments.columns} columns, "
              f"{arguments.components} components, {arguments.row_rate:.4g} rows/s a rank; times in ms")
        print_row(COLUMNS)
        print_row(["-" * width for width in WIDTHS])
        for ranks in arguments.ranks:
            case = run_case(arguments.program, topology, ranks, arguments)
            cases.append(case)
            print_row(row_of(case))
            if not case["bits_agree"]:
                print(f"WRONG: {ranks} ranks ended with different bits")
    output = pathlib.Path(arguments.output or HERE.parent / "results" / "simulation.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("program", "output")}
    output.write_text(json.dumps({"benchmark": "simulate", "command": "bench/simulate/run.sh " + " ".join(words[1:]),
                                  "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                                  "machine": platform.processor() or platform.machine(), "settings": settings,
                                  "entries": cases}, indent=2) + "\n")
    return 0 if all(case["bits_agree"] for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
