import { createRequire } from 'node:module';
import type { LoggerService } from '@nestjs/common';
import { type DestinationStream, type Logger as Pino, pino } from 'pino';
import type { LogFormat, LogLevel } from './config.schema.js';
import { redactLine } from './redact.js';

export { redactUrl } from './redact.js';

export interface LoggerOptions {
  service: 'orchestrator' | 'worker';
  /** Instance id or worker id. */
  instance: string;
  level: LogLevel;
  format: LogFormat;
  /** Where lines go; default stdout. */
  destination?: DestinationStream;
}

/** The logger of a process: for `NestFactory.create(…, { logger })`; everyone else uses Nest's `Logger`. */
export function createLogger(options: LoggerOptions): PinoLogger {
  const { service, instance, level, format, destination } = options;
  const pretty =
    format === 'json' || (format === 'auto' && !process.stdout.isTTY) ? undefined : prettyStream();
  const settings = {
    level,
    base: { service, instance },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    // On the finished line: messages, errors and fields of any depth pass through here.
    hooks: { streamWrite: redactLine },
  };
  const logger = new PinoLogger(pino(settings, destination ?? pretty ?? pino.destination(1)));
  if (format === 'pretty' && !pretty) {
    logger.warn(
      'LOG_FORMAT=pretty needs the package pino-pretty, which is not installed: writing JSON',
      'Logger',
    );
  }
  return logger;
}

/** What Nest says of itself while it starts, a line a module and a route: of use to nobody but us. */
const NEST_INTERNALS: ReadonlySet<unknown> = new Set([
  'NestFactory',
  'InstanceLoader',
  'RoutesResolver',
  'RouterExplorer',
  'NestMicroservice',
  'NestApplication',
]);

/**
 * Nest's levels on pino's: `log` is info, `verbose` is trace. Behind the message may come objects (their fields
 * are added to the line), an error (as `err`), a stack, and, last, the context.
 */
export class PinoLogger implements LoggerService {
  constructor(private readonly pino: Pino) {}

  log(message: unknown, ...rest: unknown[]): void {
    this.write(NEST_INTERNALS.has(rest.at(-1)) ? 'debug' : 'info', message, rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.write('error', message, rest);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.write('warn', message, rest);
  }

  debug(message: unknown, ...rest: unknown[]): void {
    this.write('debug', message, rest);
  }

  verbose(message: unknown, ...rest: unknown[]): void {
    this.write('trace', message, rest);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.write('fatal', message, rest);
  }

  private write(level: LogLevel, message: unknown, rest: readonly unknown[]): void {
    if (!this.pino.isLevelEnabled(level)) return;
    const { fields, texts } = lineOf([message, ...rest]);
    if (texts.length > 0) this.pino[level](fields, texts.join(' '));
    else this.pino[level](fields);
  }
}

interface Line {
  fields: Record<string, unknown>;
  texts: string[];
}

function lineOf(parts: readonly unknown[]): Line {
  const line: Line = { fields: {}, texts: [] };
  for (const [index, part] of parts.entries()) {
    if (part instanceof Error) line.fields.err = part;
    else if (typeof part === 'object' && part !== null) Object.assign(line.fields, part);
    else if (typeof part === 'string' && index > 0 && /\n\s+at /.test(part)) line.fields.stack = part;
    else if (typeof part === 'string' && index > 0 && index === parts.length - 1) line.fields.context = part;
    else if (part !== undefined) line.texts.push(String(part));
  }
  return line;
}

/** pino-pretty is a development dependency: absent from an installation for production. */
function prettyStream(): DestinationStream | undefined {
  const load = createRequire(import.meta.url);
  try {
    const pretty = load('pino-pretty') as typeof import('pino-pretty');
    return pretty({
      sync: true,
      ignore: 'service,instance,context',
      messageFormat: '{if context}[{context}] {end}{msg}',
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}
