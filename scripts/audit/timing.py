"""Times on the GPU: medians of CUDA events, after a warm-up."""

import statistics
import sys

import torch


def require_cuda(program):
    if not torch.cuda.is_available():
        print(f"{program}: no CUDA device here, nothing measured")
        sys.exit(2)


def median_ms(run, repeats, prepare=lambda: None, warm_up=2):
    """Milliseconds of run(prepare()); what prepare does is not timed."""
    times = []
    for index in range(warm_up + repeats):
        prepared = prepare()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        run(prepared)
        end.record()
        torch.cuda.synchronize()
        if index >= warm_up:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def device():
    """For the JSON files."""
    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
