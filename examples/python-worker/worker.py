#!/usr/bin/env python3
"""A worker for flow-orchestrator in Python: one file, Python 3.9 or later, pika 1.2 or later, Linux.

    AMQP_URL=amqp://guest:guest@localhost:5672 ./worker.py --id python-1

It runs flows made of the node types in NODE_TYPES, one thread a flow. The main thread alone talks to RabbitMQ: flows
put their reports into the outbox, where it looks every TICK_S. The protocol is explained in docs/writing-a-worker.md.
"""
import argparse
import collections
import graphlib
import json
import logging
import math
import os
import random
import re
import signal
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConsumerCancelled, NackError, UnroutableError

WIRE_VERSION = 1
ID_PATTERN = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
MAX_RESULT_BYTES = 1 << 20  # the orchestrator's default limit
MAX_BATCH = 8  # reports a message, which stays below the 16 MiB that RabbitMQ 4 takes
REMEMBERED = 1000  # ended tasks and early cancels
CONTROL_PREFETCH = 16  # room beyond the slots, so that control messages pass the tasks that run
TICK_S = 0.05
LAST_WORDS_S = 5  # after the drain deadline, for aborted flows to stop and for their reports to be confirmed
log = logging.getLogger("worker")


# --- Node types: functions of (config, input, task) that return a value of JSON or raise NodeError ---

class NodeError(Exception):
    def __init__(self, code, message, retryable=False):
        super().__init__(message)
        self.code, self.retryable = code, retryable


def delay(config, value, task):
    """Waits `config.ms` milliseconds and passes its input on."""
    ms = config.get("ms")
    if not isinstance(ms, (int, float)) or not 0 <= ms <= 86_400_000:
        raise NodeError("bad_config", f"config.ms: expected a number from 0 to 86400000, got {ms!r}")
    task.wait(ms / 1000)
    return value


def wordcount(config, value, task):
    """Counts the words of its input, a string or an object with a string `text`."""
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise NodeError("bad_input", f"expected a string or an object with a string `text`, got {text!r:.80}")
    counts = collections.Counter(re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower()))
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
    return {"words": sum(counts.values()), "distinct": len(counts), "top": [{"word": w, "count": n} for w, n in top]}


NODE_TYPES = {"delay": delay, "python-wordcount": wordcount}


# --- Running a flow, in a thread of the pool ---

class Stopped(Exception):
    """The flow was ended from outside: `cancelled` or `handed_back`."""


class Task:
    """One attempt, held from its delivery until the report of its end is confirmed: queued → running → ended."""

    def __init__(self, key, body, tag):
        self.key, self.body, self.tag, self.state = key, body, tag, "queued"
        self.future, self.deadline = None, math.inf
        self._stop, self._stop_kind = threading.Event(), None

    def abort(self, kind):
        self._stop_kind = self._stop_kind or kind
        self._stop.set()

    def wait(self, seconds=0.0):
        """Sleeps, or raises at once when the flow has to end. Long handlers call it now and then."""
        self._stop.wait(max(0.0, min(seconds, self.deadline - time.monotonic())))
        if self._stop.is_set():
            raise Stopped(self._stop_kind)
        if time.monotonic() >= self.deadline:
            raise NodeError("timeout", "the execution's timeoutMs is over")


def run_flow(task):
    """Runs one attempt and gives back the report of its end."""
    started_at, clock = now(), time.monotonic()
    try:
        message = json.loads(task.body)
        task.deadline = clock + message["timeoutMs"] / 1000
        end = {"kind": "completed", "result": run_nodes(message["flowData"], message["inputs"], task)}
        if len(json.dumps(end)) > MAX_RESULT_BYTES:
            raise NodeError("result_too_large", f"expected a result of at most {MAX_RESULT_BYTES} bytes")
    except Stopped as stopped:
        end = {"kind": str(stopped)}
    except NodeError as error:
        end = failure(error.code, str(error), error.retryable)
    except Exception as error:  # not JSON, a field that is missing or of another kind, a cycle
        end = failure("bad_task", f"the task cannot be read: {error!r}")
    duration_ms = round((time.monotonic() - clock) * 1000, 3)
    return {**end, "startedAt": started_at, "finishedAt": now(), "durationMs": duration_ms}


