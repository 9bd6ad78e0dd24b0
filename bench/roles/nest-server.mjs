/** `node nest-server.mjs <url> <queue> <prefetch>`: one server of Nest's RabbitMQ transport. */
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern, Payload, Transport } from '@nestjs/microservices';

const [url = '', queue = '', prefetch] = process.argv.slice(2);

class TaskController {
  /**
   * @param {object} payload
   * @param {import('@nestjs/microservices').RmqContext} context
   */
  run(payload, context) {
    context.getChannelRef().ack(context.getMessage());
    return payload;
  }
}

class ServerModule {}

// This file is not compiled, so decorators are called as the functions that they are.
const { prototype } = TaskController;
MessagePattern('task')(prototype, 'run', Object.getOwnPropertyDescriptor(prototype, 'run') ?? {});
Payload()(prototype, 'run', 0);
Ctx()(prototype, 'run', 1);
Controller()(TaskController);
Module({ controllers: [TaskController] })(ServerModule);

const app = await NestFactory.createMicroservice(ServerModule, {
  transport: Transport.RMQ,
  options: {
    urls: [url],
    queue,
    queueOptions: { durable: true },
    prefetchCount: Number(prefetch),
    noAck: false,
    persistent: true,
    socketOptions: { connectionOptions: { noDelay: true } },
  },
  logger: ['error'],
});
await app.listen();
process.once('SIGTERM', async () => {
  await app.close();
  process.exit(0);
});
console.log('ready');
