"""Timing, and the JSON that `hrsam bench --json` writes as well: a document about machine and run, with rows."""

import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone

import torch

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
CACHE_BYTES = 128 << 20  # more than any GPU's second-level cache
MOST_RUNS = {"cuda": 30, "cpu": 10}
LEAST_RUNS = {"cuda": 10, "cpu": 3}  # in longer than a row is to take
ROW_SECONDS = {"cuda": 5, "cpu": 30}
WARM_UPS = 3
GRAPH_MS = 3  # of a CUDA graph's calls together, so that launching it is nothing


class Rows:
    """Measures what is given to it on one device and keeps the rows."""

    def __init__(self, device, seconds=None):
        """seconds: after so many no more rows are begun."""
        self.device = torch.device(device)
        self.end = time.monotonic() + (math.inf if seconds is None else seconds)
        self.rows = []

    @property
    def on_gpu(self):
        return self.device.type == "cuda"

    def normal(self, dtype, *shape):
        return torch.randn(*shape, device=self.device, dtype=DTYPES[dtype])

    def add(self, what, by, dtype, size, batch, make, run, flops=None, graph=False):
        """A row of run(*inputs). make() gives inputs: on a GPU several sets, together more than its cache holds, take turns.
        graph: on a GPU many calls in one CUDA graph, as for a kernel too short to be launched by Python."""
        try:
            if time.monotonic() > self.end:
                raise RuntimeError("no time left")
            with torch.inference_mode():
                times, memory = self._measure(make, run, graph)
        except Exception as error:  # out of memory, no compiler, a shape that a back end does not take
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(f"{what}, {size}, {dtype}, batch {batch}, {by}: left out: {reason}", file=sys.stderr)
            return
        finally:
            if self.on_gpu:
                torch.cuda.empty_cache()
        typical = statistics.median(times)
        row = {"what": what, "by": by, "device": "cuda:0" if self.on_gpu else "cpu", "dtype": dtype, "size": size,
               "batch": batch, "median": typical, "spread": (max(times) - min(times)) / typical, "runs": len(times)}
        if flops is not None:
            row["gflops"] = flops / typical * 1e-6
        if memory is not None:
            row["memory"] = memory
        self.rows.append(row)
        print(f"{what}, {size}, {dtype}, batch {batch}, {by}: {typical:.3f} ms", file=sys.stderr)

    def _measure(self, make, run, graph):
        if not self.on_gpu:
            return self._measure_cpu(make(), run), None
        torch.cuda.reset_peak_memory_stats()
        sets = [make()]
        size = sum(x.numel() * x.element_size() for x in sets[0])
        sets += [make() for _ in range(min(64, CACHE_BYTES // max(1, size)))]
        for inputs in sets[:WARM_UPS]:
            run(*inputs)
        if graph:
            calls = max(len(sets), min(400, int(GRAPH_MS / self._time(lambda: [run(*each) for each in sets]) * len(sets))))
            replay = capture(sets, run, calls)
            times = [each / calls for each in self._several(lambda i: self._time(replay))]
        else:
            times = self._several(lambda i: self._time(lambda: run(*sets[i % len(sets)])))
        return times, torch.cuda.max_memory_allocated() - size * (len(sets) - 1)

    def _several(self, timed):
        """Milliseconds of several runs. One that takes longer than a row is to is the only one on a CPU."""
        kind, times = self.device.type, [timed(0)]
        limit = 1e3 * ROW_SECONDS[kind]
        while not (kind == "cpu" and times[0] > limit) and (
                len(times) < LEAST_RUNS[kind] or (len(times) < MOST_RUNS[kind] and sum(times) < limit)):
            times.append(timed(len(times)))
        return times

    def _time(self, call):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end)

    def _measure_cpu(self, inputs, run):
        def timed(_):
            start = time.perf_counter()
            run(*inputs)
            return 1e3 * (time.perf_counter() - start)

        timed(0)  # may compile
        return self._several(timed)


def capture(sets, run, calls):
    """A CUDA graph of that many calls, the sets of inputs taking turns."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for inputs in sets:
            run(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            run(*sets[i % len(sets)])
    return graph.replay


def compiled(module, mode):
    """The module under torch.compile, for one shape of inputs at a time, or None where this PyTorch has none."""
    if not hasattr(torch, "compile") or mode == "none":
        return None
    torch._dynamo.reset()  # forgets other shapes: after a few it would not compile any more
    return torch.compile(module, mode=mode, dynamic=False)


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def document(rows):
    """The rows with machine and run, keys as in `hrsam bench --json`."""
    if rows.on_gpu:
        properties = torch.cuda.get_device_properties(0)
        driver = first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        device = {"name": properties.name, "detail": f"driver {driver}, CUDA {torch.version.cuda}",
                  "memory": properties.total_memory}
    else:
        device = {"name": processor(), "detail": f"PyTorch's, {torch.get_num_threads()} threads"}
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"schema": 1, "by": f"PyTorch {torch.__version__}", "device": device, "processor": processor(),
            "threads": torch.get_num_threads(), "commit": os.environ.get("HRSAM_COMMIT"),
            "run": os.environ.get("HRSAM_BENCH_RUN"), "note": os.environ.get("HRSAM_BENCH_NOTE"),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "residentPeak": peak, "rows": rows.rows}