def run_nodes(flow, inputs, task):
    """Runs every node after its parents; gives back the outputs of the leaves."""
    nodes, parents, outputs = {node["id"]: node for node in flow["nodes"]}, parents_of(flow), {}
    for node_id in graphlib.TopologicalSorter(parents).static_order():
        above = {parent: outputs[parent] for parent in parents[node_id]}
        value = above if len(above) > 1 else next(iter(above.values()), inputs)
        outputs[node_id] = run_node(nodes[node_id], value, task)
    inner = {parent for above in parents.values() for parent in above}
    return {node_id: output for node_id, output in outputs.items() if node_id not in inner}


def parents_of(flow):
    """Node id → ids of its parents. Refuses what this worker does not do, instead of ignoring it."""
    unsupported = {f"the type {node['type']}" for node in flow["nodes"] if node["type"] not in NODE_TYPES}
    unsupported |= {name for node in flow["nodes"] for name in ("retry", "timeoutMs", "onError") if name in node}
    unsupported |= {"$expr" for node in flow["nodes"] if '"$expr":' in json.dumps(node.get("config"))}
    unsupported |= {name for link in flow["connections"] for name in ("when", "output") if name in link}
    if unsupported:
        raise NodeError("unsupported", f"this worker does not support {', '.join(sorted(unsupported))}")
    parents = {node["id"]: [] for node in flow["nodes"]}
    for link in flow["connections"]:
        parents[link["to"]].append(link["from"])
    return parents


def run_node(node, value, task):
    try:
        task.wait()
        output = NODE_TYPES[node["type"]](node.get("config", {}), value, task)
        json.dumps(output, allow_nan=False)  # raises here what would otherwise spoil the report
        return output
    except Stopped:
        raise
    except NodeError as error:
        raise NodeError(error.code, f"node {node['id']}: {error}", error.retryable) from error
    except Exception as error:  # a mistake in a handler
        log.exception("node %s failed", node["id"])
        raise NodeError("node_failed", f"node {node['id']}: {error!r}", retryable=True) from error


def failure(code, message, retryable=False):
    return {"kind": "failed", "error": {"code": code, "message": message, "retryable": retryable}}


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- The worker ---

class Vitals:
    """Memory and CPU use of this process in percent of its limits, measured once a second."""

    def __init__(self, memory_mb):
        self.memory_mb, self.cores = memory_mb, os.cpu_count() or 1
        self.memory_percent = self.cpu_percent = 0.0
        self._clocks = time.monotonic(), time.process_time()

    def status(self):
        clocks = time.monotonic(), time.process_time()
        wall, cpu = clocks[0] - self._clocks[0], clocks[1] - self._clocks[1]
        if wall >= 1:
            with open("/proc/self/statm", encoding="ascii") as file:
                resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            self.memory_percent = round(100 * resident / 2**20 / self.memory_mb, 1)
            self._clocks, self.cpu_percent = clocks, round(100 * cpu / wall / self.cores, 1)
        worst = max(self.memory_percent, self.cpu_percent)
        return "critical" if worst >= 95 else "degraded" if worst >= 80 else "healthy"


