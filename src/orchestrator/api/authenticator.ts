import { createHash, timingSafeEqual } from 'node:crypto';
import { Injectable, Logger } from '@nestjs/common';
import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify, type JWTVerifyOptions } from 'jose';
import { ACCESS_SCOPES, type AccessScope, hasAuthentication } from '../../config/config.schema.js';
import { OrchestratorConfigService } from '../../config/orchestrator-config.service.js';
import { ProblemException, unauthorized } from './problem.js';

/** Who sent a request, and what that client may do. */
export interface Client {
  /** For the log: the name of an API key, or the subject of a token. */
  name: string;
  scopes: ReadonlySet<AccessScope>;
}

/** The two headers that credentials come in. */
export interface Credentials {
  authorization?: string;
  'x-api-key'?: string | string[];
}

interface ApiKey extends Client {
  digest: Buffer;
}

type Verify = (token: string) => Promise<JWTPayload>;

/** How far the clocks of issuer and orchestrator may differ. */
const CLOCK_TOLERANCE_S = 10;
const JWKS_TIMEOUT_MS = 3_000;
const JWKS_RETRY_AFTER_S = 5;
/** Who sends a request while the API is open. */
export const ANYONE: Client = { name: 'anyone', scopes: new Set(ACCESS_SCOPES) };

/** Tells clients by their API key or their JWT. Without any configured, everyone may do everything. */
@Injectable()
export class Authenticator {
  /** False: the API is open, and so bound to loopback. */
  readonly isOn: boolean;
  private readonly logger = new Logger(Authenticator.name);
  private readonly keys: ApiKey[];
  private readonly verify: Verify | null;

  constructor(config: OrchestratorConfigService) {
    this.isOn = hasAuthentication(config);
    this.keys = config.apiKeys.map(parseKey);
    this.verify = tokenVerifier(config);
  }

  /** @throws ProblemException 401, or 503 when the keys of tokens cannot be had */
  async authenticate(headers: Credentials): Promise<Client> {
    if (!this.isOn) {
      return ANYONE;
    }
    const credential = credentialOf(headers);
    return this.clientOfKey(credential) ?? (await this.clientOfToken(credential));
  }

  /** Compares digests, and all of them: the time tells neither how much of a key was right nor which one it was. */
  private clientOfKey(credential: string): Client | null {
    const digest = sha256(credential);
    const [found] = this.keys.filter((key) => timingSafeEqual(key.digest, digest));
    return found ?? null;
  }

  private async clientOfToken(token: string): Promise<Client> {
    if (this.verify === null || token.split('.').length !== 3) {
      throw unauthorized('expected a valid API key or token, got another', 'invalid_token');
    }
    try {
      const payload = await this.verify(token);
      return { name: payload.sub ?? 'a token without sub', scopes: scopesOf(payload) };
    } catch (error) {
      if (keysAreAway(error)) {
        this.logger.warn(`JWT_JWKS_URL gives no keys: ${(error as Error).message}`);
        throw new ProblemException('unavailable', 'the keys that tokens are checked with cannot be had now', {
          retryAfterS: JWKS_RETRY_AFTER_S,
        });
      }
      throw unauthorized(`expected a valid token: ${faultOf(error)}`, 'invalid_token');
    }
  }
}

function parseKey(entry: string): ApiKey {
  const [, name, scopes, key] = /^([^:]+):([^:]+):(.+)$/.exec(entry)!;
  return { name: name!, scopes: new Set(scopes!.split('+') as AccessScope[]), digest: sha256(key!) };
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function credentialOf({ authorization, 'x-api-key': apiKey }: Credentials): string {
  if (apiKey !== undefined) {
    return String(apiKey);
  }
  if (authorization === undefined) {
    throw unauthorized('expected an API key or a token in Authorization: Bearer or X-API-Key, got neither');
  }
  const credential = /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
  if (credential === undefined) {
    throw unauthorized('expected Authorization: Bearer and one key or token, got another scheme');
  }
  return credential;
}

/** The algorithms are pinned by what is configured, never by what a token says of itself. */
function tokenVerifier({
  jwtSecret,
  jwtJwksUrl,
  jwtIssuer,
  jwtAudience,
}: OrchestratorConfigService): Verify | null {
  const options: JWTVerifyOptions = {
    issuer: jwtIssuer || undefined,
    audience: jwtAudience || undefined,
    clockTolerance: CLOCK_TOLERANCE_S,
    requiredClaims: ['exp'],
  };
  if (jwtSecret !== '') {
    const key = new TextEncoder().encode(jwtSecret);
    return async (token) => (await jwtVerify(token, key, { ...options, algorithms: ['HS256'] })).payload;
  }
  if (jwtJwksUrl !== '') {
    const keys = createRemoteJWKSet(new URL(jwtJwksUrl), { timeoutDuration: JWKS_TIMEOUT_MS });
    const algorithms = ['RS256', 'ES256', 'EdDSA', 'Ed25519'];
    return async (token) => (await jwtVerify(token, keys, { ...options, algorithms })).payload;
  }
  return null;
}

/** `scope` is text, separated by spaces (RFC 8693); `scopes` a list. What we do not know is passed over. */
function scopesOf({ scope, scopes }: JWTPayload): ReadonlySet<AccessScope> {
  const granted = [
    ...(typeof scope === 'string' ? scope.split(' ') : []),
    ...(Array.isArray(scopes) ? (scopes as unknown[]) : []),
  ];
  return new Set(ACCESS_SCOPES.filter((known) => granted.includes(known)));
}

/** Whether the fault is with the JWKS and not with the token. */
function keysAreAway(error: unknown): boolean {
  if (!(error instanceof errors.JOSEError)) {
    return true;
  }
  return ['ERR_JWKS_TIMEOUT', 'ERR_JWKS_INVALID', 'ERR_JOSE_GENERIC'].includes(error.code);
}

function faultOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) {
    return 'it has expired';
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    return `its claim "${error.claim}" is ${error.reason === 'missing' ? 'missing' : 'not as expected here'}`;
  }
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return 'it is signed with an algorithm that is not taken here';
  }
  return 'its signature cannot be verified';
}
