#!/usr/bin/env python3
"""A worker for flow-orchestrator in Python: one file, Python 3.9 or later, pika 1.2 or later.

    AMQP_URL=amqp://guest:guest@localhost:5672 ./worker.py --id python-1

It runs flows made of the node types in NODE_TYPES, one thread a flow. The main thread alone talks to RabbitMQ:
flows put their reports into the outbox and wake it. The protocol is explained in docs/writing-a-worker.md.
"""
import argparse
import collections
import graphlib
import json
import logging
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pika
from pika.exceptions import (AMQPError, ChannelClosedByBroker, ConnectionWrongStateError, ConsumerCancelled,
                             NackError, UnroutableError)

WIRE_VERSION = 1
ID_PATTERN = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
MAX_RESULT_BYTES = 1 << 20  # the orchestrator's default limit for one result; also bounds a batch of reports
REMEMBERED = 1000  # how many finished tasks and early cancels to remember
TICK_S = 0.2
LAST_WORDS_S = 5  # after the drain deadline: time for aborted flows to stop and for their reports to be confirmed
log = logging.getLogger("worker")


# --- Node handlers: a function of (config, input, task) that returns a value of JSON or raises NodeError. ---

class NodeError(Exception):
    def __init__(self, code, message, retryable=False, node_id=None):
        super().__init__(message)
        self.code, self.retryable, self.node_id = code, retryable, node_id

    def failure(self):
        failure = {"code": self.code, "message": str(self), "retryable": self.retryable}
        return failure if self.node_id is None else {**failure, "nodeId": self.node_id}


def delay(config, value, task):
    """Waits `config.ms` milliseconds and passes its input on."""
    ms = config.get("ms")
    if isinstance(ms, bool) or not isinstance(ms, (int, float)) or not 0 <= ms <= 86_400_000:
        raise NodeError("bad_config", f"config.ms: expected a number from 0 to 86400000, got {json.dumps(ms)}")
    task.wait(ms / 1000)
    return value


def wordcount(config, value, task):
    """Counts the words of its input, a string or an object with a string `text`."""
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise NodeError("bad_input", "expected a string or an object with a string `text`, got "
                        + json.dumps(value)[:80])
    counts = collections.Counter(re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower()))
    return {"words": sum(counts.values()), "distinct": len(counts),
            "top": [{"word": word, "count": n} for word, n in sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:10]]}


NODE_TYPES = {"delay": delay, "python-wordcount": wordcount}


# --- One task, and the run of its flow ---

class Stopped(Exception):
    """The flow was ended from outside: `cancelled`, `handed_back` or `timeout`."""


class Task:
    """What was delivered and is not acked yet. `state`: queued → running → reported (its end is in the outbox)."""

    def __init__(self, message, tag):
        self.message, self.tag, self.state = message, tag, "queued"
        self.key = (message["executionId"], message["attempt"])
        self.deadline = None
        self._stop, self._stop_kind = threading.Event(), None

    def abort(self, kind):
        if not self._stop.is_set():
            self._stop_kind = kind
            self._stop.set()

    def wait(self, seconds=0.0):
        """Sleeps, or raises Stopped at once when the flow has to end. Long handlers call it now and then."""
        self._stop.wait(max(0.0, min(seconds, self.deadline - time.monotonic())))
        if self._stop.is_set():
            raise Stopped(self._stop_kind)
        if time.monotonic() >= self.deadline:
            raise Stopped("timeout")

    def report(self, kind, **fields):
        return {"executionId": self.key[0], "attempt": self.key[1], "kind": kind, **fields}


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_flow(flow):
    """Refuses what this worker does not do, instead of ignoring it, and gives back each node's parents."""
    parents = {node["id"]: [] for node in flow["nodes"]}
    for node in flow["nodes"]:
        extras = [name for name in ("retry", "timeoutMs") if name in node]
        if node.get("onError", "fail") != "fail":
            extras.append("onError")
        if node["type"] not in NODE_TYPES:
            raise NodeError("unsupported_node_type", f"expected one of {', '.join(NODE_TYPES)}, got {node['type']}",
                            True, node["id"])
        if extras or '"$expr":' in json.dumps(node.get("config")):
            raise NodeError("unsupported", f"this worker does not support {', '.join(extras) or '$expr'} of a node",
                            False, node["id"])
    for connection in flow["connections"]:
        if "when" in connection or "output" in connection:
            raise NodeError("unsupported", "this worker does not support `when` and `output` of a connection")
        if connection["from"] not in parents or connection["to"] not in parents:
            raise NodeError("bad_task", f"expected a connection between nodes, got {json.dumps(connection)}")
        if connection["from"] not in parents[connection["to"]]:
            parents[connection["to"]].append(connection["from"])
    return parents


