import {
  applyDecorators,
  type CanActivate,
  type ExecutionContext,
  Injectable,
  Logger,
  SetMetadata,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { ApiSecurity } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { type AccessScope, isLoopback } from '../../config/config.schema.js';
import { ApiProblems } from './api-docs.js';
import { ANYONE, Authenticator, type Client } from './authenticator.js';
import { forbidden, ProblemException, unauthorized } from './problem.js';

/** Names of the security schemes in the OpenAPI document. */
export const BEARER_SCHEME = 'bearer';
export const API_KEY_SCHEME = 'apiKey';

const NEEDS = 'access:needs';

/** What a route needs; `unknown` = it does not say. */
type Need = AccessScope | 'nothing' | 'unknown';

/** The scope that a client needs for a route. Every route has `Needs` or `Open`: one without is refused to everyone. */
export function Needs(scope: AccessScope): MethodDecorator {
  return applyDecorators(
    SetMetadata(NEEDS, scope),
    ApiSecurity(BEARER_SCHEME, [scope]),
    ApiSecurity(API_KEY_SCHEME, [scope]),
    ApiProblems(
      unauthorized('expected an API key or a token in Authorization: Bearer or X-API-Key, got neither'),
      forbidden(scope),
    ),
  );
}

/** For probes, which have no secrets. */
export const Open = (): MethodDecorator => SetMetadata(NEEDS, 'nothing');

/** Lets a request through whose client has the scope that the route needs. */
@Injectable()
export class AccessGuard implements CanActivate {
  private readonly logger = new Logger('Access');
  private readonly clients = new WeakMap<object, Promise<Client>>();
  /** By the handler of a route: Nest's metadata need not be asked for each request. */
  private readonly needs = new Map<object, Need>();

  constructor(
    private readonly authenticator: Authenticator,
    private readonly reflector: Reflector,
  ) {}

  /**
   * Before anything of a body is read, which may be large: for requests that can have one.
   * @returns null when nothing is left to wait for
   * @throws ProblemException 401 or 403
   */
  beforeBody(request: FastifyRequest): Promise<unknown> | null {
    if (!this.authenticator.isOn) {
      refuseForeignPages(request);
      return null;
    }
    return request.method === 'GET' || request.method === 'HEAD' ? null : this.clientOf(request);
  }

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (context.getType() !== 'http') {
      return true;
    }
    const needed = this.needOf(context.getHandler());
    if (needed === 'nothing') {
      return true;
    }
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    return this.authenticator.isOn
      ? this.clientOf(request).then((client) => this.mayPass(client, needed, request))
      : this.mayPass(ANYONE, needed, request);
  }

  private needOf(handler: ReturnType<ExecutionContext['getHandler']>): Need {
    let needed = this.needs.get(handler);
    if (needed === undefined) {
      needed = this.reflector.get<Need | undefined>(NEEDS, handler) ?? 'unknown';
      this.needs.set(handler, needed);
    }
    return needed;
  }

  private mayPass(client: Client, needed: Exclude<Need, 'nothing'>, request: FastifyRequest): boolean {
    if (needed === 'unknown' || !client.scopes.has(needed)) {
      throw forbidden(needed === 'unknown' ? 'none' : needed);
    }
    if (needed === 'operate' && this.authenticator.isOn) {
      this.logger.log(`${client.name}: ${request.method} ${request.url.split('?', 1)[0]}`);
    }
    return true;
  }

  private clientOf(request: FastifyRequest): Promise<Client> {
    const known = this.clients.get(request.raw);
    if (known !== undefined) {
      return known;
    }
    const client = this.authenticator.authenticate(request.headers);
    this.clients.set(request.raw, client);
    return client;
  }
}

/**
 * An open API on loopback is within reach of every page that its user's browser shows. Such a page gives itself away:
 * by its origin, or, where its own name was made to resolve to 127.0.0.1, by the name in `Host`.
 */
function refuseForeignPages({ headers: { host = '', origin } }: FastifyRequest): void {
  if (!isLoopbackUrl(`http://${host}`) || (origin !== undefined && !isLoopbackUrl(origin))) {
    throw new ProblemException(
      'forbidden',
      'expected Host and Origin to be 127.0.0.1, [::1] or localhost, got another: set API_KEYS, JWT_SECRET or JWT_JWKS_URL to take requests from elsewhere',
    );
  }
}

/** Of those that are loopback: nearly every request comes with the same `Host`. */
const KNOWN_URLS = 100;
const loopbackUrls = new Set<string>();

function isLoopbackUrl(url: string): boolean {
  if (loopbackUrls.has(url)) {
    return true;
  }
  if (!URL.canParse(url) || !isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, ''))) {
    return false;
  }
  if (loopbackUrls.size < KNOWN_URLS) {
    loopbackUrls.add(url);
  }
  return true;
}
