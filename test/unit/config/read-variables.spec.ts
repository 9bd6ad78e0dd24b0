import { describe, expect, it } from '@jest/globals';
import { ConfigError } from '../../../src/config/config-error.js';
import { OrchestratorConfigService } from '../../../src/config/orchestrator-config.service.js';
import { readVariables } from '../../../src/config/read-variables.js';
import { variablesOf } from '../../../src/config/variable.js';
import { WorkerConfigService } from '../../../src/config/worker-config.service.js';
import { ID_PATTERN } from '../../../src/queue/contracts/flow.js';

type Environment = Record<string, string>;
const orchestrator = (environment: Environment = {}, overrides: Partial<OrchestratorConfigService> = {}) =>
  readVariables(OrchestratorConfigService, environment, overrides);
const worker = (environment: Environment = {}, overrides: Partial<WorkerConfigService> = {}) =>
  readVariables(WorkerConfigService, environment, overrides);

function errorOf(read: () => unknown): ConfigError {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('expected a ConfigError, nothing was thrown');
}

describe('defaults', () => {
  it('makes a whole orchestrator configuration from an empty environment', () => {
    const { instanceId, ...config } = orchestrator();
    expect(instanceId).toMatch(new RegExp(ID_PATTERN));
    expect(config).toEqual({
      amqpUrls: ['amqp://guest:guest@127.0.0.1:5672'],
      amqpPrefix: '',
      amqpCaFile: '',
      amqpCertFile: '',
      amqpKeyFile: '',
      apiKeys: [],
      jwtSecret: '',
      jwtJwksUrl: '',
      jwtIssuer: '',
      jwtAudience: '',
      amqpHeartbeatS: 10,
      publishWindow: 200,
      publishTimeoutMs: 10_000,
      heartbeatIntervalMs: 15_000,
      workerDrainDeadlineMs: 30_000,
      resultLimitBytes: 1_048_576,
      logLevel: 'info',
      logFormat: 'auto',
      port: 3000,
      host: '127.0.0.1',
      databaseUrl: '',
      databasePoolSize: 10,
      dataDir: '.data',
      metricsEnabled: true,
      docsEnabled: true,
      shutdownTimeoutMs: 25_000,
      workerDriver: 'none',
      minWorkers: 2,
      maxWorkers: 20,
      workerClasses: [],
      scalingIntervalMs: 10_000,
      scalingCooldownMs: 15_000,
      scaleDownStabilizationMs: 300_000,
      scaleUpLoad: 0.7,
      scaleDownLoad: 0.3,
      scalingDrainTargetMs: 60_000,
      workerCommand: [],
      dockerImage: 'flow-orchestrator:latest',
      dockerNetwork: '',
      kubernetesNamespace: 'default',
      kubernetesDeployment: 'flow-worker-{class}',
      scalingWebhookUrl: '',
      scalingWebhookSecret: '',
      loadBalancingStrategy: 'least_busy',
      healthCheckIntervalMs: 30_000,
      workerLoadLimitPercent: 80,
      workerPollIntervalMs: 250,
      suspectPhi: 8,
      deadHeartbeats: 4,
      queueHighWaterMark: 1000,
      queueLowWaterMark: 100,
      lowPriorityShare: 0,
      dispatchPrefetch: 250,
      consumerHoldLimitMs: 600_000,
      backlogLimit: 1_000_000,
      retryMaxAttempts: 3,
      retryTiersMs: [1000, 5000, 30_000, 120_000, 600_000],
      executionTimeoutMs: 1_500_000,
      executionTimeoutMaxMs: 82_800_000,
      waitLimitMs: 60_000,
      bodyLimitBytes: 1_048_576,
      batchBodyLimitBytes: 33_554_432,
      batchLimitItems: 1000,
      flowMaxNodes: 5000,
      flowMaxConnections: 20_000,
      flowMaxDepth: 5,
      unknownNodeTypes: 'wait',
      leaseTtlMs: 5000,
      leaseRenewIntervalMs: 1500,
      rescueAfterMs: 5000,
      rescueIntervalMs: 1000,
      retentionMs: 604_800_000,
      retentionIntervalMs: 60_000,
      retentionBatch: 1000,
    });
  });

  it('makes a whole worker configuration from an empty environment', () => {
    const { workerId, workerCpuLimitCores, ...config } = worker();
    expect(workerId).toMatch(new RegExp(ID_PATTERN));
    expect(workerCpuLimitCores).toBeGreaterThan(0);
    expect(config).toEqual({
      amqpUrls: ['amqp://guest:guest@127.0.0.1:5672'],
      amqpPrefix: '',
      amqpCaFile: '',
      amqpCertFile: '',
      amqpKeyFile: '',
      amqpHeartbeatS: 10,
      publishWindow: 200,
      publishTimeoutMs: 10_000,
      heartbeatIntervalMs: 15_000,
      workerDrainDeadlineMs: 30_000,
      resultLimitBytes: 1_048_576,
      logLevel: 'info',
      logFormat: 'auto',
      workerClass: '',
      workerMaxConcurrentFlows: 5,
      workerMaxConcurrentNodes: 10,
      workerMemoryLimitMb: 1024,
      workerWeight: 1,
      workerNodeTypes: [],
      workerDegradedPercent: 80,
      workerCriticalPercent: 95,
      expressionTimeoutMs: 5000,
      httpAllowHosts: [],
      httpMaxResponseBytes: 10_485_760,
      connections: {},
    });
  });

  it('takes an empty value as not set', () => {
    expect(orchestrator({ PORT: '', AMQP_URL: ' ', WORKER_DRIVER: '' })).toMatchObject({
      port: 3000,
      amqpUrls: ['amqp://guest:guest@127.0.0.1:5672'],
      workerDriver: 'none',
    });
  });

  it('gives each replica an id of its own', () => {
    expect(orchestrator().instanceId).not.toBe(orchestrator().instanceId);
  });
});

