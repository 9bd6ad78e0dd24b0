import { Controller, Get, ServiceUnavailableException } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { HealthCheckService, type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { Needs, Open } from './access.js';
import { Authenticator } from './authenticator.js';
import { ApiProblems, OPERATIONS_TAG } from './api-docs.js';
import { HealthView, LivenessView, ReadinessView } from './health.dto.js';
import { HealthService } from './health.service.js';
import { ProblemException } from './problem.js';
import { Shutdown } from './shutdown.js';

type Indication = { state: string; reason?: string };

const RETRY_AFTER_S = 2;

@ApiTags(OPERATIONS_TAG)
@Controller()
export class HealthController {
  constructor(
    private readonly health: HealthService,
    private readonly checks: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly shutdown: Shutdown,
    private readonly authenticator: Authenticator,
  ) {}

  @Get('orchestrator/health')
  @Needs('read')
  @ApiOperation({ summary: 'How the whole service is doing; always 200 within 2 s', operationId: 'health' })
  @ApiOkResponse({ type: HealthView })
  read(): Promise<HealthView> {
    return this.health.health();
  }

  @Get('health/live')
  @Open()
  @ApiOperation({ summary: 'The process runs; looks at nothing else', operationId: 'live' })
  @ApiOkResponse({ type: LivenessView })
  live(): LivenessView {
    return { status: 'ok' };
  }

  @Get('health/ready')
  @Open()
  @ApiOperation({
    summary: 'Whether requests should come here: broker, store, not draining',
    operationId: 'ready',
  })
  @ApiOkResponse({ type: ReadinessView })
  @ApiProblems(partsDown({ broker: { state: 'away', reason: 'connect ECONNREFUSED 127.0.0.1:5672' } }))
  async ready(): Promise<ReadinessView> {
    const { details } = await this.checks
      .check([
        () => this.indicate('broker', this.health.brokerState()),
        async () => this.indicate('store', await this.health.storeState()),
        () => this.indicate('process', { state: this.shutdown.draining ? 'draining' : 'up' }),
      ])
      .catch((error: unknown) => {
        throw error instanceof ServiceUnavailableException ? notReady(error) : error;
      });
    return { status: 'ok', details };
  }

  private indicate(name: string, { state, reason }: Indication): HealthIndicatorResult {
    const indicator = this.indicators.check(name);
    // Reasons name hosts, and this route asks nobody who is there; `/orchestrator/health` does.
    const data = { state, ...(reason && !this.authenticator.isOn && { reason }) };
    return state === 'up' ? indicator.up(data) : indicator.down(data);
  }
}

function notReady(error: ServiceUnavailableException): ProblemException {
  return partsDown((error.getResponse() as { error?: Record<string, Indication> }).error ?? {});
}

function partsDown(failed: Record<string, Indication>): ProblemException {
  const errors = Object.entries(failed).map(([name, { state, reason }]) => ({
    message: `expected ${name} to be up, got ${state}${reason ? `: ${reason}` : ''}`,
  }));
  const detail = errors.map(({ message }) => message).join('; ');
  return new ProblemException('unavailable', detail, { errors, retryAfterS: RETRY_AFTER_S });
}
