#!/usr/bin/env python3
"""What each GPU kernel takes of an sm_90 multiprocessor, read from what a build with CUDA left: nothing is run.

Registers, spills and shared memory are the assembler's report's (build/cuda/MODEL.ptxas). Occupancy, the warps that fit at once of 64, follows
from them and the threads of a group by the limits of compute capability 9.0 (CUDA C++ Programming Guide, technical specifications; registers go
to warps in units of 256, shared memory to groups in units of 128 bytes besides 1 KiB of the system's). With cuobjdump and nvdisasm on PATH
(PyPI: nvidia-cuda-cuobjdump, nvidia-cuda-nvdisasm): instructions in the code, as many as are written, not as are executed.
"""

import argparse
import collections
import pathlib
import re
import shutil
import subprocess

REGISTERS, WARPS, GROUPS, SHARED = 65536, 64, 32, 228 * 1024
INSTRUCTIONS = {
    "16 B global": r"\b(?:LDG|STG)\.E\.128", "other global": r"\b(?:LDG|STG)\.E(?!\.128)", "16 B shared": r"\b(?:LDS|STS)\.128",
    "local": r"\b(?:LDL|STL)\b", "FMA": r"\b[DF]FMA\b", "tensor": r"\b(?:DMMA|HMMA|HGMMA|IMMA|QGMMA)\b",
}


class Kernel:
    def __init__(self, model, symbol):
        self.model, self.symbol = model, symbol
        self.registers = self.spilled = self.shared = 0
        self.threads = 128  # of for_each_index
        self.counts = None

    def occupancy(self):
        warps = -(-self.threads // 32)
        by_registers = REGISTERS // (-(-self.registers * 32 // 256) * 256) // 4 * 4 // warps  # a quarter of a multiprocessor has a quarter of them
        by_shared = SHARED // (-(-self.shared // 128) * 128 + 1024)
        return min(by_registers, WARPS // warps, GROUPS, by_shared) * warps


def kernels_of(report):
    """Those for sm_90, in the report's order; what a kernel takes follows its name."""
    kernels, kernel = [], None
    for line in report.read_text().splitlines():
        if found := re.search(r"Compiling entry function '([^']*)' for '(\w+)'", line):
            kernel = Kernel(report.stem, found[1]) if found[2].startswith("sm_90") else None
            kernels += [kernel] if kernel else []
        elif kernel and (found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)):
            kernel.spilled = int(found[1]) + int(found[2])
        elif kernel and (found := re.search(r"Used (\d+) registers", line)):
            kernel.registers = int(found[1])
            shared = re.search(r"(\d+) bytes smem", line)
            kernel.shared = int(shared[1]) if shared else 0
    if not kernels:
        raise SystemExit(f"{report} names no kernel for sm_90")
    return kernels


def add_threads(kernels, objects):
    """From the PTX, which objects hold as text."""
    text = objects.read_bytes().decode("latin-1")
    for kernel in kernels:
        entry = text.find(f".entry {kernel.symbol}(")
        if entry < 0:
            raise SystemExit(f"{objects} has no PTX of {kernel.symbol}")
        found = re.match(r"[^{]*?\.maxntid (\d+)", text[entry:entry + 2000])
        if found:
            kernel.threads = int(found[1])


def add_instructions(kernels, objects):
    sass = subprocess.run(["cuobjdump", "-arch", "sm_90", "-sass", str(objects)], capture_output=True, text=True, check=True).stdout
    counts = collections.defaultdict(collections.Counter)
    symbol = None
    for line in sass.splitlines():
        if found := re.search(r"Function : (\S+)", line):
            symbol = found[1]
        elif symbol:
            for name, pattern in INSTRUCTIONS.items():
                counts[symbol][name] += len(re.findall(pattern, line))
    for kernel in kernels:
        if kernel.symbol not in counts:
            raise SystemExit(f"cuobjdump shows no code of {kernel.symbol}")
        kernel.counts = counts[kernel.symbol]


def names_of(kernels):
    text = subprocess.run(["c++filt"], input="\n".join(kernel.symbol for kernel in kernels), capture_output=True, text=True, check=True).stdout
    return [re.sub(r"tally::(generic::)?", "", re.search(r"<(.*?) ?>\(", name)[1]) for name in text.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path, help="a build folder where nvcc compiled for sm_90")
    parser.add_argument("--only", default="", help="kernels whose name contains this")
    options = parser.parse_args()
    reports = sorted((options.build / "cuda").glob("*.ptxas"))
    if not reports:
        raise SystemExit(f"{options.build}/cuda has no reports: it was built without nvcc")
    disassembles = bool(shutil.which("cuobjdump"))
    heads = ["Kernel", "Model", "Registers", "Spilled", "Shared", "Threads", "Occupancy"] + (list(INSTRUCTIONS) if disassembles else [])
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for report in reports:
        kernels = kernels_of(report)
        add_threads(kernels, report.with_suffix(".o"))
        if disassembles:
            add_instructions(kernels, report.with_suffix(".o"))
        for name, kernel in sorted(zip(names_of(kernels), kernels), key=lambda pair: pair[0]):
            if options.only in name:
                row = [f"`{name}`", kernel.model, kernel.registers, kernel.spilled, kernel.shared, kernel.threads, f"{kernel.occupancy()} of {WARPS}"]
                row += [kernel.counts[head] for head in INSTRUCTIONS] if disassembles else []
                print("| " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
