import { Injectable } from '@nestjs/common';
import { OrchestratorVariables } from './config.schema.js';

/** The configuration of an orchestrator, read once at its start; `config.schema.ts` says what each value means. */
@Injectable()
export class OrchestratorConfigService extends OrchestratorVariables {}
