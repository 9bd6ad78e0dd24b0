import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { TerminalState } from '../../store/transitions.js';
import { BETWEEN_VALUES, DurationHistogram } from './duration-histogram.js';

const DURATION_BUCKETS_S = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];
const HTTP_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];

/** What Prometheus reads at `/metrics`. Base units, and never an id as a label: each would be a series of its own. */
@Injectable()
export class Metrics implements OnModuleDestroy {
  readonly registry = new Registry();
  readonly open = this.gauge(
    'flow_executions_open',
    'Executions in each state that is not the end, and dead ones',
    ['state'],
  );
  readonly queueDepth = this.gauge(
    'flow_queue_depth_messages',
    'Messages ready in the queue, and tasks that wait with the leader instead',
    ['queue'],
  );
  readonly admissionWaiting = this.gauge(
    'flow_admission_waiting_executions',
    'Executions that wait for a slot, unanswered and not on record',
  );
  readonly queueConsumers = this.gauge('flow_queue_consumers', 'Consumers of the queue', ['queue']);
  readonly workers = this.gauge('flow_workers', 'Live workers: total, available for tasks, busy', ['kind']);
  readonly workersLoad = this.gauge('flow_workers_load_ratio', 'Average share of taken slots, 0 to 1');
  readonly leader = this.gauge('flow_leader', '1 on the replica that dispatches');
  readonly desiredWorkers = this.gauge(
    'flow_scaling_desired_workers',
    'Size that the class shall have; on the leader',
    ['class'],
  );
  readonly liveWorkers = this.gauge('flow_scaling_live_workers', 'Live workers of the class', ['class']);

  /** Ends since the last scrape: prom-client makes a text of the labels for each one that it counts. */
  private readonly ends = new Map<TerminalState, number>();
  private readonly finished = new Counter({
    name: 'flow_executions_finished_total',
    help: 'Ends recorded by this replica',
    labelNames: ['state'],
    registers: [this.registry],
    collect: () => this.addEnds(),
  });
  private readonly scalings = new Counter({
    name: 'flow_scaling_actions_total',
    help: 'Changes of the size of a class that this replica decided on',
    labelNames: ['class', 'direction'],
    registers: [this.registry],
  });
  private readonly durations = new DurationHistogram(this.registry, {
    name: 'flow_execution_duration_seconds',
    help: 'Run time of the attempt that ended the execution',
    labels: ['state'],
    bounds: DURATION_BUCKETS_S,
  });
  private readonly waits = new DurationHistogram(this.registry, {
    name: 'flow_execution_wait_seconds',
    help: 'From the arrival of a task at the dispatcher to its assignment',
    labels: [],
    bounds: DURATION_BUCKETS_S,
  });
  private readonly requests = new DurationHistogram(this.registry, {
    name: 'http_request_duration_seconds',
    help: 'HTTP requests by the template of their route',
    labels: ['method', 'route', 'status_code'],
    bounds: HTTP_BUCKETS_S,
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  /** An end was recorded. @param durationMs how long the attempt ran; null if it never started */
  recorded(state: TerminalState, durationMs: number | null): void {
    this.ends.set(state, (this.ends.get(state) ?? 0) + 1);
    if (durationMs !== null) {
      this.durations.observe(durationMs / 1_000, state);
    }
  }

  /** A task was given to a worker after `waitMs` with the dispatcher. */
  assigned(waitMs: number): void {
    this.waits.observe(waitMs / 1_000);
  }

  /** The size of a class was changed by a decision. */
  scaled(workerClass: string, direction: 'up' | 'down'): void {
    this.scalings.inc({ class: workerClass, direction });
  }

  /** A request was answered. @param route the template, for example `/orchestrator/executions/:id` */
  requested(method: string, route: string, statusCode: number, durationMs: number): void {
    const values = `${method}${BETWEEN_VALUES}${route}${BETWEEN_VALUES}${statusCode}`;
    this.requests.observe(durationMs / 1_000, values);
  }

  onModuleDestroy(): void {
    this.registry.clear();
  }

  private gauge<Label extends string>(name: string, help: string, labelNames: Label[] = []): Gauge<Label> {
    return new Gauge({ name, help, labelNames, registers: [this.registry] });
  }

  private addEnds(): void {
    this.ends.forEach((count, state) => this.finished.inc({ state }, count));
    this.ends.clear();
  }
}
