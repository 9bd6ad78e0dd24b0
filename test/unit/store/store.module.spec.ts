import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type DynamicModule, Inject, Injectable, Module, type OnModuleDestroy } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { OrchestratorConfigService } from '../../../src/config/orchestrator-config.service.js';
import { ExecutionStore } from '../../../src/store/execution-store.js';
import { StoreModule } from '../../../src/store/store.module.js';

@Module({})
class ConfigOf {
  static values(values: Partial<OrchestratorConfigService>): DynamicModule {
    const provider = { provide: OrchestratorConfigService, useValue: values };
    return { module: ConfigOf, global: true, providers: [provider], exports: [provider] };
  }
}

/** Something that uses the store as early and as late as Nest's hooks for it allow. */
@Injectable()
class User implements OnModuleDestroy {
  early: Promise<void> | null = null;
  late: Promise<void> | null = null;

  constructor(@Inject(ExecutionStore) private readonly store: ExecutionStore) {}

  onModuleInit(): void {
    this.early = this.store.ping();
  }
  onModuleDestroy(): Promise<void> {
    return this.store.ping();
  }
  beforeApplicationShutdown(): Promise<void> {
    this.late = this.store.ping();
    return this.late;
  }
}

describe('the store module', () => {
  let dataDir: string;

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'store-module-'));
  });
  afterEach(() => rm(dataDir, { recursive: true, force: true }));

  it('has the store open while other modules start and until they have shut down', async () => {
    @Module({ imports: [StoreModule], providers: [User] })
    class UserModule {}

    const module = await Test.createTestingModule({
      imports: [ConfigOf.values({ databaseUrl: '', dataDir, databasePoolSize: 2 }), UserModule],
    }).compile();
    await module.init();
    const user = module.get(User, { strict: false });
    await user.early;
    expect((await stat(join(dataDir, 'flow-orchestrator.db'))).isFile()).toBe(true);
    await module.close();
    await user.late;
    const store = module.get(ExecutionStore, { strict: false });
    await expect(store.ping()).rejects.toMatchObject({ name: 'StoreUnavailableError' });
  });
});
