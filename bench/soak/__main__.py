"""Run halloo under random faults, in storms between calm checks: `python -m bench.soak --minutes 10 --workers 2`."""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.machine import machine
from bench.servers import MissingError, exit_on_sigterm
from bench.soak.faults import BEHIND
from bench.soak.report import report
from bench.soak.run import Helper, Soak
from bench.soak.server import READY_SECONDS, Server


def main(argv: list[str] | None = None) -> int:
    """Start the server, its clients and the probes; run; report. Returns 1 for a failure."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, help="of the faults and clients; random by default")
    parser.add_argument("--at-once", type=int, default=20, help="concurrent random clients")
    parser.add_argument("--workers", type=int, default=2, help="worker processes, at least 2")
    options = parser.parse_args(argv)
    if options.workers < 2:  # noqa: PLR2004  # the first one is never killed
        parser.error("--workers must be at least 2")
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, exit_on_sigterm)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of writes after a reset, which are meant
    print(machine(), f"seed {seed}", sep="\n", flush=True)
    try:
        return run(options, seed)
    except MissingError as error:
        print(error, file=sys.stderr)
        return 2


def run(options: argparse.Namespace, seed: int) -> int:
    """Run with a seed."""
    with tempfile.TemporaryDirectory() as folder, Server(options.workers, Path(folder)) as server:
        if server.wait_for_workers(READY_SECONDS) is None:
            raise MissingError("the workers did not start")
        tcp, tls, udp = (str(server.ports[scheme]) for scheme in ("tcp", "tls", "udp"))
        unix = str(server.unix)
        with (
            Helper("clients", tcp, tls, unix, nice=BEHIND) as clients,
            Helper("probes", str(server.pid), tcp, tls, udp, unix) as prober,
        ):
            soak = Soak(server, clients, prober, seed=seed, at_once=options.at_once)
            try:
                soak.run(options.minutes * 60)
            except (OSError, MissingError) as error:
                soak.failures.append(f"the run ended early: {type(error).__name__} {error}")
        try:
            metrics = server.settled_metrics()
        except OSError as error:
            soak.failures.append(f"no metrics at the end: {error}")
            metrics = Counter()
        return 0 if report(soak, server.stop(), metrics) else 1


if __name__ == "__main__":
    sys.exit(main())
