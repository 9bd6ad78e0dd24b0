import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiAcceptedResponse, ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { ApiProblems, OPERATIONS_TAG } from './api-docs.js';
import { BulkReplayedView, DeadLetterPageView, DeadLettersQuery, ReplayedView } from './dead-letter.dto.js';
import { DeadLettersService } from './dead-letters.service.js';
import { BulkReplayRequest } from './list-query.dto.js';
import { BODY_PIPE, QUERY_PIPE } from './validation.js';

@ApiTags(OPERATIONS_TAG)
@Controller('orchestrator/dead-letters')
export class DeadLettersController {
  constructor(private readonly deadLetters: DeadLettersService) {}

  @Get()
  @ApiOperation({ summary: 'What nobody runs any more, with the reason', operationId: 'listDeadLetters' })
  @ApiOkResponse({ type: DeadLetterPageView })
  @ApiProblems(400, 503)
  list(@Query(QUERY_PIPE) query: DeadLettersQuery): Promise<DeadLetterPageView> {
    return this.deadLetters.list(query);
  }

  @Post('replay')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Replay the dead executions that match a filter',
    operationId: 'replayDeadLetters',
  })
  @ApiOkResponse({ type: BulkReplayedView })
  @ApiProblems(400, 415, 422, 503)
  replayAll(@Body(BODY_PIPE) request: BulkReplayRequest): Promise<BulkReplayedView> {
    return this.deadLetters.replayAll(request);
  }

  @Post(':id/replay')
  @HttpCode(202)
  @ApiOperation({
    summary: 'Replay one: a new series of attempts, or the message again',
    operationId: 'replayDeadLetter',
  })
  @ApiParam({ name: 'id', type: 'string', description: 'An execution id, or the id of a dead message' })
  @ApiAcceptedResponse({ type: ReplayedView })
  @ApiProblems(404, 409, 503)
  replay(@Param('id') id: string): Promise<ReplayedView> {
    return this.deadLetters.replay(id);
  }
}
