import { describe, expect, it } from '@jest/globals';
import type { Delivery } from '../../../src/messaging/consumer.js';
import { decodeTasks, type Encoded, UndecodableError } from '../../../src/queue/contracts/wire.js';
import {
  carriedTasks,
  encodeTask,
  encodeTaskBatch,
  type RecordedTask,
} from '../../../src/queue/task-encoding.js';

function recorded(executionId: string): RecordedTask {
  return {
    executionId,
    flowId: 'flow',
    attempt: 2,
    maxAttempts: 3,
    priority: 'normal',
    requiredTypes: 'delay',
    request:
      '{"flowData":{"name":"f","version":1,"nodes":[{"id":"a","type":"delay"}],"connections":[]},"inputs":{"ü":1}}',
    timeoutMs: 1_000,
    solo: false,
    needsSlot: false,
  };
}

function messageOf(type: string | undefined, content: Buffer | string, headers = {}): Encoded & Delivery {
  const message = { type, content: Buffer.from(content), headers: { 'x-schema': 1, ...headers } };
  return message as unknown as Encoded & Delivery;
}

const batchOf = (...tasks: (Buffer | string)[]): Encoded & Delivery =>
  messageOf('flow.tasks', encodeTaskBatch(tasks.map((task) => Buffer.from(task))));

describe('tasks on their way to a worker', () => {
  const good = encodeTask(recorded('good'));

  it('come out of a batch as they went in, in order', () => {
    const ids = ['a', 'b', 'c'];
    const received = decodeTasks(batchOf(...ids.map((id) => encodeTask(recorded(id)))));
    expect(received.map(({ task }) => (task as { executionId: string }).executionId)).toEqual(ids);
    expect(received.every(({ problem }) => problem === null)).toBe(true);
    expect(received[0]!.task).toMatchObject({ attempt: 2, inputs: { ü: 1 }, timeoutMs: 1_000 });
  });

  it('may come alone, as a task or as a batch of one', () => {
    expect(decodeTasks(messageOf('flow.task', good))).toEqual(decodeTasks(batchOf(good)));
  });

  it('are checked one by one: one that is wrong says what is, and its neighbours are there', () => {
    const bad = good.toString().replace('"attempt":2', '"attempt":0');
    const received = decodeTasks(batchOf(good, bad, 'null', good));
    expect(received.map(({ problem }) => problem)).toEqual([
      null,
      expect.stringMatching(/^flow\.task: \/attempt must be >= 1/),
      expect.stringMatching(/^flow\.task: the message must be object/),
      null,
    ]);
  });

  it.each([
    ['another type', messageOf('task.cancel', good), /type flow\.task or flow\.tasks, got task\.cancel/],
    ['no type', messageOf(undefined, good), /got no type/],
    ['a later version', messageOf('flow.tasks', good, { 'x-schema': 2 }), /wire version 1 .*got 2/],
    ['no JSON', messageOf('flow.tasks', '{"tasks":['), /UTF-8 JSON/],
    ['no array', messageOf('flow.tasks', '{"tasks":{}}'), /array \/tasks/],
    ['null', messageOf('flow.tasks', 'null'), /array \/tasks/],
    ['nothing in it', messageOf('flow.tasks', '{"tasks":[]}'), /at least one task/],
  ])('are not found in a message with %s', (_what, message, reason) => {
    expect(() => decodeTasks(message)).toThrow(UndecodableError);
    expect(() => decodeTasks(message)).toThrow(reason);
  });

  it('can be named by a delivery that nobody took, but for those that cannot be read', () => {
    const bad = good.toString().replace('"attempt":2', '"attempt":0');
    expect(carriedTasks(batchOf(good, bad, encodeTask(recorded('other'))))).toMatchObject([
      { executionId: 'good', attempt: 2 },
      { executionId: 'other', attempt: 2 },
    ]);
    const headers = { 'x-attempt': 3, 'x-node-types': 'delay' };
    const single = Object.assign(messageOf('flow.task', 'not read at all', headers), {
      correlationId: 'one',
    });
    expect(carriedTasks(single)).toMatchObject([{ executionId: 'one', attempt: 3 }]);
    expect(carriedTasks(messageOf('flow.tasks', 'no JSON'))).toEqual([]);
    expect(carriedTasks(messageOf('task.cancel', '{}'))).toEqual([]);
  });
});
