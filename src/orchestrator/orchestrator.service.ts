import { Injectable, Logger } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import type { Acceptance, ExecutionRecord, NewExecution } from '../store/execution-store.js';
import { type ExecutionState, isTerminal } from '../store/transitions.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { AWAY_RETRY_AFTER_S, awayReason, explain } from './api/problem.filter.js';
import {
  type FieldProblem,
  invalidRequest,
  nothingAccepted,
  type Problem,
  ProblemException,
  unknownOutcome,
} from './api/problem.js';
import { Shutdown } from './api/shutdown.js';
import { Completions } from './completions.js';
import { FlowChecks } from './flow-checks.js';
import { idOfKey, uuidV7 } from './flow-identity.js';
import { type RequestContext, toNewExecution } from './flow-request.js';
import { Intake } from './intake.js';

export interface ExecuteOptions {
  /** The execution's identity when the message brings no `executionId`. */
  idempotencyKey?: string;
  /** How long to wait for the end, ms; 0 (default) = not at all. */
  waitMs?: number;
  /** Called with what ends the wait, for when the client goes; the execution goes on. */
  onWait?: (giveUp: () => void) => void;
}

export interface Submitted {
  executionId: string;
  /** `accepted` for a new execution, the state on record for a repeated request. */
  status: ExecutionState;
}

export interface ExecuteOutcome extends Submitted {
  /** The whole record if it ended in time. */
  ended: ExecutionRecord | null;
}

export type BatchOutcome = { submitted: Submitted } | { problem: Problem };

/** For how long items of a batch are checked before other requests get a turn. */
const CHECKING_TURN_MS = 10;

/** What a client's request becomes: checked, accepted, perhaps waited for. The facade between HTTP and the core. */
@Injectable()
export class OrchestratorService {
  private readonly logger = new Logger(OrchestratorService.name);
  private readonly flows: FlowChecks;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly intake: Intake,
    private readonly completions: Completions,
    private readonly workers: WorkerManagementService,
    private readonly shutdown: Shutdown,
  ) {
    this.flows = new FlowChecks({
      maxNodes: config.flowMaxNodes,
      maxConnections: config.flowMaxConnections,
      maxDepth: config.flowMaxDepth,
    });
  }

  /**
   * Accepts one flow. `message` is a parsed body that nobody has checked yet (see `FlowExecutionMessage`).
   * @throws ProblemException 422 with pointers, 413, or 503 with Retry-After, which says whether it may be accepted
   */
  async executeFlow(message: unknown, options: ExecuteOptions = {}): Promise<ExecuteOutcome> {
    this.refuseIfClosed();
    const { waitMs = 0, idempotencyKey, onWait } = options;
    const execution = check(message, this.requestContext(idempotencyKey));
    if (waitMs === 0) {
      const { executionId, status } = await this.submit(execution, idempotencyKey);
      return { executionId, status, ended: null };
    }
    const wait = this.completions.wait(execution.executionId, waitMs);
    onWait?.(wait.giveUp);
    try {
      const submitted = await this.submit(execution, idempotencyKey);
      if (submitted.status !== 'accepted') {
        // The request is a repeated one, so its execution may have ended before.
        wait.look();
      }
      const { executionId, status } = submitted;
      return { executionId, status, ended: endOf(await wait.ended) };
    } finally {
      wait.giveUp();
    }
  }

  /** Accepts many flows, each on its own: one answer per item, in order. Empties `messages` as it goes. */
  async executeBatch(messages: unknown[]): Promise<BatchOutcome[]> {
    this.refuseIfClosed();
    const outcomes: Promise<BatchOutcome[]>[] = [];
    for (let next = 0; next < messages.length;) {
      const checked = this.checkForATurn(messages, next);
      outcomes.push(this.submitAll(checked));
      next += checked.length;
      if (next < messages.length) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    return (await Promise.all(outcomes)).flat();
  }

  /** Checks messages from `first` on, until others shall have a turn. */
  private checkForATurn(messages: unknown[], first: number): (NewExecution | BatchOutcome)[] {
    const context = this.requestContext();
    const endsAt = performance.now() + CHECKING_TURN_MS;
    const checked: (NewExecution | BatchOutcome)[] = [];
    do {
      try {
        checked.push(check(taken(messages, first + checked.length), context));
      } catch (error) {
        checked.push(this.problemOf(error));
      }
    } while (first + checked.length < messages.length && performance.now() < endsAt);
    return checked;
  }

  /** Never rejects: what was refused already is passed through, what is refused now is told of each. */
  private async submitAll(checked: readonly (NewExecution | BatchOutcome)[]): Promise<BatchOutcome[]> {
    const outcomes = await this.outcomesOf(checked.filter(isExecution));
    let next = 0;
    const all: BatchOutcome[] = [];
    for (const each of checked) {
      all.push(isExecution(each) ? outcomes[next++]! : each);
    }
    return all;
  }

  private async outcomesOf(executions: NewExecution[]): Promise<BatchOutcome[]> {
    const answers = await this.intake.submit(executions);
    const outcomes: BatchOutcome[] = [];
    for (let index = 0; index < executions.length; index++) {
      const submitted = this.submittedAs(executions[index]!, answers[index]!);
      outcomes.push(submitted instanceof Error ? this.problemOf(submitted) : { submitted });
    }
    return outcomes;
  }

  private problemOf(error: unknown): BatchOutcome {
    return { problem: explain(error, this.logger).problem };
  }

  private refuseIfClosed(): void {
    const refusal = this.shutdown.draining
      ? { reason: 'this instance is shutting down; another one, or its successor, takes it', retryAfterS: 1 }
      : this.intake.refusal();
    if (refusal) {
      throw nothingAccepted(refusal.reason, refusal.retryAfterS);
    }
  }

  private requestContext(idempotencyKey?: string): RequestContext {
    return {
      limits: this.config,
      flows: this.flows,
      knownNodeTypes: this.config.unknownNodeTypes === 'reject' ? this.workers.knownNodeTypes() : new Set(),
      now: Date.now(),
      newId: () => (idempotencyKey === undefined ? uuidV7() : idOfKey(idempotencyKey)),
    };
  }

  private async submit(execution: NewExecution, idempotencyKey?: string): Promise<Submitted> {
    const [answer] = await this.intake.submit([execution]);
    const submitted = this.submittedAs(execution, answer!, idempotencyKey);
    if (submitted instanceof Error) {
      throw submitted;
    }
    return submitted;
  }

  private submittedAs(
    execution: NewExecution,
    answer: Acceptance | Error,
    idempotencyKey?: string,
  ): Submitted | Error {
    if (answer instanceof Error) {
      return this.failureOf(answer, execution, idempotencyKey);
    }
    const { executionId, requestHash } = execution;
    if (answer.kind === 'created') {
      return { executionId, status: 'accepted' };
    }
    return answer.requestHash === requestHash
      ? { executionId, status: answer.state }
      : conflict(executionId, answer.state, idempotencyKey);
  }

  /** What the client is told: its execution may or may not be on record. */
  private failureOf(error: Error, { executionId }: NewExecution, idempotencyKey?: string): Error {
    const away = awayReason(error);
    if (away === null) {
      return error;
    }
    this.logger.warn(`it is unknown whether ${executionId} was accepted: ${error.message}`);
    const byKey = isOfKey(executionId, idempotencyKey);
    const identity = byKey ? 'same Idempotency-Key' : `executionId "${executionId}"`;
    return unknownOutcome(away, identity, AWAY_RETRY_AFTER_S);
  }
}

