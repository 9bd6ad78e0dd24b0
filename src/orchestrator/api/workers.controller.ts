import { Body, Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { ApiAcceptedResponse, ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { OrchestratorConfigService } from '../../config/orchestrator-config.service.js';
import { WorkerManagementService } from '../../worker/worker-management.service.js';
import type { WorkerView } from '../../worker/worker-view.js';
import { ApiProblems, OPERATIONS_TAG } from './api-docs.js';
import { notFound } from './problem.js';
import { BODY_PIPE } from './validation.js';
import { DrainingView, DrainRequest, WorkerDescription, WorkerListView } from './worker.dto.js';

@ApiTags(OPERATIONS_TAG)
@Controller('orchestrator/workers')
export class WorkersController {
  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly workers: WorkerManagementService,
  ) {}

  @Get()
  @ApiOperation({ summary: 'The pool as this instance sees it', operationId: 'listWorkers' })
  @ApiOkResponse({ type: WorkerListView })
  list(): WorkerListView {
    return { items: this.workers.list() };
  }

  @Get(':workerId')
  @ApiOperation({ summary: 'One worker', operationId: 'getWorker' })
  @ApiParam({ name: 'workerId', type: 'string' })
  @ApiOkResponse({ type: WorkerDescription })
  @ApiProblems(404)
  find(@Param('workerId') workerId: string): WorkerView {
    const worker = this.workers.find(workerId);
    if (!worker) {
      throw notFound('worker', workerId);
    }
    return worker;
  }

  @Post(':workerId/drain')
  @HttpCode(202)
  @ApiOperation({
    summary: 'Have it take no more work, finish or hand back what it holds, and leave',
    operationId: 'drainWorker',
  })
  @ApiParam({ name: 'workerId', type: 'string' })
  @ApiAcceptedResponse({ type: DrainingView })
  @ApiProblems(404, 422, 503)
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
