import { Body, Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { ApiAcceptedResponse, ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { OrchestratorConfigService } from '../../config/orchestrator-config.service.js';
import { WorkerManagementService } from '../../worker/worker-management.service.js';
import type { WorkerView } from '../../worker/worker-view.js';
import { Needs } from './access.js';
import { ApiProblems, OPERATIONS_TAG } from './api-docs.js';
import { invalidRequest, notFound, ProblemException } from './problem.js';
import { BODY_PIPE } from './validation.js';
import { DrainingView, DrainRequest, WorkerDescription, WorkerListView } from './worker.dto.js';

const BAD_DEADLINE = invalidRequest([
  { pointer: '/deadlineMs', message: 'expected a whole number from 0 to 86400000, got -1' },
]);
const BROKER_AWAY = new ProblemException(
  'unavailable',
  'the message broker cannot be reached; nothing is lost, send the same request again',
);

@ApiTags(OPERATIONS_TAG)
@Controller('orchestrator/workers')
export class WorkersController {
  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly workers: WorkerManagementService,
  ) {}

  @Get()
  @Needs('read')
  @ApiOperation({ summary: 'The pool as this instance sees it', operationId: 'listWorkers' })
  @ApiOkResponse({ type: WorkerListView })
  list(): WorkerListView {
    return { items: this.workers.list() };
  }

  @Get(':workerId')
  @Needs('read')
  @ApiOperation({ summary: 'One worker', operationId: 'getWorker' })
  @ApiParam({ name: 'workerId', type: 'string' })
  @ApiOkResponse({ type: WorkerDescription })
  @ApiProblems(notFound('worker', 'worker-9'))
  find(@Param('workerId') workerId: string): WorkerView {
    const worker = this.workers.find(workerId);
    if (!worker) {
      throw notFound('worker', workerId);
    }
    return worker;
  }

  @Post(':workerId/drain')
  @Needs('operate')
  @HttpCode(202)
  @ApiOperation({
    summary: 'Have it take no more work, finish or hand back what it holds, and leave',
    operationId: 'drainWorker',
  })
  @ApiParam({ name: 'workerId', type: 'string' })
  @ApiAcceptedResponse({ type: DrainingView })
  @ApiProblems(notFound('live worker', 'worker-9'), BAD_DEADLINE, BROKER_AWAY)
  async drain(
    @Param('workerId') workerId: string,
    @Body(BODY_PIPE) request: DrainRequest,
  ): Promise<DrainingView> {
    const deadlineMs = request.deadlineMs ?? this.config.workerDrainDeadlineMs;
    if (!(await this.workers.drain(workerId, deadlineMs))) {
      throw notFound('live worker', workerId);
    }
    return { workerId, status: 'draining', deadlineMs };
  }
}
