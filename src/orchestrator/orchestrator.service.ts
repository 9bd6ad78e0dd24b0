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
    const execution = this.check(message, options.idempotencyKey);
    const { waitMs = 0, idempotencyKey, onWait } = options;
    if (waitMs === 0) {
      return { ...(await this.submit(execution, idempotencyKey)), ended: null };
    }
    const wait = this.completions.wait(execution.executionId, waitMs);
    onWait?.(wait.giveUp);
    try {
      const submitted = await this.submit(execution, idempotencyKey);
      if (submitted.status !== 'accepted') {
        // The request is a repeated one, so its execution may have ended before.
        wait.look();
      }
      return { ...submitted, ended: endOf(await wait.ended) };
    } finally {
      wait.giveUp();
    }
  }

  /** Accepts many flows, each on its own: one answer per item, in order. */
  async executeBatch(messages: unknown[]): Promise<BatchOutcome[]> {
    this.refuseIfClosed();
    const outcomes: Promise<BatchOutcome>[] = [];
    let turnEndsAt = performance.now() + CHECKING_TURN_MS;
    for (const message of messages) {
      outcomes.push(this.executeItem(message));
      if (performance.now() > turnEndsAt) {
        await new Promise((resolve) => setImmediate(resolve));
        turnEndsAt = performance.now() + CHECKING_TURN_MS;
      }
    }
    return Promise.all(outcomes);
  }

  private async executeItem(message: unknown): Promise<BatchOutcome> {
    try {
      return { submitted: await this.submit(this.check(message)) };
    } catch (error) {
      return { problem: explain(error, this.logger).problem };
    }
  }

  private refuseIfClosed(): void {
    const refusal = this.shutdown.draining
      ? { reason: 'this instance is shutting down; another one, or its successor, takes it', retryAfterS: 1 }
      : this.intake.refusal();
    if (refusal) {
      throw nothingAccepted(refusal.reason, refusal.retryAfterS);
    }
  }

  private check(message: unknown, idempotencyKey?: string): NewExecution {
    const context: RequestContext = {
      limits: this.config,
      flows: this.flows,
      knownNodeTypes: this.config.unknownNodeTypes === 'reject' ? this.workers.knownNodeTypes() : new Set(),
      now: Date.now(),
      newId: () => (idempotencyKey === undefined ? uuidV7() : idOfKey(idempotencyKey)),
    };
    const request = toNewExecution(message, context);
    if (request.ok) {
      return request.execution;
    }
    const { problems } = request;
    throw request.tooLarge
      ? new ProblemException('too-large', problems[0]!.message, { errors: problems })
      : invalidRequest(problems);
  }

  private async submit(execution: NewExecution, idempotencyKey?: string): Promise<Submitted> {
    const { executionId, requestHash } = execution;
    const acceptance = await this.accept(execution, idempotencyKey);
    if (acceptance.kind === 'created') {
      return { executionId, status: 'accepted' };
    }
    if (acceptance.requestHash !== requestHash) {
      throw conflict(executionId, acceptance.state, idempotencyKey);
    }
    return { executionId, status: acceptance.state };
  }

  private async accept(execution: NewExecution, idempotencyKey?: string): Promise<Acceptance> {
    const { executionId } = execution;
    try {
      return await this.intake.submit(execution);
    } catch (error) {
      const away = awayReason(error);
      if (away === null) {
        throw error;
      }
      this.logger.warn(`it is unknown whether ${executionId} was accepted: ${(error as Error).message}`);
      const byKey = isOfKey(executionId, idempotencyKey);
      const identity = byKey ? 'same Idempotency-Key' : `executionId "${executionId}"`;
      throw unknownOutcome(away, identity, AWAY_RETRY_AFTER_S);
    }
  }
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
