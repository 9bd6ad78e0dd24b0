import { describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { createLogger, redactUrl } from '../../../src/config/logger.js';
import type { LogLevel } from '../../../src/config/config.schema.js';

function capture(level: LogLevel = 'trace') {
  const lines: string[] = [];
  const logger = createLogger({
    service: 'worker',
    instance: 'worker-1',
    level,
    format: 'json',
    destination: { write: (line) => void lines.push(line) },
  });
  return { logger, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> };
}

describe('createLogger', () => {
  it('writes JSON with service, instance, time, level and context', () => {
    const { logger, last } = capture();
    logger.log('ready', 'Bootstrap');
    expect(last()).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      service: 'worker',
      instance: 'worker-1',
      context: 'Bootstrap',
      msg: 'ready',
    });
  });

  it("stands behind Nest's Logger, with fields, errors and stacks", () => {
    const { logger, last } = capture();
    Logger.overrideLogger(logger);
    const nest = new Logger('Dispatcher');

    nest.warn('slow', { executionId: 'e1' });
    expect(last()).toMatchObject({ level: 'warn', msg: 'slow', executionId: 'e1', context: 'Dispatcher' });
    nest.error(new Error('lost'));
    expect(last()).toMatchObject({
      level: 'error',
      msg: 'lost',
      err: { type: 'Error' },
      context: 'Dispatcher',
    });
    nest.error('lost', new Error('x').stack);
    expect(last()).toMatchObject({
      msg: 'lost',
      stack: expect.stringContaining('Error: x'),
      context: 'Dispatcher',
    });
    nest.verbose({ depth: 3 });
    expect(last()).toMatchObject({ level: 'trace', depth: 3 });
    Logger.overrideLogger(false);
  });

  it('leaves out what is below its level', () => {
    const { logger, lines } = capture('warn');
    logger.log('no');
    logger.debug('no');
    logger.error('yes');
    expect(lines).toHaveLength(1);
  });

  it('hides credentials of URLs and authorization headers wherever they are', () => {
    const { logger, lines } = capture();
    logger.log('connecting to amqp://guest:hunter2@127.0.0.1:5672/v');
    logger.error(new Error('no route to postgres://u:hunter2@db/flows'));
    logger.log({
      request: { headers: { authorization: 'Bearer hunter2', Authorization: ['Basic hunter2'] } },
    });
    logger.log('body', {
      text: JSON.stringify({ authorization: 'Bearer hunter2', url: 'http://u:h"unter2@h' }),
    });
    expect(lines).toHaveLength(4);
    for (const line of lines) {
      expect(line).not.toContain('unter2');
      expect(() => JSON.parse(line) as unknown).not.toThrow();
    }
    expect(lines[0]).toContain('amqp://***@127.0.0.1:5672/v');
  });
});

describe('redactUrl', () => {
  it.each([
    ['amqp://guest:guest@127.0.0.1:5672', 'amqp://***@127.0.0.1:5672'],
    ["amqp://u:p@s's@h/v,amqps://x:y@k", 'amqp://***@h/v,amqps://***@k'],
    ['postgres://h/db?user=u&password=p&ssl=1', 'postgres://h/db?user=u&password=***&ssl=1'],
    ['https://example.org/a@b', 'https://example.org/a@b'],
    ['', ''],
  ])('%s → %s', (url, expected) => {
    expect(redactUrl(url)).toBe(expected);
  });
});