def run_nodes(task, timeline):
    """Runs every node after its parents; gives back the outputs of the leaves."""
    flow, outputs = task.message["flowData"], {}
    parents = check_flow(flow)
    nodes = {node["id"]: node for node in flow["nodes"]}
    for node_id in graphlib.TopologicalSorter(parents).static_order():
        above = parents[node_id]
        value = ({parent: outputs[parent] for parent in above} if len(above) > 1
                 else outputs[above[0]] if above else task.message["inputs"])
        outputs[node_id] = run_node(nodes[node_id], value, task, timeline)
    inner = {parent for above in parents.values() for parent in above}
    return {node_id: output for node_id, output in outputs.items() if node_id not in inner}


def run_node(node, value, task, timeline):
    entry = {"nodeId": node["id"], "type": node["type"], "state": "completed", "tries": 1, "startedAt": now()}
    try:
        task.wait()
        return NODE_TYPES[node["type"]](node.get("config", {}), value, task)
    except Stopped as stopped:
        if str(stopped) != "timeout":
            entry["state"] = "cancelled"
            raise
        error = NodeError("timeout", f"not done within {task.message['timeoutMs']} ms", True, node["id"])
    except NodeError as raised:
        error = NodeError(raised.code, f"node {node['id']}: {raised}", raised.retryable, node["id"])
    except Exception as raised:  # a handler's own bug: it must not end the worker
        log.exception("node %s failed", node["id"])
        error = NodeError("node_failed", f"node {node['id']}: {raised!r}", True, node["id"])
    finally:
        timeline.append({**entry, "finishedAt": now()})
    timeline[-1].update(state="failed", error=error.failure())
    raise error


def run_flow(task):
    """The final report of one attempt."""
    timeline, started_at, clock = [], now(), time.monotonic()
    task.deadline = clock + task.message["timeoutMs"] / 1000
    try:
        result = run_nodes(task, timeline)
        size = len(json.dumps(result, allow_nan=False))
        if size > MAX_RESULT_BYTES:
            raise NodeError("result_too_large", f"expected a result of at most {MAX_RESULT_BYTES} bytes, got {size}")
        end = task.report("completed", result=result)
    except Stopped as stopped:
        end = task.report(str(stopped))
    except NodeError as error:
        end = task.report("failed", error=error.failure())
    except (ValueError, RecursionError) as error:  # a cycle, or a result that JSON cannot hold
        end = task.report("failed", error=NodeError("bad_task", str(error)).failure())
    return {**end, "startedAt": started_at, "finishedAt": now(), "timeline": timeline,
            "durationMs": round((time.monotonic() - clock) * 1000, 3)}


# --- Reading messages ---

class Undecodable(Exception):
    pass


def decode(properties, body):
    """The message as an object, checked as far as this worker reads it."""
    version = (properties.headers or {}).get("x-schema", WIRE_VERSION)
    if version != WIRE_VERSION:
        raise Undecodable(f"expected wire version {WIRE_VERSION}, got {version!r}")
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"expected JSON: {error}") from error
    if not isinstance(message, dict):
        raise Undecodable("expected an object")
    if properties.type in ("flow.task", "task.cancel") and task_key(message) is None:
        raise Undecodable("expected executionId and attempt")
    if properties.type == "flow.task":
        check_task(message)
    if properties.type == "worker.drain" and not is_count(message.get("deadlineMs"), 0):
        raise Undecodable("expected deadlineMs")
    return message


def check_task(message):
    flow = message.get("flowData")
    if not (isinstance(flow, dict) and isinstance(flow.get("nodes"), list) and flow["nodes"]
            and isinstance(flow.get("connections"), list) and isinstance(message.get("inputs"), dict)):
        raise Undecodable("expected flowData with nodes and connections, and inputs")
    items = [(node, ("id", "type")) for node in flow["nodes"]]
    items += [(connection, ("from", "to")) for connection in flow["connections"]]
    for item, fields in items:
        if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in fields):
            raise Undecodable(f"expected {' and '.join(fields)} in {json.dumps(item)[:80]}")
        if not isinstance(item.get("config", {}), dict):
            raise Undecodable(f"expected an object as config of the node {item['id']}")
    if not is_count(message.get("timeoutMs"), 1):
        raise Undecodable("expected timeoutMs")


