import { Injectable } from '@nestjs/common';
import { QueueManagementService } from '../../queue/queue-management.service.js';
import { type DeadLetter, type ExecutionRecord, ExecutionStore } from '../../store/execution-store.js';
import { isValidId } from '../flow-identity.js';
import { Stager } from '../stager.js';
import type {
  BulkReplayedView,
  DeadLetterPageView,
  DeadLettersQuery,
  ReplayedView,
} from './dead-letter.dto.js';
import { toSummaryView } from './execution-view.js';
import { assertNarrowed, type BulkReplayRequest, toFilter } from './list-query.dto.js';
import { notFound, ProblemException } from './problem.js';

const PAGE = 200;
/** A bulk replay reads at most this many dead executions, so that a rare error code cannot make it read all. */
const MAX_PAGES = 100;

/** What nobody runs any more: executions whose attempts are used up, and messages that nobody could read. */
@Injectable()
export class DeadLettersService {
  constructor(
    private readonly store: ExecutionStore,
    private readonly queues: QueueManagementService,
    private readonly stager: Stager,
  ) {}

  async list({ kind, limit, cursor }: DeadLettersQuery): Promise<DeadLetterPageView> {
    if (kind === 'execution') {
      const { items, nextCursor } = await this.store.list({ states: ['dead'] }, limit, cursor);
      return { kind, items: items.map(toSummaryView), nextCursor };
    }
    const { items, nextCursor } = await this.store.listDeadLetters(limit, cursor);
    return {
      kind,
      items: items.map((letter) => ({ ...letter, at: new Date(letter.at).toISOString() })),
      nextCursor,
    };
  }

  /** @param id of a dead execution, or of a dead message @throws ProblemException 404 or 409 */
  async replay(id: string): Promise<ReplayedView> {
    const found = await this.find(id);
    if ('letter' in found) {
      return this.replayMessage(found.letter);
    }
    const { state } = found.execution;
    const changed = state === 'dead' ? await this.store.replay([id]) : new Set();
    if (!changed.has(id)) {
      throw new ProblemException(
        'state-conflict',
        `expected a dead execution, got "${id}", which is ${state}`,
      );
    }
    this.stager.kick();
    return { id, kind: 'execution', status: 'queued' };
  }

  /** Deletes a dead message. @throws ProblemException 404, or 409 for an execution */
  async delete(id: string): Promise<void> {
    const found = await this.find(id);
    if ('execution' in found) {
      throw anExecution(id);
    }
    if (!(await this.store.deleteDeadLetter(id))) {
      throw notFound('dead letter', id);
    }
  }

  /** An execution may have a number for its id, as messages do: it is meant if it is a dead letter itself. */
  private async find(id: string): Promise<{ execution: ExecutionRecord } | { letter: DeadLetter }> {
    if (!isValidId(id)) {
      throw notFound('dead letter', id);
    }
    const execution = await this.store.get(id);
    if (execution?.state === 'dead') {
      return { execution };
    }
    const letter = await this.store.getDeadLetter(id);
    if (letter !== null) {
      return { letter };
    }
    if (execution === null) {
      throw notFound('dead letter', id);
    }
    return { execution };
  }

  /** Replays dead executions that match, newest first. @throws ProblemException 422 if it would be all of them by a slip */
  async replayAll(request: BulkReplayRequest): Promise<BulkReplayedView> {
    assertNarrowed(request);
    const { ids, more } = await this.findDead(request);
    const changed = ids.length === 0 ? new Set<string>() : await this.store.replay(ids);
    if (changed.size > 0) {
      this.stager.kick();
    }
    return { replayed: changed.size, executionIds: ids.filter((id) => changed.has(id)), more };
  }

  private async findDead(request: BulkReplayRequest): Promise<{ ids: string[]; more: boolean }> {
    const filter = { ...toFilter(request), states: ['dead' as const] };
    const ids: string[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < MAX_PAGES; page++) {
      const { items, nextCursor } = await this.store.list(filter, PAGE, cursor);
      const matching = items.filter(({ error }) => !request.errorCode || error?.code === request.errorCode);
      ids.push(...matching.map(({ executionId }) => executionId));
      if (ids.length >= request.limit || nextCursor === null) {
        return { ids: ids.slice(0, request.limit), more: ids.length > request.limit || nextCursor !== null };
      }
      cursor = nextCursor;
    }
    return { ids, more: true };
  }

  /** Deleted only when the broker has it: a crash in between repeats the message, and the record takes each end once. */
  private async replayMessage(letter: DeadLetter): Promise<ReplayedView> {
    const { id, exchange, routingKey } = letter;
    if ((await this.queues.republish(letter)) === 'unroutable') {
      const target = `exchange "${exchange}" with the routing key "${routingKey}"`;
      throw new ProblemException(
        'state-conflict',
        `no queue takes messages from ${target} at present; it was kept`,
      );
    }
    await this.store.deleteDeadLetter(id);
    return { id, kind: 'message', status: 'republished' };
  }
}

/** 409 for one that is to be deleted and is no message. */
export function anExecution(id: string): ProblemException {
  return new ProblemException(
    'state-conflict',
    `expected a dead message, got the execution "${id}": executions are deleted by retention (RETENTION_MS)`,
  );
}
