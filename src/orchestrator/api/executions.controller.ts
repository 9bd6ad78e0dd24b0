import { Body, Controller, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common';
import {
  ApiAcceptedResponse,
  ApiOkResponse,
  ApiOperation,
  ApiParam,
  ApiProperty,
  ApiSchema,
  ApiTags,
} from '@nestjs/swagger';
import { IsOptional, Matches } from 'class-validator';
import type { FastifyReply } from 'fastify';
import { Needs } from './access.js';
import { ApiProblems, BAD_LIMIT, DATABASE_AWAY, EXECUTIONS_TAG } from './api-docs.js';
import { ExecutionPageView, ExecutionView, SubmittedView } from './execution.dto.js';
import { ExecutionsService } from './executions.service.js';
import { ListQuery } from './list-query.dto.js';
import { invalidRequest, ProblemException } from './problem.js';
import { BODY_PIPE, expected, QUERY_PIPE } from './validation.js';

@ApiSchema({ name: 'CancelRequest' })
export class CancelRequest {
  @IsOptional()
  @Matches(/^\P{Cc}{1,500}$/u, expected('1 to 500 characters without control characters'))
  @ApiProperty({ type: 'string', required: false, maxLength: 500, example: 'no longer needed' })
  reason?: string;
}

const BAD_REASON = invalidRequest([
  {
    pointer: '/reason',
    message: 'expected 1 to 500 characters without control characters, got ""',
  },
]);
const STILL_TO_RUN = new ProblemException(
  'state-conflict',
  'expected an execution that is failed, cancelled or dead, got "exec-456", which is queued: it is still to run',
);

@ApiTags(EXECUTIONS_TAG)
@Controller('orchestrator/executions')
export class ExecutionsController {
  constructor(private readonly executions: ExecutionsService) {}

  @Get()
  @Needs('read')
  @ApiOperation({ summary: 'Executions, newest first', operationId: 'listExecutions' })
  @ApiOkResponse({ type: ExecutionPageView })
  @ApiProblems(BAD_LIMIT, DATABASE_AWAY)
  list(@Query(QUERY_PIPE) query: ListQuery): Promise<ExecutionPageView> {
    return this.executions.list(query);
  }

  @Get(':executionId')
  @Needs('read')
  @ApiOperation({
    summary: 'One execution: state, attempts, result or error, timeline, and why it is waiting',
    operationId: 'getExecution',
  })
  @ApiParam({ name: 'executionId', type: 'string' })
  @ApiOkResponse({ type: ExecutionView })
  @ApiProblems(404, DATABASE_AWAY)
  find(@Param('executionId') executionId: string): Promise<ExecutionView> {
    return this.executions.find(executionId);
  }

  @Post(':executionId/cancel')
  @Needs('operate')
  @HttpCode(200)
  @ApiOperation({ summary: 'Cancel it; again is harmless', operationId: 'cancelExecution' })
  @ApiParam({ name: 'executionId', type: 'string' })
  @ApiOkResponse({ type: SubmittedView, description: 'It is cancelled.' })
  @ApiAcceptedResponse({
    type: SubmittedView,
    description: 'The wish is on record; its worker is to abort it.',
  })
  @ApiProblems(404, 409, BAD_REASON, DATABASE_AWAY)
  async cancel(
    @Param('executionId') executionId: string,
    @Body(BODY_PIPE) { reason }: CancelRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<SubmittedView> {
    const cancelled = await this.executions.cancel(executionId, reason ?? 'a client asked for it');
    if (cancelled.status === 'cancelling') {
      reply.status(202);
    }
    return cancelled;
  }

  @Post(':executionId/retry')
  @Needs('operate')
  @HttpCode(202)
  @ApiOperation({
    summary: 'A new series of attempts for one that is failed, cancelled or dead',
    operationId: 'retryExecution',
  })
  @ApiParam({ name: 'executionId', type: 'string' })
  @ApiAcceptedResponse({ type: SubmittedView })
  @ApiProblems(404, STILL_TO_RUN, DATABASE_AWAY)
  retry(@Param('executionId') executionId: string): Promise<SubmittedView> {
    return this.executions.retry(executionId);
  }
}