def task_key(message):
    execution_id, attempt = message.get("executionId"), message.get("attempt")
    valid = isinstance(execution_id, str) and ID_PATTERN.fullmatch(execution_id) and is_count(attempt, 1)
    return (execution_id, attempt) if valid else None


def is_count(value, least):
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def readable_key(properties, body):
    """Which task an unreadable message is, if that can be told: from the body, else from its properties."""
    try:
        key = task_key(json.loads(body))
    except (ValueError, AttributeError, RecursionError):
        key = None
    return key or task_key({"executionId": properties.correlation_id,
                            "attempt": (properties.headers or {}).get("x-attempt")})


# --- Memory and CPU in percent of the limits ---

def words_of(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.readline().split()
    except OSError:
        return []


class Vitals:
    """This process beside the limits of its cgroup (version 2), else of the machine. Linux only."""

    def __init__(self):
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        limits = [int(word) for word in words_of("/sys/fs/cgroup/memory.max") if word.isdigit()]
        self.memory_limit = min([page * pages, *limits])
        quota, period = words_of("/sys/fs/cgroup/cpu.max") or ("max", "100000")
        self.cores = int(quota) / int(period) if quota.isdigit() else float(os.cpu_count() or 1)
        self._last = (time.monotonic(), time.process_time())
        self.memory_percent = self.cpu_percent = 0.0

    def sample(self):
        wall, cpu = time.monotonic(), time.process_time()
        self.cpu_percent = 100 * (cpu - self._last[1]) / max(wall - self._last[0], 1e-3) / self.cores
        self._last = (wall, cpu)
        resident = int(words_of("/proc/self/statm")[1]) * os.sysconf("SC_PAGE_SIZE")
        self.memory_percent = 100 * resident / self.memory_limit

    def status(self):
        worst = max(self.memory_percent, self.cpu_percent)
        return "critical" if worst >= 95 else "degraded" if worst >= 80 else "healthy"


# --- The worker ---

class IdTaken(Exception):
    """Another process consumes the queue of this worker id."""


class TooLate(Exception):
    """The drain deadline is over, and tasks are still held: RabbitMQ will deliver them again."""


class Worker:
    def __init__(self, worker_id, url, prefix, heartbeat_s, max_flows, drain_s):
        self.id, self.max_flows, self.heartbeat_s, self.drain_s = worker_id, max_flows, heartbeat_s, drain_s
        self.results, self.workers = f"{prefix}flow.results", f"{prefix}flow.workers"
        self.queue = f"{prefix}flow.worker.{worker_id}"
        self.brokers = [pika.URLParameters(address.strip()) for address in url.split(",")]
        for broker in self.brokers:
            broker.heartbeat, broker.socket_timeout, broker.blocked_connection_timeout = 10, 5, 60
            broker.client_properties = {"connection_name": f"flow worker {worker_id}"}
        self.incarnation = uuid.uuid4().hex
        self.published = 0  # numbers the messages of this process
        self.connection = self.channel = self.consumer = None
        self.tasks = {}  # (executionId, attempt) → Task, in order of arrival
        self.outbox = collections.deque()  # (Task, report), appended by any thread
        self.batch = None  # (messageId, body, tasks that end in it), until the broker confirmed it
        self.retry_at = 0.0
        self.finished = collections.OrderedDict()  # tasks whose end is confirmed
        self.cancelled = collections.OrderedDict()  # cancels that came before their task
        self.last_seq = 0
        self.pool = ThreadPoolExecutor(max_flows, thread_name_prefix="flow")
        self.vitals, self.sampled_at = Vitals(), 0.0
        self.told = (None, 0.0)  # what the last heartbeat said, and when
        self.signals, self.draining, self.deadline, self.reason = [], False, None, ""
        self.last_line = None

    def say(self, line):
        """Logs a line of a loop once, not at every turn."""
        if line != self.last_line:
            log.info(line)
        self.last_line = line

    # Life: connect, join, serve; again from the start whenever the connection or the channel breaks.

    def run(self):
        """Returns when the worker has ended; raises TooLate if it holds tasks that it could not report."""
        pause = 1.0
        while not (self.draining and not self.tasks):
            try:
                self.connection = pika.BlockingConnection(self.brokers)
                pause = 1.0
                if self.join():
                    self.serve()
                return self.leave()
            except (AMQPError, OSError) as error:
                self.say(f"no link to RabbitMQ ({error!r}); trying again until it is there")
            self.disconnect()
            self.idle(pause * random.uniform(0.7, 1.0), time.sleep)
            pause = min(15.0, pause * 2)

    def idle(self, seconds, sleep):
        until = time.monotonic() + seconds
        while time.monotonic() < until and not (self.draining and not self.tasks):
            sleep(TICK_S)
            self.advance()

    def disconnect(self):
        connection, self.connection, self.channel, self.consumer = self.connection, None, None, None
        for task in self.tasks.values():
            task.tag = None  # comes again with the redelivery
        try:
            if connection and connection.is_open:
                connection.close()
        except (AMQPError, OSError):
            pass

    def join(self):
        """Registers and consumes; True once both are done, False when the worker was told to end before that."""
        while not self.draining:
            self.advance()
            try:
                self.attach()
                logging.getLogger("pika.channel").setLevel(logging.WARNING)  # says why a channel is closed later
                self.say(f"worker {self.id} joined")
                return True
            except UnroutableError:
                pause, line = 1.0, "no orchestrator listens yet; waiting for one"
            except IdTaken:
                pause = random.uniform(2.0, 4.0)
                line = f"another worker with the id {self.id} is alive: stop it, or start this one with another --id"
            except ChannelClosedByBroker as error:
                if error.reply_code not in (403, 404):
                    raise
                pause = 3.0 if error.reply_code == 403 else 0.5
                line = f"not yet: {error.reply_text}"
            self.say(line)
            self.idle(pause, self.connection.sleep)
        self.open_channel()
        return bool(self.tasks)

    def open_channel(self):
        if self.channel and self.channel.is_open:
            self.channel.close()
        logging.getLogger("pika.channel").setLevel(logging.CRITICAL)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.channel.basic_qos(prefetch_count=self.max_flows + 16)
        self.consumer, self.told = None, (None, 0.0)
        self.channel.add_on_cancel_callback(lambda _: setattr(self, "consumer", None))

    def attach(self):
        # RabbitMQ ignores `exclusive` on quorum queues, so the consumers are counted before and after.
        self.open_channel()
        try:
            consumers = self.count_consumers()
        except ChannelClosedByBroker as error:
            if error.reply_code == 404:  # the orchestrator declares the queue once it has seen the registration
                self.open_channel()
                self.register()
            raise
        if consumers > 0:
            raise IdTaken
        self.register()
        self.consumer = self.channel.basic_consume(self.queue, self.on_message, exclusive=True)
        if self.count_consumers() > 1:
            self.channel.close()  # gives back what was delivered; the other one does the same, and one is first again
            raise IdTaken

    def count_consumers(self):
        return self.channel.queue_declare(self.queue, passive=True).method.consumer_count

    def serve(self):
        while self.tasks or not self.draining:
            self.connection.process_data_events(time_limit=TICK_S)
            if not self.channel.is_open or (self.consumer is None and not self.draining):
                raise ConsumerCancelled("RabbitMQ closed the channel or ended the consumer")
            self.advance()
            self.heartbeat()
            if self.draining and self.consumer:
                self.connection.process_data_events(time_limit=0)  # take what is here already
                consumer, self.consumer = self.consumer, None
                self.channel.basic_cancel(consumer)
            self.flush()

    def leave(self):
        self.tell("worker.goodbye", {"workerId": self.id, "incarnation": self.incarnation, "reason": self.reason})
        self.disconnect()

    # Work: these run whether the broker is there or not.

    def advance(self):
        """Starts what has a free slot; ends what has to end."""
        if self.signals:
            hurry = self.draining or len(self.signals) > 1  # a second Ctrl-C: do not wait for what runs
            reason = self.signals[-1]
            self.signals.clear()
            self.drain(0 if hurry else self.drain_s, reason)
        tasks = list(self.tasks.values())
        running = [task for task in tasks if task.state == "running"]
        if self.draining and time.monotonic() >= self.deadline:
            for task in running:
                task.abort("handed_back")
            if self.tasks and time.monotonic() >= self.deadline + LAST_WORDS_S:
                raise TooLate
        free = self.max_flows - len(running)
        for task in [task for task in tasks if task.state == "queued"][:free]:
            task.state = "running"
            self.pool.submit(self.execute, task)

    def execute(self, task):
        """In a thread of the pool."""
        self.outbox.append((task, task.report("started", startedAt=now())))
        self.wake()
        try:
            report = run_flow(task)
        except Exception as error:
            log.exception("running %s failed", task.key)
            report = task.report("failed", error=NodeError("internal", repr(error), True).failure())
        self.end(task, report)
        self.wake()

    def end(self, task, report):
        log.info("%s attempt %d: %s", *task.key, report["kind"])
        task.state = "reported"
        self.outbox.append((task, report))

    def wake(self):
        """Makes the main thread look at the outbox now. Without a connection it looks after the next one is made."""
        try:
            connection = self.connection
            if connection:
                connection.add_callback_threadsafe(lambda: None)
        except ConnectionWrongStateError:
            pass

    def drain(self, seconds, reason):
        if not self.draining:
            log.info("draining (%s): %d s for what runs", reason, seconds)
            self.reason, self.deadline = reason, time.monotonic() + seconds
        self.draining = True
        self.deadline = min(self.deadline, time.monotonic() + seconds)
        for task in list(self.tasks.values()):
            if task.state == "queued":
                self.end(task, task.report("handed_back"))

    # Deliveries. Each is acked here, or by flush() after its final report was confirmed.

    def on_message(self, channel, method, properties, body):
        handler = {"flow.task": self.on_task, "task.cancel": self.on_cancel, "worker.drain": self.on_drain,
                   "worker.register": self.on_register}.get(properties.type)
        try:
            if handler is None:
                raise Undecodable(f"unknown message type {properties.type}")
            message = decode(properties, body)
        except Undecodable as error:
            return self.refuse(method, properties, body, str(error))
        sequence = (properties.headers or {}).get("x-assignment-seq")
        if is_count(sequence, 0):
            self.last_seq = max(self.last_seq, sequence)
        handler(message, method)

    def refuse(self, method, properties, body, why):
        key = readable_key(properties, body) if properties.type == "flow.task" else None
        log.error("refusing a message of type %s: %s", properties.type, why)
        if key is None:
            return self.channel.basic_reject(method.delivery_tag, requeue=False)
        known = key in self.tasks
        task = self.keep({"executionId": key[0], "attempt": key[1]}, method)
        if not known:
            self.end(task, task.report("failed", error=NodeError("bad_task", why).failure()))

    def on_task(self, message, method):
        key = task_key(message)
        if method.redelivered and key in self.finished:
            return self.channel.basic_ack(method.delivery_tag)  # its end is confirmed; only the ack was lost
        known = key in self.tasks
        task = self.keep(message, method)
        if known:
            return
        if self.cancelled.pop(key, None):
            self.end(task, task.report("cancelled"))
        elif self.draining:
            self.end(task, task.report("handed_back"))

    def keep(self, message, method):
        """The task of a delivery. One that is held already is not run twice: it just gets the new delivery tag."""
        task = self.tasks.setdefault(task_key(message), Task(message, None))
        task.tag = method.delivery_tag
        return task

    def on_cancel(self, message, method):
        key = task_key(message)
        task = self.tasks.get(key)
        if task and task.state == "queued":
            self.end(task, task.report("cancelled"))
        elif task:
            task.abort("cancelled")
        elif key not in self.finished:
            remember(self.cancelled, key)
        self.channel.basic_ack(method.delivery_tag)

    def on_drain(self, message, method):
        self.channel.basic_ack(method.delivery_tag)
        self.drain(message["deadlineMs"] / 1000, str(message.get("reason", "worker.drain")))

    def on_register(self, _message, method):
        self.channel.basic_ack(method.delivery_tag)
        try:
            self.register()
        except UnroutableError:
            log.info("the orchestrator that asked for a registration is gone")

    # Publishing. pika waits for the broker's confirm in every basic_publish.

    def next_id(self):
        self.published += 1
        return f"{self.id}:{self.incarnation}:{self.published}"

    def publish(self, exchange, key, kind, body, persistent=False, message_id=None):
        properties = pika.BasicProperties(
            content_type="application/json", type=kind, headers={"x-schema": WIRE_VERSION},
            delivery_mode=2 if persistent else 1, message_id=message_id or self.next_id())
        self.channel.basic_publish(exchange, key, body, properties, mandatory=True)

    def held(self):
        return list(dict.fromkeys(execution_id for execution_id, _ in self.tasks))

    def register(self):
        capacity = {"maxConcurrentFlows": self.max_flows, "maxConcurrentNodes": self.max_flows,
                    "memoryLimitMB": round(self.vitals.memory_limit / 2**20, 1), "cpuLimitCores": self.vitals.cores}
        message = {"workerId": self.id, "hostname": socket.gethostname(), "capacity": capacity,
                   "supportedNodeTypes": sorted(NODE_TYPES), "incarnation": self.incarnation,
                   "heldExecutionIds": self.held()}
        self.publish(self.workers, "", "worker.registration", json.dumps(message))

    def tell(self, kind, message):
        try:
            self.publish(self.workers, "", kind, json.dumps(message))
        except (UnroutableError, NackError):
            self.say("no orchestrator listens at the moment")

    def heartbeat(self):
        """Each interval, and at once when status or draining changed."""
        if time.monotonic() - self.sampled_at >= min(5.0, self.heartbeat_s):
            self.vitals.sample()
            self.sampled_at = time.monotonic()
        state = (self.vitals.status(), self.draining)
        if state == self.told[0] and time.monotonic() - self.told[1] < self.heartbeat_s:
            return
        states = [task.state for task in self.tasks.values()]
        load = {"activeFlows": states.count("running"), "activeNodes": states.count("running"),
                "memoryUsagePercent": round(self.vitals.memory_percent, 1),
                "cpuUsagePercent": round(self.vitals.cpu_percent, 1), "queuedTasks": states.count("queued")}
        self.told = (state, time.monotonic())
        self.tell("worker.heartbeat", {
            "workerId": self.id, "status": state[0], "currentLoad": load, "incarnation": self.incarnation,
            "heldExecutionIds": self.held(), "lastAssignmentSeq": self.last_seq, "draining": self.draining})

    def flush(self):
        """Publishes reports until none is left; acks a task once its end is confirmed. What comes in the meantime
        makes the next batch. A batch whose outcome is unknown goes out again, the same bytes under the same id."""
        while time.monotonic() >= self.retry_at and (self.batch or self.outbox):
            self.batch = self.batch or self.next_batch()
            message_id, body, ended = self.batch
            try:
                self.publish(self.results, "results", "task.reports", body, persistent=True, message_id=message_id)
            except (UnroutableError, NackError):
                self.say("RabbitMQ does not take the results at the moment; trying again each second")
                self.retry_at = time.monotonic() + 1
                return
            self.batch = None
            for task in ended:
                self.tasks.pop(task.key, None)
                remember(self.finished, task.key)
                if task.tag is not None:
                    self.channel.basic_ack(task.tag)

    def next_batch(self):
        texts, ended, started, size = [], [], {}, 0
        while self.outbox and size < MAX_RESULT_BYTES:
            task, report = self.outbox.popleft()
            if report["kind"] == "started":
                started[task.key] = json.dumps(report)
                continue
            started.pop(task.key, None)  # the end says it too
            ended.append(task)
            texts.append(json.dumps(report))
            size += len(texts[-1])
        reports = ",".join([*started.values(), *texts])
        body = f'{{"workerId":{json.dumps(self.id)},"incarnation":"{self.incarnation}","reports":[{reports}]}}'
        return self.next_id(), body, ended


def remember(memory, key):
    memory[key] = True
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)


