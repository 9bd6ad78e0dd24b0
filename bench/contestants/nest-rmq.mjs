/**
 * Nest's own RabbitMQ microservice, request and response: ClientProxy.send, two server processes on one durable queue,
 * persistent messages, manual acks. Nothing is kept: a lost client means a lost answer.
 */
import { fileURLToPath } from 'node:url';
import { Logger } from '@nestjs/common';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { ownPackageVersion } from '../package-version.mjs';
import { payload } from '../payload.mjs';
import { inParallel } from '../waiting.mjs';
import { CONCURRENCY, freshName, WORKERS } from './contestant.mjs';

const ROLE = fileURLToPath(new URL('../roles/nest-server.mjs', import.meta.url));
const QUEUE = 'nest';
const UNDER_WAY = 1_000;

/** @type {import('./contestant.mjs').ContestantKind} */
export const nestRmq = { name: 'Nest RMQ', start: startNest };

/**
 * @param {import('./contestant.mjs').Surroundings} surroundings
 * @returns {Promise<import('./contestant.mjs').Contestant>}
 */
async function startNest({ servers, processes, journal }) {
  const broker = await servers.broker();
  journal.uses({
    '@nestjs/microservices': ownPackageVersion('@nestjs/microservices'),
    RabbitMQ: (await broker.ctl(['version'])).trim(),
  });
  const vhost = freshName('nest');
  const url = await broker.createVhost(vhost);
  const workers = [];
  for (let index = 1; index <= WORKERS; index++) {
    const args = [ROLE, url, QUEUE, String(CONCURRENCY)];
    workers.push(await processes.startNode(`Nest server ${index}`, args, { readyWhen: /ready/ }));
  }
  Logger.overrideLogger(false);
  const client = ClientProxyFactory.create({
    transport: Transport.RMQ,
    options: {
      urls: [url],
      queue: QUEUE,
      queueOptions: { durable: true },
      persistent: true,
      socketOptions: { connectionOptions: { noDelay: true } },
    },
  });
  await client.connect();
  const requestReply = (/** @type {number} */ seq) => firstValueFrom(client.send('task', payload(seq)));

  return {
    name: nestRmq.name,
    requestReply,
    runBatch(count) {
      const sequence = Array.from({ length: count }, (_, index) => index);
      return inParallel(UNDER_WAY, sequence, requestReply);
    },
    roots: async () => ({ workers: workers.map(({ pid }) => pid), broker: [broker.pid] }),
    async stop() {
      await client.close();
      await Promise.all(workers.map((worker) => worker.stop()));
      await broker.deleteVhost(vhost);
    },
  };
}
