import { readFileSync } from 'node:fs';

/** Files in PEM; an empty path means none. */
export interface TlsFiles {
  caFile: string;
  certFile: string;
  keyFile: string;
}

/** What `tls.connect` takes on top of its own defaults, which check the broker's certificate and its name. */
export interface TlsOptions {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
}

/** Read once, at the start: a renewed certificate needs a restart. */
export function readTlsFiles({ caFile, certFile, keyFile }: TlsFiles): TlsOptions {
  return {
    ...(caFile !== '' && { ca: readFileSync(caFile) }),
    ...(certFile !== '' && { cert: readFileSync(certFile), key: readFileSync(keyFile) }),
  };
}

/** OpenSSL's names for a chain that does not end at a known authority. */
const UNTRUSTED = /^(?:UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED_CERT|CERT_UNTRUSTED|INVALID_CA)/;

/** What to do about a failed connect, in words, where OpenSSL's alone would not tell. */
export function explainConnectError(error: Error & { code?: unknown }): string {
  const code = typeof error.code === 'string' ? error.code : '';
  if (UNTRUSTED.test(code)) {
    return `the broker's certificate is not trusted: ${error.message}; AMQP_CA_FILE has to hold the certificate of its authority`;
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return `the broker's certificate is for another host: ${error.message}`;
  }
  return error.message;
}