describe('values', () => {
  it('reads every kind', () => {
    const config = orchestrator({
      PORT: ' 8080 ',
      AMQP_URL: 'amqp://a:5672/v, amqps://b',
      DATABASE_URL: 'postgres://u:p@db/flows',
      RETRY_TIERS_MS: '10, 20,30',
      LOW_PRIORITY_SHARE: '0.25',
      METRICS_ENABLED: 'false',
      DOCS_ENABLED: '0',
      LOAD_BALANCING_STRATEGY: 'weighted',
    });
    expect(config).toMatchObject({
      port: 8080,
      amqpUrls: ['amqp://a:5672/v', 'amqps://b'],
      databaseUrl: 'postgres://u:p@db/flows',
      retryTiersMs: [10, 20, 30],
      lowPriorityShare: 0.25,
      metricsEnabled: false,
      docsEnabled: false,
      loadBalancingStrategy: 'weighted',
    });
  });

  it('cannot be changed afterwards', () => {
    expect(Object.isFrozen(orchestrator())).toBe(true);
  });

  it('lets overrides win, except undefined ones', () => {
    const environment = { WORKER_ID: 'from-environment', WORKER_WEIGHT: '3' };
    expect(worker(environment, { workerId: 'worker-1', workerWeight: undefined })).toMatchObject({
      workerId: 'worker-1',
      workerWeight: 3,
    });
  });

  it('collects connection strings by lower-case name, safe to look up by any name', () => {
    const { connections } = worker({
      FLOW_CONNECTION_SALES: 'postgres://u:p@h/sales',
      FLOW_CONNECTION___PROTO__: 'mongodb://a:1,b:2/x',
      FLOW_CONNECTION_OLD: '',
    });
    expect(Object.entries(connections)).toEqual([
      ['sales', 'postgres://u:p@h/sales'],
      ['__proto__', 'mongodb://a:1,b:2/x'],
    ]);
    expect(connections.constructor).toBeUndefined();
  });
});

