import { Injectable, Logger } from '@nestjs/common';
import { type Cancellation, type ExecutionRecord, ExecutionStore } from '../../store/execution-store.js';
import { WorkerManagementService } from '../../worker/worker-management.service.js';
import { isValidId } from '../flow-identity.js';
import { Stager } from '../stager.js';
import type { ExecutionPageView, ExecutionView, SubmittedView } from './execution.dto.js';
import { toExecutionView, toSummaryView } from './execution-view.js';
import { type ListQuery, toFilter } from './list-query.dto.js';
import { Metrics } from './metrics.js';
import { notFound, ProblemException } from './problem.js';
import { WaitingFactsReader } from './waiting-facts.js';

/** Looking at executions on record, and the two things that a client may do to one: cancel it, try it again. */
@Injectable()
export class ExecutionsService {
  private readonly logger = new Logger(ExecutionsService.name);

  constructor(
    private readonly store: ExecutionStore,
    private readonly workers: WorkerManagementService,
    private readonly stager: Stager,
    private readonly waiting: WaitingFactsReader,
    private readonly metrics: Metrics,
  ) {}

  async list(query: ListQuery): Promise<ExecutionPageView> {
    const { items, nextCursor } = await this.store.list(toFilter(query), query.limit, query.cursor);
    return { items: items.map(toSummaryView), nextCursor };
  }

  /** @throws ProblemException 404 */
  async find(executionId: string): Promise<ExecutionView> {
    return this.view(await this.get(executionId));
  }

  async view(record: ExecutionRecord): Promise<ExecutionView> {
    return toExecutionView(record, await this.waiting.reasonFor(record));
  }

  /**
   * Cancels a waiting execution at once; has the worker abort one that it holds. Repeating it is harmless.
   * @throws ProblemException 404, or 409 if it ended otherwise
   */
  async cancel(executionId: string, reason: string): Promise<SubmittedView> {
    assertId(executionId);
    const cancellation = await this.store.cancel(executionId, reason);
    switch (cancellation?.kind) {
      case undefined:
        throw notFound('execution', executionId);
      case 'cancelled':
        this.metrics.recorded('cancelled', null);
        return { executionId, status: 'cancelled' };
      case 'requested':
        await this.tellWorker(executionId, cancellation, reason);
        return { executionId, status: 'cancelling' };
      case 'ended':
        if (cancellation.state === 'cancelled') {
          return { executionId, status: 'cancelled' };
        }
        throw new ProblemException(
          'state-conflict',
          `expected an execution that has not ended, got "${executionId}", which is ${cancellation.state}`,
        );
    }
  }

  /** The wish is on record: an answer that denied it would be wrong, even if the worker cannot be told now. */
  private async tellWorker(
    executionId: string,
    { workerId, attempt }: Extract<Cancellation, { kind: 'requested' }>,
    reason: string,
  ): Promise<void> {
    try {
      await this.workers.cancelOnWorker(workerId, { executionId, attempt, reason });
    } catch (error) {
      const { message } = error as Error;
      this.logger.warn(`worker ${workerId} was not told to cancel ${executionId}: ${message}`);
    }
  }

  /** A new series of attempts under the same id. @throws ProblemException 404 or 409 */
  async retry(executionId: string): Promise<SubmittedView> {
    assertId(executionId);
    const changed = await this.store.replay([executionId]);
    if (!changed.has(executionId)) {
      const { state } = await this.get(executionId);
      const instead =
        state === 'completed' ? 'submit it under another id to run it again' : 'it is still to run';
      throw new ProblemException(
        'state-conflict',
        `expected an execution that is failed, cancelled or dead, got "${executionId}", which is ${state}: ${instead}`,
      );
    }
    this.stager.kick();
    return { executionId, status: 'queued' };
  }

  private async get(executionId: string): Promise<ExecutionRecord> {
    assertId(executionId);
    const record = await this.store.get(executionId);
    if (!record) {
      throw notFound('execution', executionId);
    }
    return record;
  }
}

/** What cannot be an id is not worth a question to the database. */
function assertId(executionId: string): void {
  if (!isValidId(executionId)) {
    throw notFound('execution', executionId);
  }
}
