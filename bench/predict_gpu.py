#!/usr/bin/env python3
"""Prints predicted times of an EM iteration on one H200, from counts of operations and bytes: nothing here is measured.

docs/decisions/cuda-kernels.md says what is counted and what the figures leave out.
"""

FP64_PRODUCTS, FP32_PRODUCTS = 60e12, 50e12  # flop/s that cuBLAS reached in large products
FP64, FP32 = 33.5e12, 50e12  # flop/s without tensor cores
TF32_PRODUCTS = 386e12  # flop/s that cuBLAS reached in large products
TF32_MMA = 0.62 * 495e12  # flop/s: what mma.sync was seen to reach of the data sheet's rate on Hopper
MEMORY, L2 = 4.3e12, 5.5e12  # bytes/s
MULTIPROCESSORS, CLOCK = 132, 1.7e9
SHARED = MULTIPROCESSORS * CLOCK * 128  # bytes/s of shared memory
LANES, LAUNCH = 4, 2.5e-6  # streams at work, seconds from one launch of a stream to its next
TILE_BYTES = 24e6  # of features and posterior, so that they stay in the L2
SLICE_ROWS = 256


class Kernel:
    """Seconds a row: the slowest of arithmetic, L2 traffic and memory traffic."""

    def __init__(self, name, operations, rate, l2_bytes, memory_bytes=0):
        self.name = name
        self.seconds = max(operations / rate, l2_bytes / L2, memory_bytes / MEMORY)


class Work:
    def __init__(self, kernels, launches, tile_rows, flops, peak, row_bytes):
        self.kernels, self.launches, self.tile_rows = kernels, launches, tile_rows
        self.arithmetic, self.reading = flops / peak, row_bytes / MEMORY

    def floor(self):
        return max(self.arithmetic, self.reading)

    def sum(self):
        return sum(kernel.seconds for kernel in self.kernels)


def mixture(D, K, width, size, tied=False):
    """`width` monomials in products with K columns; with a tied covariance, two more products with D columns."""
    products, vector = (FP64_PRODUCTS, FP64) if size == 8 else (FP32_PRODUCTS, FP32)
    kernels = [
        Kernel("features", width, vector, size * (width + D), size * D),
        Kernel("E product", 2 * K * width, products, size * (width + K)),
        Kernel("softmax", K * (70 if size == 8 else 40), vector, 2 * size * K + 8),
        Kernel("M products", 2 * K * width, products, size * (width + K + K * width / SLICE_ROWS)),
        Kernel("add slices", K * width / SLICE_ROWS, vector, size * K * width / SLICE_ROWS),
    ]
    if tied:
        kernels += [Kernel("whitening", 2 * D * D, products, 2 * size * D),
                    Kernel("norms", 2 * D, vector, size * D),
                    Kernel("sums of products", 2 * D * D, products, size * (2 * D + D * D / SLICE_ROWS)),
                    Kernel("add slices", D * D / SLICE_ROWS, vector, size * D * D / SLICE_ROWS)]
    tile = int(TILE_BYTES / (size * (width + K))) // SLICE_ROWS * SLICE_ROWS
    flops = 4 * K * width + (2 * D * (D + 1) if tied else 0)
    return Work(kernels, 14 if tied else 7, max(SLICE_ROWS, min(1 << 17, tile)), flops, products, size * D)


def after_search(D, size):
    integers = MULTIPROCESSORS * CLOCK * 64
    return [
        Kernel("winner", 8 * D, integers, (size + 8) * D),
        Kernel("rank by label", 2 * 127, integers, 8),
        Kernel("sums", 10 * (1 + D), 2 * integers, size * D + 12 + 16 * (1 + D) / 64),
    ]


def kmeans_tile(D, size):
    return max(1 << 14, min(1 << 17, int(TILE_BYTES / (size * D))))