class Worker:
    def __init__(self, worker_id, url, prefix, max_flows, heartbeat_s, drain_s, vitals):
        self.id, self.max_flows, self.heartbeat_s, self.drain_s = worker_id, max_flows, heartbeat_s, drain_s
        self.results, self.workers = f"{prefix}flow.results", f"{prefix}flow.workers"
        self.queue, self.vitals = f"{prefix}flow.worker.{worker_id}", vitals
        self.brokers = [pika.URLParameters(address.strip()) for address in url.split(",")]
        for broker in self.brokers:
            broker.heartbeat, broker.socket_timeout, broker.blocked_connection_timeout = 10, 5, 60
        self.incarnation, self.published = uuid.uuid4().hex, 0  # with the id they make each messageId
        self.tasks = {}  # (executionId, attempt) → Task: what is held
        self.ended, self.cancelled_ahead = {}, {}  # the same keys, remembered for a while
        self.pool = ThreadPoolExecutor(max_flows)  # has the slots, and queues what has none yet
        self.outbox = collections.deque()  # (Task, report); any thread appends
        self.batch, self.retry_at = None, 0.0  # (what encode() made, tasks that end in it), until it is confirmed
        self.last_seq, self.told, self.said = 0, (None, 0.0), None
        self.signals, self.leaving, self.deadline = [], None, math.inf  # `leaving`: why, once it drains

    # Life: connect, join, serve; again from the start whenever anything breaks. Flows run on meanwhile.

    def run(self):
        pause = 1.0
        while not self.done():
            try:
                with pika.BlockingConnection(self.brokers) as self.connection:
                    pause = 1.0
                    self.join()
                    self.serve()
                    self.tell("worker.goodbye", reason=self.leaving)
            except (AMQPError, OSError) as error:
                self.say(f"not in the pool ({error!r}); trying again until it works")
            self.idle(pause * random.uniform(0.5, 1.0))
            pause = min(15.0, pause * 2)

    def done(self):
        return self.leaving is not None and not self.tasks

    def join(self):
        """Two processes of one id would each get half of the tasks, and RabbitMQ does not prevent it on quorum
        queues: so consumers are counted before, and after in case two came at the same moment."""
        if self.count_consumers() > 0:
            raise ConnectionError(f"another process takes tasks as {self.id}: stop it, or use another --id")
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.channel.basic_qos(prefetch_count=self.max_flows + CONTROL_PREFETCH)
        if not self.register():
            raise ConnectionError("no orchestrator listens")
        for task in self.tasks.values():
            task.tag = None  # was of another channel; the redelivery brings the one that can be acked
        self.channel.basic_consume(self.queue, self.on_message)
        if self.count_consumers() > 1:
            raise ConnectionError(f"another process joins as {self.id}")
        self.told = (None, 0.0)
        self.say(f"worker {self.id} joined")

    def count_consumers(self):
        try:
            with self.connection.channel() as channel:
                return channel.queue_declare(self.queue, passive=True).method.consumer_count
        except ChannelClosedByBroker as error:
            if error.reply_code == 404:
                return 0  # no queue yet: the orchestrator declares it at the registration
            raise

    def serve(self):
        while not self.done():
            self.connection.process_data_events(time_limit=TICK_S)
            if not (self.channel.is_open and self.channel.consumer_tags):
                raise ConsumerCancelled("RabbitMQ closed the channel or ended the consumer")
            self.keep_time()
            self.heartbeat()
            self.flush()

    def idle(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.done():
            time.sleep(TICK_S)
            self.keep_time()

    def say(self, line):
        """Logs a line of a loop once, not at every turn."""
        if line != self.said:
            log.info(line)
        self.said = line

    # Draining keeps the consumer, so that cancels still arrive; tasks that arrive are handed back.

    def drain(self, seconds, reason):
        if self.leaving is None:
            log.info("draining (%s): %d s for what runs", reason, seconds)
            self.leaving = reason
        self.deadline = min(self.deadline, time.monotonic() + seconds)
        for task in self.tasks.values():
            if task.state == "queued":
                self.stop(task, "handed_back")

    def keep_time(self):
        """Acts on signals and on the drain deadline, whether the broker is there or not."""
        while self.signals:  # a second one does not wait for what runs
            self.drain(self.drain_s if self.leaving is None else 0, self.signals.pop(0))
        if time.monotonic() >= self.deadline:
            for task in self.tasks.values():
                self.stop(task, "handed_back")
        if self.tasks and time.monotonic() >= self.deadline + LAST_WORDS_S:
            log.error("ending without a report of %s: RabbitMQ will deliver them again", ", ".join(self.held()))
            os._exit(1)  # without waiting for a handler that ignores its end

    # Tasks and control messages.

    def on_message(self, channel, method, properties, body):
        headers = properties.headers or {}
        try:
            if headers.get("x-schema", WIRE_VERSION) != WIRE_VERSION:
                raise ValueError(f"expected wire version {WIRE_VERSION}, got {headers['x-schema']!r}")
            if properties.type == "flow.task":
                self.last_seq = max(self.last_seq, headers.get("x-assignment-seq", 0))
                self.take(task_key(properties.correlation_id, headers["x-attempt"]), body, method)
            else:
                self.obey(properties.type, json.loads(body))
                channel.basic_ack(method.delivery_tag)
        except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            # Nobody will ever understand it.
            log.error("dead-lettering a message of type %s: %r", properties.type, error)
            channel.basic_reject(method.delivery_tag, requeue=False)

    def take(self, key, body, method):
        if key in self.tasks:  # it goes on; since the connection broke, only the new tag can be acked
            self.tasks[key].tag = method.delivery_tag
            return
        if method.redelivered and key in self.ended:  # only the ack was lost
            self.channel.basic_ack(method.delivery_tag)
            return
        task = self.tasks[key] = Task(key, body, method.delivery_tag)
        if method.redelivered:  # whoever had it is gone, and may have begun: the orchestrator decides
            self.end(task, failure("interrupted", "the process that had this task ended before it reported", True))
        elif self.cancelled_ahead.pop(key, None):
            self.end(task, {"kind": "cancelled"})
        elif self.leaving is not None:
            self.end(task, {"kind": "handed_back"})
        else:
            task.future = self.pool.submit(self.execute, task)

    def obey(self, kind, message):
        if kind == "task.cancel":
            key = task_key(message["executionId"], message["attempt"])
            if key in self.tasks:
                self.stop(self.tasks[key], "cancelled")
            elif key not in self.ended:
                remember(self.cancelled_ahead, key)
        elif kind == "worker.drain":
            self.drain(int(message["deadlineMs"]) / 1000, str(message["reason"]))
        elif kind == "worker.register":
            self.register()
        else:
            raise ValueError("expected a type that this worker knows")

    def stop(self, task, kind):
        """Ends a task: at once if it has not begun, else as soon as its handler looks; never one that has ended."""
        if task.state == "queued" and task.future.cancel():
            self.end(task, {"kind": kind})
        else:
            task.abort(kind)

    def execute(self, task):
        """Runs in a thread of the pool."""
        task.state = "running"
        self.outbox.append((task, {"kind": "started", "startedAt": now()}))
        self.end(task, run_flow(task))

    def end(self, task, report):
        log.info("%s attempt %d: %s", *task.key, report["kind"])
        task.state = "ended"
        self.outbox.append((task, report))

    # Publishing. pika waits for the broker's confirm in every basic_publish.

    def encode(self, **fields):
        """A message and its id."""
        self.published += 1
        body = json.dumps({"workerId": self.id, "incarnation": self.incarnation, **fields})
        return f"{self.id}:{self.incarnation}:{self.published}", body

    def publish(self, exchange, key, kind, encoded, delivery_mode):
        """Whether it has reached a queue and was confirmed."""
        message_id, body = encoded
        properties = pika.BasicProperties(content_type="application/json", type=kind, message_id=message_id,
                                          headers={"x-schema": WIRE_VERSION}, delivery_mode=delivery_mode)
        try:
            self.channel.basic_publish(exchange, key, body, properties, mandatory=True)
            return True
        except (UnroutableError, NackError):
            self.say(f"RabbitMQ has no queue for {kind} at the moment")
            return False

    def tell(self, kind, **fields):
        return self.publish(self.workers, "", kind, self.encode(**fields), delivery_mode=1)

    def register(self):
        capacity = {"maxConcurrentFlows": self.max_flows, "maxConcurrentNodes": self.max_flows,
                    "memoryLimitMB": self.vitals.memory_mb, "cpuLimitCores": self.vitals.cores}
        return self.tell("worker.registration", hostname=socket.gethostname(), capacity=capacity,
                         supportedNodeTypes=sorted(NODE_TYPES), heldExecutionIds=self.held())

    def heartbeat(self):
        """Each interval, and at once when status or draining change."""
        state = {"status": self.vitals.status(), "draining": self.leaving is not None}
        if state == self.told[0] and time.monotonic() - self.told[1] < self.heartbeat_s:
            return
        self.told = (state, time.monotonic())
        states = [task.state for task in self.tasks.values()]
        load = {"activeFlows": states.count("running"), "activeNodes": states.count("running"),
                "queuedTasks": states.count("queued"), "memoryUsagePercent": self.vitals.memory_percent,
                "cpuUsagePercent": self.vitals.cpu_percent}
        self.tell("worker.heartbeat", **state, currentLoad=load, heldExecutionIds=self.held(),
                  lastAssignmentSeq=self.last_seq)

    def held(self):
        return [execution_id for execution_id, _attempt in self.tasks]

    def flush(self):
        """Publishes reports until none is left, and acks a task once its end is confirmed. A batch whose outcome is
        unknown goes out again: the same bytes under the same id."""
        while time.monotonic() >= self.retry_at and (self.batch or self.outbox):
            self.batch = self.batch or self.next_batch()
            encoded, ended = self.batch
            if not self.publish(self.results, "results", "task.reports", encoded, delivery_mode=2):
                self.retry_at = time.monotonic() + 1
                return
            self.batch = None
            for task in ended:
                del self.tasks[task.key]
                remember(self.ended, task.key)
                if task.tag is not None:
                    self.channel.basic_ack(task.tag)

    def next_batch(self):
        reports, ended = {}, []
        while self.outbox and len(reports) < MAX_BATCH:
            task, report = self.outbox.popleft()
            execution_id, attempt = task.key
            reports[task.key] = {"executionId": execution_id, "attempt": attempt, **report}  # an end replaces a start
            if report["kind"] != "started":
                ended.append(task)
        return self.encode(reports=list(reports.values())), ended


def task_key(execution_id, attempt):
    """Names one attempt. What would break the schema of a report, and with it a whole batch, raises."""
    if not ID_PATTERN.fullmatch(execution_id) or not isinstance(attempt, int) or attempt < 1:
        raise ValueError(f"expected an executionId and an attempt, got {execution_id!r} and {attempt!r}")
    return execution_id, attempt


def remember(memory, key):
    memory[key] = True
    if len(memory) > REMEMBERED:
        del memory[next(iter(memory))]


def main():
    parser = argparse.ArgumentParser(description="A worker for flow-orchestrator.")
    parser.add_argument("--id", required=True, help="stable name of this worker: letters, digits and _ . : -")
    worker_id = parser.parse_args().id
    if not ID_PATTERN.fullmatch(worker_id):
        parser.error(f"--id: expected 1 to 128 letters, digits or _ . : -, got {worker_id}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # we say it ourselves
    env = os.environ.get
    worker = Worker(
        worker_id,
        url=env("AMQP_URL", "amqp://guest:guest@localhost:5672"),
        prefix=env("AMQP_PREFIX", ""),
        max_flows=int(env("WORKER_MAX_CONCURRENT_FLOWS", "4")),
        heartbeat_s=int(env("HEARTBEAT_INTERVAL_MS", "15000")) / 1000,
        drain_s=int(env("WORKER_DRAIN_DEADLINE_MS", "30000")) / 1000,
        vitals=Vitals(int(env("WORKER_MEMORY_LIMIT_MB", "1024"))))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: worker.signals.append(signal.Signals(got).name))
    worker.run()
    log.info("nothing is held any more: bye")


if __name__ == "__main__":
    main()
