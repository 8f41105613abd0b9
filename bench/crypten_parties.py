"""Two processes of CrypTen on this machine, timed: a script, run by `bench_crypten`.

Usage: python crypten_parties.py '{"matmul": 1024, "elements": 1048576, "rounds": 7, "slow_rounds":
3}' [arguments.npz results.npz]; the last line of its output is JSON: seconds of each round by job,
the slower party's, and the largest error of the matrix product. ReLU and sigmoid take the slow
rounds. With files, the arrays of the first, named by CrypTen's methods, go through these, and what
comes out is the second's; an array of two axes is a method along the last. CrypTen imports a part
of PyTorch's ONNX exporter that newer PyTorch has lost; nothing here needs it, so an empty module
stands in.
"""

import json
import sys
import time
import types
import warnings


def imported():
    """CrypTen and PyTorch."""
    warnings.simplefilter("ignore")
    name = "torch.onnx.symbolic_registry"
    sys.modules.setdefault(name, types.ModuleType(name))
    import crypten
    import crypten.mpc
    import torch

    return crypten, torch


def timed(job, rounds):
    """Seconds of each round, after one that warms up."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def evaluate(arguments, results):
    """What CrypTen's methods make of arrays, with its defaults; party 0 writes it."""
    import numpy as np

    crypten, torch = imported()
    found = {}
    with np.load(arguments) as arrays:
        for method, x in arrays.items():
            secret = crypten.cryptensor(torch.from_numpy(x), src=0)
            run = getattr(secret, method)
            found[method] = (run() if x.ndim == 1 else run(-1)).get_plain_text().double().numpy()
    if crypten.comm.get().get_rank() == 0:
        np.savez(results, **found)


def party(n, elements, rounds, slow_rounds, *files):
    """What each of the two processes does."""
    crypten, torch = imported()
    x, y = torch.rand(n, n, dtype=torch.float64), torch.rand(n, n, dtype=torch.float64)
    secret_x, secret_y = crypten.cryptensor(x, src=0), crypten.cryptensor(y, src=0)
    v = 2 * torch.rand(elements, dtype=torch.float64) - 1
    secret = crypten.cryptensor(v, src=0)
    seconds = {
        "matmul": timed(lambda: secret_x @ secret_y, rounds),
        "multiply": timed(lambda: secret * secret, rounds),
        "share": timed(lambda: crypten.cryptensor(v, src=0), rounds),
        "reveal": timed(lambda: secret.get_plain_text(), rounds),
        "relu": timed(lambda: secret.relu(), slow_rounds),
        "sigmoid": timed(lambda: secret.sigmoid(), slow_rounds),
    }
    if files:
        evaluate(*files)
    found = (secret_x @ secret_y).get_plain_text()
    expected = secret_x.get_plain_text().double() @ secret_y.get_plain_text().double()
    return {"seconds": seconds, "largest_error": float((found - expected).abs().max())}


def main():
    sizes = json.loads(sys.argv[1])
    crypten, _ = imported()
    run = crypten.mpc.run_multiprocess(world_size=2)(party)
    numbers = (sizes[name] for name in ("matmul", "elements", "rounds", "slow_rounds"))
    parties = run(*numbers, *sys.argv[2:])
    seconds = {
        job: [max(rounds) for rounds in zip(*(each["seconds"][job] for each in parties))]  # noqa: B905
        for job in parties[0]["seconds"]
    }
    print(json.dumps({"seconds": seconds, "largest_error": parties[0]["largest_error"]}))


if __name__ == "__main__":
    main()