def kmeans(D, K, size):
    columns = -(-K // 64) * 64 if K > 32 else 32 if K > 16 else 16
    integers = MULTIPROCESSORS * CLOCK * 64
    arithmetic, peak = (0.8 * FP32, FP32) if size == 4 else (0.8 * FP64, FP64)
    kernels = [
        Kernel("search", 2 * columns * D, arithmetic, size * D * max(1, columns // 64), size * D),
        Kernel("best scores", 5 * columns, integers, 0),
    ]
    return Work(kernels + after_search(D, size), 11, kmeans_tile(D, size), 2 * K * D, peak, size * D)


def kmeans_tf32(D, K):
    """NearestRowsTf32: 128 rows a group, 64 centres a panel, 16 dimensions a stage."""
    columns = -(-K // 64) * 64 if K > 32 else 32 if K > 16 else 16
    depth, panels = -(-D // 16) * 16, max(1, columns // 64)
    tiles = min(8, columns // 8)
    integers = MULTIPROCESSORS * CLOCK * 64
    from_shared = panels * depth / 16 * (4 + tiles) * 512 / 32  # 16-byte loads of 32 threads, for 32 rows
    to_shared = panels * depth * 4 * (1 + 2 * 8 * tiles / 128)  # the centres' writes meet in pairs
    kernels = [
        Kernel("products", 2 * columns * depth, TF32_MMA, 4 * depth * panels + 4 * depth * columns / 128, 4 * D),
        Kernel("best scores", 6 * columns + 100 * panels, integers, 0),
        Kernel("rounding", 2 * depth * (panels + columns / 128), integers, 0),
    ]
    waits = (from_shared + to_shared) / SHARED
    kernels[0].seconds = max(kernels[0].seconds, waits)
    return Work(kernels + after_search(D, 4), 11, kmeans_tile(D, 4), 2 * K * D, TF32_PRODUCTS, 4 * D)


def bit_floor(value):
    return 1 << (max(1, int(value)).bit_length() - 1)


class Chain:
    """Walking along pieces, with Gaussian diagonal emissions: a group a piece there and back, and where sequences are cut a group for each state of
    each piece to compose; what a row costs besides as a mixture's kernels. `times`: blocks that are so many times the CPU's length.

    STEP is assumed: the latency of a step's product, sum and barrier. Above 32 states a group reads A at every step, through its multiprocessor's first
    cache where A fits 128 KiB and from the L2 beyond.
    """

    STEP = 0.5e-6

    def __init__(self, sequences, steps, D, K, size, times):
        width = max(K, D)
        rows = sequences * steps
        block = min(max(bit_floor(2**15 / width), 1024), 8192)
        piece = min(max(bit_floor(2**19 / width), 1024), max(1024, 16 * K * K) if K <= 16 else 16384)  # Chain::sequence_cut
        if K > 64:
            block = max(block, min(4096, piece))
        block *= times
        self.length = min(steps, piece)
        of_each = -(-steps // piece)
        pieces = sequences * of_each
        of_block = max(1, block // self.length) if of_each == 1 else min(max(1, block // piece), of_each)  # a cut sequence shares no block
        groups = MULTIPROCESSORS * (8 if K <= 32 else 1)  # that fit, from their registers
        self.at_once = min(pieces, LANES * of_block, groups)

        def step(walkers):
            reads = 0 if K <= 32 else K * K * size / (128 * CLOCK if K * K * size <= 2**17 else L2 / walkers)
            return max(self.STEP, reads)

        self.walk = 2 * -(-pieces // self.at_once) * self.length * step(self.at_once)
        composers = min(LANES * of_block * K, groups)
        self.compose = -(-pieces * K // composers) * self.length * step(composers) if of_each > 1 else 0
        products = FP64_PRODUCTS if size == 8 else FP32_PRODUCTS
        emissions = mixture(D, K, 1 + 2 * D, size)
        transitions = Kernel("transitions", 2 * K * K, products, 2 * size * K)
        # Where a block is not one tile, features and logits are made once more; emissions, alpha and gamma are written and read.
        self.others = rows * (emissions.sum() + transitions.seconds + 6 * size * K / L2)
        self.floor = rows * max((6 * K * K + 4 * K * (1 + 2 * D)) / products, size * D / MEMORY)


def full(D):
    return 1 + D + D * (D + 1) // 2


SHAPES = [
    ("GMM full f64, 200k x 8, K 16", 2e5, mixture(8, 16, full(8), 8)),
    ("GMM full f64, 200k x 17, K 50", 2e5, mixture(17, 50, full(17), 8)),
    ("GMM full f64, 200k x 32, K 32", 2e5, mixture(32, 32, full(32), 8)),
    ("GMM full f64, 1e6 x 32, K 64", 1e6, mixture(32, 64, full(32), 8)),
    ("GMM full f64, 100k x 64, K 32", 1e5, mixture(64, 32, full(64), 8)),
    ("GMM full f32, 2e6 x 64, K 32", 2e6, mixture(64, 32, full(64), 4)),
    ("GMM tied f64, 1e6 x 32, K 64", 1e6, mixture(32, 64, 33, 8, tied=True)),
    ("GMM diag f64, 200k x 32, K 64", 2e5, mixture(32, 64, 65, 8)),
    ("GMM spherical f32, 2e6 x 64, K 32", 2e6, mixture(64, 32, 66, 4)),
    ("Poisson f64, 1e6 x 32, K 64", 1e6, mixture(32, 64, 33, 8)),
    ("GMM full f64, 1e7 x 32, K 64", 1e7, mixture(32, 64, full(32), 8)),
    ("GMM full f64, 1e6 x 128, K 256", 1e6, mixture(128, 256, full(128), 8)),
    ("GMM full f64, 123457 x 17, K 50", 123457, mixture(17, 50, full(17), 8)),
    ("GMM diag f32, 1e7 x 128, K 1024", 1e7, mixture(128, 1024, 257, 4)),
    ("k-means f32, 500k x 32, K 64", 5e5, kmeans(32, 64, 4)),
    ("k-means f32, 1e7 x 128, K 1024", 1e7, kmeans(128, 1024, 4)),
    ("k-means f32, 2.5e6 x 256, K 20000", 2.5e6, kmeans(256, 20000, 4)),
    ("k-means tf32, 1e7 x 128, K 1024", 1e7, kmeans_tf32(128, 1024)),
    ("k-means tf32, 2.5e6 x 256, K 20000", 2.5e6, kmeans_tf32(256, 20000)),
    ("k-means f32, 1e8 x 32, K 64", 1e8, kmeans(32, 64, 4)),
    ("k-means f32, 1e6 x 17, K 50", 1e6, kmeans(17, 50, 4)),
    ("k-means f32, 4.2e6 x 128, K 1024", 32 * 131072, kmeans(128, 1024, 4)),
    ("k-means f32, 70k x 784, K 256", 7e4, kmeans(784, 256, 4)),
    ("k-means f64, 1e6 x 32, K 64", 1e6, kmeans(32, 64, 8)),
    ("k-means tf32, 500k x 32, K 64", 5e5, kmeans_tf32(32, 64)),
    ("k-means tf32, 1e8 x 32, K 64", 1e8, kmeans_tf32(32, 64)),
    ("k-means tf32, 1e6 x 17, K 50", 1e6, kmeans_tf32(17, 50)),
    ("k-means tf32, 4.2e6 x 128, K 128", 32 * 131072, kmeans_tf32(128, 128)),
    ("k-means tf32, 4.2e6 x 128, K 1024", 32 * 131072, kmeans_tf32(128, 1024)),
    ("k-means tf32, 70k x 784, K 256", 7e4, kmeans_tf32(784, 256)),
]

CHAINS = [
    ("HMM f64, 8448 x 1000 steps, D 32, K 64", (8448, 1000, 32, 64, 8)),
    ("HMM f32, 8448 x 1000 steps, D 32, K 64", (8448, 1000, 32, 64, 4)),
    ("HMM f64, one of 1e7 steps, D 32, K 16", (1, 10**7, 32, 16, 8)),
    ("HMM f64, 128 x 1e4 steps, D 32, K 1024", (128, 10**4, 32, 1024, 8)),
]
HOST_TO_DEVICE, FROM_FILE = 55e9, 2e9  # bytes/s of PCIe 5 x16; of HDF5 from the page cache on one thread: assumed


def main():
    print("| Shape | Floor, ms | set by | Kernels in turn, ms | Launches, ms | Rows a tile | Floor / predicted |")
    print("|---|---|---|---|---|---|---|")
    for name, rows, work in SHAPES:
        launches = -(-rows // work.tile_rows) * work.launches * LAUNCH / LANES
        predicted = max(rows * work.sum(), launches)
        print(f"| {name} | {1e3 * rows * work.floor():.2g} | {'flops' if work.arithmetic > work.reading else 'reading'} "
              f"| {1e3 * rows * work.sum():.2g} | {1e3 * launches:.2g} | {work.tile_rows} "
              f"| {100 * rows * work.floor() / predicted:.0f} % |")
    print("\n| Chains | Floor, ms | Walking, ms | Composing, ms | All else, ms | Steps a piece | Pieces at once | Walking, blocks 32 times as long, ms |")
    print("|---|---|---|---|---|---|---|---|")
    for name, shape in CHAINS:
        chain, longer = Chain(*shape, times=1), Chain(*shape, times=32)
        print(f"| {name} | {1e3 * chain.floor:.2g} | {1e3 * chain.walk:.2g} | {1e3 * chain.compose:.2g} | {1e3 * chain.others:.2g} "
              f"| {chain.length} | {chain.at_once} | {1e3 * longer.walk:.2g}, {longer.at_once} at once |")
    print(f"\nReading 8 GB: {8e9 / FROM_FILE:.2g} s from the file, {8e9 / HOST_TO_DEVICE:.2g} s to the device\n")
    print("\nPicoseconds a row:\n")
    for name, _, work in SHAPES:
        print(f"- {name}: " + ", ".join(f"{kernel.name} {1e12 * kernel.seconds:.0f}" for kernel in work.kernels))


if __name__ == "__main__":
    main()
