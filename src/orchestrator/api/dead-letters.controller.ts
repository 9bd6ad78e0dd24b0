import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import {
  ApiAcceptedResponse,
  ApiBody,
  ApiNoContentResponse,
  ApiOkResponse,
  ApiOperation,
  ApiParam,
  ApiTags,
} from '@nestjs/swagger';
import { Needs } from './access.js';
import { ApiProblems, BAD_LIMIT, DATABASE_AWAY, OPERATIONS_TAG } from './api-docs.js';
import { BulkReplayedView, DeadLetterPageView, DeadLettersQuery, ReplayedView } from './dead-letter.dto.js';
import { anExecution, DeadLettersService } from './dead-letters.service.js';
import { BulkReplayRequest, notNarrowed } from './list-query.dto.js';
import { notFound, ProblemException } from './problem.js';
import { REPLAY_EXAMPLES } from './request-examples.js';
import { BODY_PIPE, QUERY_PIPE } from './validation.js';

const UNKNOWN = notFound('dead letter', 'exec-456');
const NOT_DEAD = new ProblemException(
  'state-conflict',
  'expected a dead execution, got "exec-456", which is running',
);
const UNKNOWN_MESSAGE = notFound('dead letter', '17');
const AN_EXECUTION = anExecution('exec-456');

@ApiTags(OPERATIONS_TAG)
@Controller('orchestrator/dead-letters')
export class DeadLettersController {
  constructor(private readonly deadLetters: DeadLettersService) {}

  @Get()
  @Needs('read')
  @ApiOperation({ summary: 'What nobody runs any more, with the reason', operationId: 'listDeadLetters' })
  @ApiOkResponse({ type: DeadLetterPageView })
  @ApiProblems(BAD_LIMIT, DATABASE_AWAY)
  list(@Query(QUERY_PIPE) query: DeadLettersQuery): Promise<DeadLetterPageView> {
    return this.deadLetters.list(query);
  }

  @Post('replay')
  @Needs('operate')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Replay the dead executions that match a filter',
    description: 'At least one filter, or `"all": true` and none. Messages are replayed one by one.',
    operationId: 'replayDeadLetters',
  })
  @ApiBody({
    type: BulkReplayRequest,
    examples: Object.fromEntries(Object.entries(REPLAY_EXAMPLES).map(([name, value]) => [name, { value }])),
  })
  @ApiOkResponse({ type: BulkReplayedView })
  @ApiProblems(400, 415, notNarrowed('neither'), DATABASE_AWAY)
  replayAll(@Body(BODY_PIPE) request: BulkReplayRequest): Promise<BulkReplayedView> {
    return this.deadLetters.replayAll(request);
  }

  @Post(':id/replay')
  @Needs('operate')
  @HttpCode(202)
  @ApiOperation({
    summary: 'Replay one: a new series of attempts, or the message again',
    operationId: 'replayDeadLetter',
  })
  @ApiParam({ name: 'id', type: 'string', description: 'An execution id, or the id of a dead message' })
  @ApiAcceptedResponse({ type: ReplayedView })
  @ApiProblems(UNKNOWN, NOT_DEAD, DATABASE_AWAY)
  replay(@Param('id') id: string): Promise<ReplayedView> {
    return this.deadLetters.replay(id);
  }

  @Delete(':id')
  @Needs('operate')
  @HttpCode(204)
  @ApiOperation({
    summary: 'Delete a dead message; dead executions are deleted by retention',
    operationId: 'deleteDeadLetter',
  })
  @ApiParam({ name: 'id', type: 'string', description: 'The id of a dead message' })
  @ApiNoContentResponse({ description: 'It is gone.' })
  @ApiProblems(UNKNOWN_MESSAGE, AN_EXECUTION, DATABASE_AWAY)
  delete(@Param('id') id: string): Promise<void> {
    return this.deadLetters.delete(id);
  }
}
