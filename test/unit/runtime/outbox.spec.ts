import { describe, expect, it } from '@jest/globals';
import type { OutgoingMessage, PublishOutcome } from '../../../src/messaging/publisher.js';
import type { ReportBatchMessage } from '../../../src/queue/contracts/reports.js';
import { Outbox } from '../../../src/runtime/outbox.js';

const MIB = 1_048_576;

/** Lets everything that is ready run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** An outbox whose messages are confirmed when the test says so. */
function controlled() {
  const messages: { message: OutgoingMessage; answer: (outcome: PublishOutcome) => void }[] = [];
  const outbox = new Outbox({
    workerId: 'worker-1',
    incarnation: 'i',
    exchange: 'flow.results',
    publish: (message) => new Promise((answer) => messages.push({ message, answer })),
  });
  const bodyOf = (index: number) =>
    JSON.parse(messages[index]!.message.content.toString()) as Omit<ReportBatchMessage, 'reports'> & {
      reports: unknown[];
    };
  return { outbox, messages, bodyOf };
}

describe('the reports of a worker', () => {
  it('of one turn go together at once, those that come meanwhile together when these are confirmed', async () => {
    const { outbox, messages, bodyOf } = controlled();
    const first = [outbox.add('1'), outbox.add('"2"')];
    await turn();
    const later = [outbox.add('[3]')];
    await turn();
    later.push(outbox.add('{}'));
    await turn();
    expect(messages).toHaveLength(1);
    expect(bodyOf(0)).toEqual({ workerId: 'worker-1', incarnation: 'i', reports: [1, '2'] });
    messages[0]!.answer('routed');
    await Promise.all(first);
    await turn();
    expect(bodyOf(1).reports).toEqual([[3], {}]);
    messages[1]!.answer('routed');
    await Promise.all(later);
    expect(messages.map(({ message }) => message.messageId)).toEqual(['worker-1:i:1', 'worker-1:i:2']);
  });

  it('fill no message with more than 200 of them or a mebibyte, unless one does alone', async () => {
    const { outbox, messages, bodyOf } = controlled();
    const half = JSON.stringify('h'.repeat(MIB / 2));
    const whole = JSON.stringify('w'.repeat(MIB));
    const sent = [...Array.from({ length: 450 }, (_, index) => String(index)), half, half, whole].map(
      (text) => outbox.add(text),
    );
    await turn();
    expect(messages.map((_, index) => bodyOf(index).reports.length)).toEqual([200, 200, 51, 1, 1]);
    messages.forEach(({ answer }) => answer('routed'));
    await Promise.all(sent);
  });

  it('arrive as they were, whatever their letters', async () => {
    const { outbox, messages, bodyOf } = controlled();
    const reports = ['plain', 'é', 'ŵ', '日本', '🚚 🚛', '\ud800 alone', '"]}'];
    reports.forEach((text) => void outbox.add(JSON.stringify(text)));
    await turn();
    expect(bodyOf(0).reports).toEqual(reports);
    messages[0]!.answer('routed');
    await outbox.idle();
  });

  it('are waited for, those too that are added while others are on their way', async () => {
    const { outbox, messages } = controlled();
    let isIdle = false;
    void outbox.add('1');
    const idle = outbox.idle().then(() => (isIdle = true));
    await turn();
    void outbox.add('2');
    messages[0]!.answer('routed');
    await turn();
    expect({ isIdle, messages: messages.length }).toEqual({ isIdle: false, messages: 2 });
    messages[1]!.answer('routed');
    await idle;
  });

  it('are given up when the process ends, and then nobody is told that they arrived', async () => {
    const { outbox, messages } = controlled();
    const sent = outbox.add('1');
    await turn();
    outbox.abandon();
    messages[0]!.answer('unroutable');
    await expect(sent).rejects.toThrow('the worker ended before its reports were confirmed');
    await outbox.idle();
  });
});
