import { Injectable } from '@nestjs/common';
import { PRIORITIES } from '../queue/priority.js';
import { Dispatching } from '../scaling/dispatching.js';
import { Intake } from './intake.js';
import { Leadership } from './leadership.js';
import { ReadyQueues } from './ready-queues.js';

/** The leader's term and what waits with it, for scaling. */
@Injectable()
export class DispatchingView extends Dispatching {
  constructor(
    private readonly leadership: Leadership,
    private readonly ready: ReadyQueues,
    private readonly intake: Intake,
  ) {
    super();
  }

  get mayAct(): boolean {
    return this.leadership.mayAct;
  }

  get epoch(): number {
    return this.leadership.epoch;
  }

  waitingKinds(): { requiredTypes: string; count: number }[] {
    const inWindows = PRIORITIES.flatMap((priority) => this.ready.windows[priority].classes());
    const counts = new Map<string, number>();
    for (const { requiredTypes, count } of [...inWindows, ...this.intake.waitingKinds()]) {
      counts.set(requiredTypes, (counts.get(requiredTypes) ?? 0) + count);
    }
    return [...counts].map(([requiredTypes, count]) => ({ requiredTypes, count }));
  }
}