describe('bad values', () => {
  it.each([
    ['PORT', '80a'],
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '1e3'],
    ['RETENTION_INTERVAL_MS', '2147483648'],
    ['LOW_PRIORITY_SHARE', '0.6'],
    ['METRICS_ENABLED', 'maybe'],
    ['WORKER_DRIVER', 'Docker'],
    ['WORKER_CLASSES', 'general'],
    ['WORKER_CLASSES', 'general:3-2'],
    ['WORKER_CLASSES', 'general:1-2,general:0-1'],
    ['WORKER_CLASSES', 'General:1-2'],
    ['SCALE_DOWN_LOAD', '0.7'],
    ['SCALING_WEBHOOK_SECRET', 'short'],
    ['RETRY_TIERS_MS', '1000,500'],
    ['RETRY_TIERS_MS', '1000,1000'],
    ['RETRY_TIERS_MS', '1000,,2000'],
    ['AMQP_URL', 'http://host'],
    ['AMQP_URL', 'amqp://host,'],
    ['AMQP_PREFIX', 'a b'],
    ['DATABASE_URL', 'mysql://host/db'],
    ['INSTANCE_ID', 'a/b'],
  ])('refuses %s=%s', (name, value) => {
    expect(errorOf(() => orchestrator({ [name]: value })).problems.map((problem) => problem.name)).toEqual([
      name,
    ]);
  });

  it('names all of them in one error, with expected and got', () => {
    const error = errorOf(() =>
      orchestrator({ PORT: 'abc', LOG_LEVEL: 'loud', RETRY_TIERS_MS: '5,1', MIN_WORKERS: '30' }),
    );
    expect(error.problems).toEqual([
      { name: 'LOG_LEVEL', expected: 'one of trace, debug, info, warn, error, fatal', got: '"loud"' },
      { name: 'PORT', expected: 'an integer from 0 to 65535', got: '"abc"' },
      { name: 'MIN_WORKERS', expected: 'at most MAX_WORKERS (20)', got: '"30"' },
      {
        name: 'RETRY_TIERS_MS',
        expected: 'rising integers from 1 to 86400000, separated by commas',
        got: '"5,1"',
      },
    ]);
    for (const { name, expected, got } of error.problems) {
      expect(error.message).toContain(`${name}: expected ${expected}, got ${got}`);
    }
  });

  it.each([
    [{ MAX_WORKERS: '1' }, 'MIN_WORKERS', 'at most MAX_WORKERS (1)'],
    [{ QUEUE_LOW_WATER_MARK: '1001' }, 'QUEUE_LOW_WATER_MARK', 'at most QUEUE_HIGH_WATER_MARK (1000)'],
    [{ EXECUTION_TIMEOUT_MAX_MS: '1000' }, 'EXECUTION_TIMEOUT_MS', 'at most EXECUTION_TIMEOUT_MAX_MS (1000)'],
    [{ BATCH_BODY_LIMIT_BYTES: '2048' }, 'BODY_LIMIT_BYTES', 'at most BATCH_BODY_LIMIT_BYTES (2048)'],
    [{ LEASE_RENEW_INTERVAL_MS: '5000' }, 'LEASE_RENEW_INTERVAL_MS', 'less than LEASE_TTL_MS (5000)'],
  ])('checks variables against each other: %j', (environment, name, expected) => {
    expect(errorOf(() => orchestrator(environment as Environment)).problems).toMatchObject([
      { name, expected },
    ]);
  });

  it('checks a worker across its thresholds, and its overrides', () => {
    const error = errorOf(() => worker({ WORKER_DEGRADED_PERCENT: '99' }, { workerId: 'a b' }));
    expect(error.problems).toMatchObject([
      { name: 'WORKER_ID', got: '"a b"' },
      { name: 'WORKER_DEGRADED_PERCENT', expected: 'at most WORKER_CRITICAL_PERCENT (95)' },
    ]);
  });

  it('never shows the value of a secret', () => {
    const errors = [
      errorOf(() => orchestrator({ AMQP_URL: 'hunter2', DATABASE_URL: 'x://hunter2' })),
      errorOf(() => worker({ FLOW_CONNECTION_SALES: 'hunter2', FLOW_CONNECTION_OK: 'pg://hunter2' })),
    ];
    for (const error of errors)
      expect(JSON.stringify([error.message, error.problems])).not.toContain('hunter2');
    expect(errors[0]?.problems.map(({ name }) => name)).toEqual(['AMQP_URL', 'DATABASE_URL']);
    expect(errors[1]?.message).toContain('FLOW_CONNECTION_SALES');
    expect(errors[1]?.message).not.toContain('FLOW_CONNECTION_OK');
  });
});

describe('the schema', () => {
  it('has each name once a process, and a meaning for each', () => {
    for (const schema of [OrchestratorConfigService, WorkerConfigService]) {
      const names = variablesOf(schema).map(({ name }) => name);
      expect(new Set(names).size).toBe(names.length);
      expect(variablesOf(schema).filter(({ about }) => !about.endsWith('.'))).toEqual([]);
    }
  });
});
