import { Injectable } from '@nestjs/common';
import { QueueManagementService } from '../../queue/queue-management.service.js';
import { type DeadLetter, ExecutionStore } from '../../store/execution-store.js';
import { isValidId } from '../flow-identity.js';
import { Stager } from '../stager.js';
import type {
  BulkReplayedView,
  DeadLetterPageView,
  DeadLettersQuery,
  ReplayedView,
} from './dead-letter.dto.js';
import { toSummaryView } from './execution-view.js';
import { type BulkReplayRequest, toFilter } from './list-query.dto.js';
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
    if (!isValidId(id)) {
      throw notFound('dead letter', id);
    }
    const execution = await this.store.get(id);
    if (execution === null) {
      return this.replayMessage(id);
    }
    const changed = execution.state === 'dead' ? await this.store.replay([id]) : new Set();
    if (!changed.has(id)) {
      const detail = `expected a dead execution, got "${id}", which is ${execution.state}`;
      throw new ProblemException('state-conflict', detail);
    }
    this.stager.kick();
    return { id, kind: 'execution', status: 'queued' };
  }

  /** Replays dead executions that match, newest first. */
  async replayAll(request: BulkReplayRequest): Promise<BulkReplayedView> {
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

  private async replayMessage(id: string): Promise<ReplayedView> {
    const letter = await this.store.takeDeadLetter(id);
    if (letter === null) {
      throw notFound('dead letter', id);
    }
    if ((await this.republish(letter)) === 'unroutable') {
      await this.store.addDeadLetters([letter]);
      const target = `exchange "${letter.exchange}" with the routing key "${letter.routingKey}"`;
      throw new ProblemException(
        'state-conflict',
        `no queue takes messages from ${target} at present; it was kept`,
      );
    }
    return { id, kind: 'message', status: 'republished' };
  }

  /** A letter that could not be sent goes back to where it was. */
  private async republish(letter: DeadLetter): Promise<'routed' | 'unroutable'> {
    try {
      return await this.queues.republish(letter);
    } catch (error) {
      await this.store.addDeadLetters([letter]);
      throw error;
    }
  }
}
