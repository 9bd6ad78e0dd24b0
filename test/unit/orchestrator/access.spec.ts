import { describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { OrchestratorConfigService } from '../../../src/config/orchestrator-config.service.js';
import { AccessGuard, Needs, Open } from '../../../src/orchestrator/api/access.js';
import { Authenticator } from '../../../src/orchestrator/api/authenticator.js';

const KEY = 'all-scopes-0123456789';

class Routes {
  @Needs('operate')
  operating(): void {}
  @Open()
  open(): void {}
  unmarked(): void {}
}

function guardWith(apiKeys: string[]): (route: keyof Routes, key?: string) => Promise<boolean> {
  const config = { apiKeys, jwtSecret: '', jwtJwksUrl: '' } as unknown as OrchestratorConfigService;
  const guard = new AccessGuard(new Authenticator(config), new Reflector());
  return async (route, key) => {
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
    const request = { headers, raw: {}, method: 'POST', url: '/x?secret=1' };
    const context = new ExecutionContextHost([request], Routes, Routes.prototype[route]);
    context.setType('http');
    return guard.canActivate(context);
  };
}

describe('the guard of every route', () => {
  it.each([
    ['with authentication', [`admin:read+execute+operate:${KEY}`]],
    ['without authentication', []],
  ])('refuses a route that does not say what it needs, each time, %s', async (_, keys) => {
    const ask = guardWith(keys);
    for (let time = 0; time < 2; time++) {
      await expect(ask('unmarked', KEY)).rejects.toMatchObject({ problem: { status: 403 } });
    }
  });

  it('lets everyone through to a route that is open', async () => {
    const ask = guardWith([`admin:operate:${KEY}`]);
    expect(await ask('open')).toBe(true);
    expect(await ask('open')).toBe(true);
    await expect(ask('operating')).rejects.toMatchObject({ problem: { status: 401 } });
  });

  it('writes down who operates, each time, and not with what', async () => {
    const log = jest.spyOn(Logger.prototype, 'log').mockReturnValue(undefined);
    const ask = guardWith([`admin:operate:${KEY}`]);
    await ask('operating', KEY);
    await ask('operating', KEY);
    expect(log.mock.calls).toEqual([['admin: POST /x'], ['admin: POST /x']]);
    log.mockRestore();
  });
});
