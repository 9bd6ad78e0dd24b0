/** Named connections of the worker: flows name them, and only the worker knows the URLs behind the names. */
export type NamedConnections = Readonly<Record<string, string>>;

/** A fault that no retry mends, with a message that is fit for the wire. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
}

/** @throws ConnectionError naming the connections that exist, never a URL. */
export function connectionUrl(
  connections: NamedConnections,
  name: string,
  schemes: readonly string[],
): string {
  const url = Object.hasOwn(connections, name) ? connections[name]! : undefined;
  if (url === undefined) {
    const known = Object.keys(connections).toSorted().join(', ') || 'none';
    throw new ConnectionError(
      `expected one of the worker's connections (${known}), got "${name}"; the operator can add it`,
    );
  }
  if (!schemes.some((scheme) => url.startsWith(`${scheme}://`))) {
    throw new ConnectionError(
      `expected connection "${name}" to be a ${schemes[0]} URL; the operator has set another kind`,
    );
  }
  return url;
}

/** `message` without the URL or the password in it, as written or decoded. */
export function withoutSecrets(message: string, url: string): string {
  const password = /^[^:]+:\/\/[^:@/]*:([^@]*)@/.exec(url)?.[1] ?? '';
  const secrets = [url, password, decoded(password)].filter((secret) => secret.length > 0);
  return secrets.reduce((text, secret) => text.replaceAll(secret, '***'), message);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Opened on first use, once per name, and closed together. */
export class OpenConnections<T> {
  private readonly open = new Map<string, Promise<T>>();

  constructor(
    private readonly connect: (name: string) => Promise<T>,
    private readonly disconnect: (connection: T) => Promise<void>,
  ) {}

  get(name: string): Promise<T> {
    const known = this.open.get(name);
    if (known !== undefined) return known;
    const opening = this.connect(name);
    this.open.set(name, opening);
    opening.catch(() => this.open.delete(name));
    return opening;
  }

  async close(): Promise<void> {
    const all = await Promise.allSettled(this.open.values());
    this.open.clear();
    await Promise.allSettled(
      all.map((one) => (one.status === 'fulfilled' ? this.disconnect(one.value) : undefined)),
    );
  }
}

/** Loads an optional driver. @throws ConnectionError that names the fix when it is not installed. */
export async function loadDriver<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new ConnectionError(
      `expected the package "${name}" on this worker, got none: run npm install ${name}`,
    );
  }
}
