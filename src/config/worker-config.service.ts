import { Injectable } from '@nestjs/common';
import { WorkerVariables } from './config.schema.js';

/** The configuration of a worker, read once at its start; `config.schema.ts` says what each value means. */
@Injectable()
export class WorkerConfigService extends WorkerVariables {}