function isExecution(checked: NewExecution | BatchOutcome): checked is NewExecution {
  return 'executionId' in checked;
}

/**
 * Out of the request's body, which lives until its answer: a parsed request that stayed there while the record is written
 * would be copied twice by the garbage collector.
 */
function taken(messages: unknown[], index: number): unknown {
  const message = messages[index];
  messages[index] = undefined;
  return message;
}

function check(message: unknown, context: RequestContext): NewExecution {
  const request = toNewExecution(message, context);
  if (request.ok) {
    return request.execution;
  }
  const { problems } = request;
  throw request.tooLarge
    ? new ProblemException('too-large', problems[0]!.message, { errors: problems })
    : invalidRequest(problems);
}

/** An execution may have been replayed since it ended. */
function endOf(record: ExecutionRecord | null): ExecutionRecord | null {
  return record && isTerminal(record.state) ? record : null;
}

function isOfKey(executionId: string, idempotencyKey?: string): boolean {
  return idempotencyKey !== undefined && idOfKey(idempotencyKey) === executionId;
}

function conflict(executionId: string, state: ExecutionState, idempotencyKey?: string): ProblemException {
  const byKey = isOfKey(executionId, idempotencyKey);
  const name = byKey
    ? `the Idempotency-Key ${JSON.stringify(idempotencyKey)}`
    : `executionId "${executionId}"`;
  const message =
    `${name} already stands for a request with another body (its state is ${state}): ` +
    'send the same body again, or take another id';
  const error: FieldProblem = byKey
    ? { header: 'Idempotency-Key', message }
    : { pointer: '/executionId', message };
  return new ProblemException('id-conflict', message, { errors: [error] });
}
