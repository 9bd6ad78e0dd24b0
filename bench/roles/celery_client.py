"""Celery's client: reads `batch <count>` and `one <seq>`, and says `done` once the results are there.

A confirm of RabbitMQ for a persistent message takes until its next sync to disk, so one publisher that waits for each
confirm would publish some forty tasks a second. Batches are therefore published by many threads at a time.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from celery_app import task

THREADS = int(os.environ["CELERY_CLIENT_THREADS"])
PAYLOAD_BYTES = 512
FRAME_BYTES = len(json.dumps({"seq": 0, "data": ""}, separators=(",", ":"))) - 1


def payload(seq):
    return {"seq": seq, "data": "x" * (PAYLOAD_BYTES - FRAME_BYTES - len(str(seq)))}


def run_share(seqs):
    # Answers come to the thread that asked.
    results = [task.delay(payload(seq)) for seq in seqs]
    for result in results:
        result.get(timeout=600)


def run_batch(pool, count):
    list(pool.map(run_share, [range(first, count, THREADS) for first in range(THREADS)]))


def main():
    pool = ThreadPoolExecutor(THREADS)
    print("ready")
    for line in sys.stdin:
        command, argument = line.split()
        if command == "batch":
            run_batch(pool, int(argument))
        else:
            task.delay(payload(int(argument))).get(timeout=60)
        print("done")


main()