def setting(name, default, least):
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or int(text) < least:
        sys.exit(f"{name}: expected a whole number of at least {least}, got {text}")
    return int(text)


def main():
    parser = argparse.ArgumentParser(description="A worker for flow-orchestrator.")
    parser.add_argument("--id", required=True, help="stable name of this worker: letters, digits and _ . : -")
    worker_id = parser.parse_args().id
    if not ID_PATTERN.fullmatch(worker_id):
        parser.error(f"--id: expected 1 to 128 letters, digits or _ . : -, got {worker_id}")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    worker = Worker(worker_id, os.environ.get("AMQP_URL") or "amqp://guest:guest@localhost:5672",
                    os.environ.get("AMQP_PREFIX", ""), setting("HEARTBEAT_INTERVAL_MS", 15000, 100) / 1000,
                    setting("WORKER_MAX_CONCURRENT_FLOWS", 4, 1), setting("WORKER_DRAIN_DEADLINE_MS", 30000, 0) / 1000)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: worker.signals.append(signal.Signals(got).name))
    try:
        worker.run()
        log.info("nothing is held any more: bye")
        code = 0
    except TooLate as late:
        log.error("%s (%s)", late.__doc__, ", ".join(worker.held()))
        code = 1
    logging.shutdown()
    os._exit(code)  # without waiting for a handler that ignores its end


if __name__ == "__main__":
    main()
