import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Injectable, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { OrchestratorConfigModule, WorkerConfigModule } from '../../../src/config/config.module.js';
import { ConfigError } from '../../../src/config/config-error.js';
import { CONFIG_EXIT_CODE, exitOnConfigError } from '../../../src/config/exit-on-config-error.js';
import { OrchestratorConfigService } from '../../../src/config/orchestrator-config.service.js';

const originalFolder = process.cwd();
const originalEnvironment = { ...process.env };
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'config-'));
  process.chdir(folder);
});

afterEach(() => {
  process.chdir(originalFolder);
  rmSync(folder, { recursive: true });
  process.env = { ...originalEnvironment };
  jest.restoreAllMocks();
});

describe('OrchestratorConfigModule', () => {
  it('reads .env of the working directory; the environment wins', async () => {
    writeFileSync('.env', 'MAX_WORKERS=7\nMIN_WORKERS=1\n');
    process.env.MIN_WORKERS = '3';
    const { config } = await OrchestratorConfigModule.forRoot();
    expect(config).toMatchObject({ maxWorkers: 7, minWorkers: 3 });
    expect(process.env.MAX_WORKERS).toBeUndefined();
  });

  it('provides the service to every module', async () => {
    @Injectable()
    class Consumer {
      constructor(readonly config: OrchestratorConfigService) {}
    }
    @Module({ providers: [Consumer] })
    class AppModule {}

    const configuration = await OrchestratorConfigModule.forRoot({ port: 0 });
    const root = { module: AppModule, imports: [configuration] };
    const app = await Test.createTestingModule({ imports: [root] }).compile();
    expect(app.get(Consumer).config).toBe(configuration.config);
    expect(app.get(OrchestratorConfigService).port).toBe(0);
    await app.close();
  });

  it('rejects with one ConfigError', async () => {
    process.env.PORT = 'abc';
    await expect(OrchestratorConfigModule.forRoot()).rejects.toBeInstanceOf(ConfigError);
  });
});

describe('WorkerConfigModule', () => {
  it('takes overrides', async () => {
    process.env.WORKER_ID = 'from-environment';
    const { config } = await WorkerConfigModule.forRoot({ workerId: 'worker-1' });
    expect(config.workerId).toBe('worker-1');
  });
});

describe('exitOnConfigError', () => {
  it('prints the message without a stack and exits with 78', async () => {
    const exit = jest.spyOn(process, 'exit').mockImplementation((code) => {
      throw new Error(`exit ${code}`);
    });
    const write = jest.spyOn(process.stderr, 'write').mockReturnValue(true);
    const error = new ConfigError([{ name: 'PORT', expected: 'a port', got: '"abc"' }]);

    await expect(exitOnConfigError(Promise.reject(error))).rejects.toThrow(`exit ${CONFIG_EXIT_CODE}`);
    expect(exit).toHaveBeenCalledWith(78);
    expect(write).toHaveBeenCalledWith(`${error.message}\n`);
    expect(error.message).not.toMatch(/\n\s+at /);
  });

  it('passes values and other errors on', async () => {
    await expect(exitOnConfigError(Promise.resolve(1))).resolves.toBe(1);
    await expect(exitOnConfigError(Promise.reject(new Error('other')))).rejects.toThrow('other');
  });
});
