const MASK = '***';

/** User and password before the host, up to the last `@` of the authority (`\\"` is a quote inside a JSON string). */
const USER_INFO = /(:\/\/)(?:\\"|[^\s/"])*@/g;
const SECRET_PARAMETER = /([?&](?:password|token|secret|api_?key)=)[^&\s"'\\]+/gi;
/** `authorization: Bearer …` in prose, and the same as a JSON member (also inside a JSON string). */
const AUTHORIZATION = /(authorization\\*["']?\s*[:=]\s*\[?\\*["']?)(?:[a-z]+\s+)?[^\s"'\\,}\]]+/gi;

/** A URL, or any text with URLs in it, without the credentials: `amqp://***@host:5672/vhost`. */
export function redactUrl(url: string): string {
  return url.replaceAll(USER_INFO, `$1${MASK}@`).replaceAll(SECRET_PARAMETER, `$1${MASK}`);
}

/** A line of the log without credentials in URLs and without authorization headers. */
export function redactLine(line: string): string {
  return redactUrl(line).replaceAll(AUTHORIZATION, `$1${MASK}`);
}
