import { Body, Controller, Headers, HttpCode, Post, Query, Res } from '@nestjs/common';
import {
  ApiAcceptedResponse,
  ApiBody,
  ApiExtraModels,
  ApiHeader,
  ApiOkResponse,
  ApiOperation,
  ApiQuery,
  ApiTags,
} from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { Needs } from './api/access.js';
import { ApiProblems, EXECUTIONS_TAG, ProblemView } from './api/api-docs.js';
import { BatchRequest, BatchView, readBatch, toBatchView } from './api/batch.dto.js';
import { readExecuteOptions } from './api/execute-options.js';
import { ExecutionView, SubmittedView } from './api/execution.dto.js';
import { ExecutionsService } from './api/executions.service.js';
import { FlowExecutionRequest } from './api/flow-execution.dto.js';
import { BATCH_EXAMPLE, EXECUTE_EXAMPLE } from './api/request-examples.js';
import { OrchestratorService } from './orchestrator.service.js';

/**
 * The way in. Bodies are typed `unknown` on purpose: they go unconverted to `flow-request.ts`, which checks the
 * envelope with its DTO and the flow with `checkFlow`, in one pass and with pointers.
 */
@ApiTags(EXECUTIONS_TAG)
@ApiExtraModels(ProblemView)
@Controller('orchestrator')
export class OrchestratorController {
  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly orchestrator: OrchestratorService,
    private readonly executions: ExecutionsService,
  ) {}

  @Post('execute')
  @Needs('execute')
  @HttpCode(202)
  @ApiOperation({
    summary: 'Run a flow',
    description:
      'Once answered with 202 it is on record and will reach its end. The same request under the same id is one execution: it gets the first answer again.',
    operationId: 'executeFlow',
  })
  @ApiBody({ type: FlowExecutionRequest, examples: { flow: { value: EXECUTE_EXAMPLE } } })
  @ApiQuery({
    name: 'waitMs',
    required: false,
    schema: { type: 'integer', minimum: 0 },
    description: 'Wait for the end.',
  })
  @ApiHeader({
    name: 'Prefer',
    required: false,
    description: '`wait=N`: wait N seconds for the end (RFC 7240).',
  })
  @ApiHeader({
    name: 'Idempotency-Key',
    required: false,
    description: 'Its identity when it has no executionId.',
  })
  @ApiAcceptedResponse({
    type: SubmittedView,
    description: 'Accepted.',
    headers: { Location: { description: 'Where to follow it.', schema: { type: 'string' } } },
  })
  @ApiOkResponse({ type: ExecutionView, description: 'It ended while the request waited.' })
  @ApiProblems(400, 413, 415, 422, 503)
  async execute(
    @Body() body: unknown,
    @Query('waitMs') waitMs: unknown,
    @Headers('prefer') prefer: string | undefined,
    @Headers('idempotency-key') idempotencyKey: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<SubmittedView | ExecutionView> {
    const options = readExecuteOptions({ waitMs, prefer, idempotencyKey }, this.config.waitLimitMs);
    const { executionId, status, ended } = await this.orchestrator.executeFlow(body, {
      waitMs: options.waitMs,
      idempotencyKey: options.idempotencyKey,
      // There is nobody left to wait for.
      onWait: (giveUp) => reply.raw.once('close', giveUp),
    });
    reply.header('Location', `/orchestrator/executions/${executionId}`);
    if (options.preferenceApplied !== undefined) {
      reply.header('Preference-Applied', options.preferenceApplied);
    }
    if (ended === null) {
      return { executionId, status };
    }
    reply.status(200);
    return this.executions.view(ended);
  }

  @Post('execute/batch')
  @Needs('execute')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Run many flows, each answered on its own',
    description: 'The answer is 200 whatever became of the items; look at the `status` of each.',
    operationId: 'executeBatch',
  })
  @ApiBody({ type: BatchRequest, examples: { batch: { value: BATCH_EXAMPLE } } })
  @ApiOkResponse({ type: BatchView })
  @ApiProblems(400, 413, 415, 422, 503)
  async executeBatch(@Body() body: unknown): Promise<BatchView> {
    const items = readBatch(body, this.config.batchLimitItems);
    return toBatchView(await this.orchestrator.executeBatch(items));
  }
}
