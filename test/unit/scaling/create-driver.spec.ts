import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { OrchestratorConfigService } from '../../../src/config/orchestrator-config.service.js';
import { readVariables } from '../../../src/config/read-variables.js';
import { createDriver } from '../../../src/scaling/drivers/create-driver.js';

describe('the driver that WORKER_DRIVER names', () => {
  let dataDir: string;

  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'flow-driver-'));
  });
  afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

  const create = (variables: Record<string, string>) => {
    const environment = { AMQP_URL: 'amqp://localhost', DATA_DIR: dataDir, ...variables };
    return createDriver(readVariables(OrchestratorConfigService, environment), environment);
  };

  it.each([
    ['none', 'NoDriver'],
    ['process', 'ProcessDriver'],
    ['docker', 'DockerDriver'],
    ['webhook', 'WebhookDriver'],
  ])('is, with %s, the %s', async (name, driver) => {
    const { constructor } = await create({
      WORKER_DRIVER: name,
      SCALING_WEBHOOK_URL: 'http://localhost:1/scale',
      SCALING_WEBHOOK_SECRET: 'a secret for the tests',
    });
    expect(constructor.name).toBe(driver);
  });

  it('cannot be the one of Kubernetes outside a pod', async () => {
    const { KUBERNETES_SERVICE_HOST: host } = process.env;
    delete process.env['KUBERNETES_SERVICE_HOST'];
    try {
      await expect(create({ WORKER_DRIVER: 'kubernetes' })).rejects.toThrow(
        'WORKER_DRIVER=kubernetes works in a pod of the cluster only',
      );
    } finally {
      if (host !== undefined) process.env['KUBERNETES_SERVICE_HOST'] = host;
    }
  });
});
