import { Body, Controller, Get, HttpCode, Post, Put } from '@nestjs/common';
import { ApiAcceptedResponse, ApiExtraModels, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { Needs } from './access.js';
import { ApiProblems, DATABASE_AWAY, OPERATIONS_TAG } from './api-docs.js';
import { invalidRequest, ProblemException } from './problem.js';
import {
  DesiredOfClassView,
  DesiredView,
  ManualScalingRequest,
  ScalingBoundsRequest,
  ScalingClassRequest,
  ScalingClassView,
  ScalingView,
} from './scaling.dto.js';
import { outsideBounds, ScalingRequests, unknownClass } from './scaling-requests.service.js';
import { BODY_PIPE } from './validation.js';

const NO_CLASS = unknownClass(undefined, ['general', 'sql']) as ProblemException;
const TOO_MANY = outsideBounds('default', {
  desired: 30,
  minWorkers: 2,
  maxWorkers: 20,
}) as ProblemException;
const BAD_BOUNDS = invalidRequest([
  { pointer: '/minWorkers', message: 'expected at most maxWorkers (2), got 4' },
]);

@ApiTags(OPERATIONS_TAG)
@ApiExtraModels(DesiredOfClassView)
@Controller('orchestrator/scaling')
export class ScalingController {
  constructor(private readonly requests: ScalingRequests) {}

  @Get()
  @Needs('read')
  @ApiOperation({
    summary: 'How large the pool is, shall be and may be, and why',
    operationId: 'scaling',
  })
  @ApiOkResponse({ type: ScalingView })
  @ApiProblems(DATABASE_AWAY)
  read(): Promise<ScalingView> {
    return this.requests.view();
  }

  @Get('desired')
  @Needs('read')
  @ApiOperation({
    summary: 'How many workers there shall be, for an autoscaler such as KEDA',
    operationId: 'desiredWorkers',
  })
  @ApiOkResponse({ type: DesiredView })
  @ApiProblems(DATABASE_AWAY)
  desired(): Promise<DesiredView> {
    return this.requests.desired();
  }

  @Post('manual')
  @Needs('operate')
  @HttpCode(202)
  @ApiOperation({
    summary: 'Set the size of a class once; the next decision may change it, unless it is paused',
    operationId: 'scaleManually',
  })
  @ApiAcceptedResponse({ type: ScalingClassView })
  @ApiProblems(TOO_MANY, NO_CLASS, DATABASE_AWAY)
  manual(@Body(BODY_PIPE) request: ManualScalingRequest): Promise<ScalingClassView> {
    return this.requests.setDesired(request);
  }

  @Put('bounds')
  @Needs('operate')
  @ApiOperation({
    summary: 'Set the bounds of a class in place of those configured; null for both gives them back',
    operationId: 'setScalingBounds',
  })
  @ApiOkResponse({ type: ScalingClassView })
  @ApiProblems(BAD_BOUNDS, NO_CLASS, DATABASE_AWAY)
  bounds(@Body(BODY_PIPE) request: ScalingBoundsRequest): Promise<ScalingClassView> {
    return this.requests.setBounds(request);
  }

  @Post('pause')
  @Needs('operate')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Keep the size of a class; workers that are lost are still replaced',
    operationId: 'pauseScaling',
  })
  @ApiOkResponse({ type: ScalingClassView })
  @ApiProblems(NO_CLASS, DATABASE_AWAY)
  pause(@Body(BODY_PIPE) request: ScalingClassRequest): Promise<ScalingClassView> {
    return this.requests.setPaused(request.workerClass, true);
  }

  @Post('resume')
  @Needs('operate')
  @HttpCode(200)
  @ApiOperation({ summary: 'Decide on the size of a class again', operationId: 'resumeScaling' })
  @ApiOkResponse({ type: ScalingClassView })
  @ApiProblems(NO_CLASS, DATABASE_AWAY)
  resume(@Body(BODY_PIPE) request: ScalingClassRequest): Promise<ScalingClassView> {
    return this.requests.setPaused(request.workerClass, false);
  }
}
