import type { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { ConfirmChannel } from 'amqplib';
import { BrokerLink } from '../../../src/messaging/broker-link.js';

const silent = { log: () => undefined, warn: () => undefined, error: () => undefined };

describe('a link to the broker', () => {
  let link: BrokerLink;
  let channel: ConfirmChannel;
  let queue: string;
  /** What went to the operating system, call by call, in bytes. */
  let calls: number[];

  beforeEach(async () => {
    const urls = [process.env.TEST_AMQP_URL!];
    link = new BrokerLink({ name: 'spec', urls, tls: {}, heartbeatS: 60, logger: silent });
    await new Promise((resolve) => link.once('up', resolve));
    channel = await link.model!.createConfirmChannel();
    ({ queue } = await channel.assertQueue('', { exclusive: true }));
    calls = countCalls((link.model!.connection as unknown as { stream: Writable }).stream);
  });
  afterEach(() => link.close());

  it('sends head and body of a message together', async () => {
    const content = Buffer.alloc(10_000, 'x');
    channel.sendToQueue(queue, content);
    await channel.waitForConfirms();
    expect(calls).toHaveLength(1);
    expect(calls[0]).toBeGreaterThan(content.length);
  });

  it('sends what is published in one turn together', async () => {
    const sizes = [10_000, 20, 3_000];
    sizes.forEach((size) => channel.sendToQueue(queue, Buffer.alloc(size)));
    await channel.waitForConfirms();
    expect(calls).toHaveLength(1);
  });

  it('carries on where a message is longer than the socket buffers', async () => {
    const content = Buffer.alloc(5_000_000, 'y');
    channel.sendToQueue(queue, content);
    channel.sendToQueue(queue, Buffer.from('next'));
    await channel.waitForConfirms();
    const first = await channel.get(queue, { noAck: true });
    const second = await channel.get(queue, { noAck: true });
    expect(first && first.content.equals(content)).toBe(true);
    expect(second && second.content.toString()).toBe('next');
  });
});

/** Counts the writes that a socket hands to the operating system. */
function countCalls(socket: Writable): number[] {
  const calls: number[] = [];
  const { _write, _writev } = socket;
  socket._write = (chunk: Buffer, ...rest) => {
    calls.push(chunk.length);
    _write.call(socket, chunk, ...rest);
  };
  socket._writev = (chunks, done) => {
    calls.push(chunks.reduce((sum, { chunk }) => sum + (chunk as Buffer).length, 0));
    _writev!.call(socket, chunks, done);
  };
  return calls;
}
