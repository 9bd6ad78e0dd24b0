"""The task that Celery's workers run, and how they are set up: no task is lost when a worker or the broker dies."""

import os
import sys

from celery import Celery
from celery.signals import worker_ready

app = Celery("bench", broker=os.environ["CELERY_BROKER"], backend="rpc://")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_delivery_mode="persistent",
    broker_transport_options={"confirm_publish": True},
    broker_pool_limit=int(os.environ["CELERY_CLIENT_THREADS"]),
    result_persistent=True,
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    worker_send_task_events=False,
)


@app.task(name="bench.task")
def task(payload):
    return payload


@worker_ready.connect
def say_ready(**_):
    print("worker is ready", file=sys.stderr, flush=True)
