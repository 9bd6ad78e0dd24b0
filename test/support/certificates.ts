import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** A certificate authority of the test's own, made with openssl, and what it signs. */
export class Authority {
  readonly caFile: string;
  private readonly keyFile: string;

  constructor(private readonly folder: string) {
    mkdirSync(folder, { recursive: true });
    this.caFile = join(folder, 'ca.pem');
    this.keyFile = join(folder, 'ca-key.pem');
    const subject = ['-subj', '/CN=Test authority', '-addext', 'basicConstraints=critical,CA:TRUE'];
    openssl([
      'req',
      '-x509',
      ...NEW_KEY,
      '-keyout',
      this.keyFile,
      '-out',
      this.caFile,
      '-days',
      '2',
      ...subject,
    ]);
  }

  /** @param names subject alternative names as openssl writes them: `IP:127.0.0.1,DNS:localhost` */
  sign(commonName: string, names: string): { certFile: string; keyFile: string } {
    const certFile = join(this.folder, `${commonName}.pem`);
    const keyFile = join(this.folder, `${commonName}-key.pem`);
    const issuer = ['-CA', this.caFile, '-CAkey', this.keyFile];
    const extensions = ['-addext', `subjectAltName=${names}`, '-addext', 'basicConstraints=CA:FALSE'];
    const subject = ['-subj', `/CN=${commonName}`, ...extensions];
    openssl([
      'req',
      '-x509',
      ...issuer,
      ...NEW_KEY,
      '-keyout',
      keyFile,
      '-out',
      certFile,
      '-days',
      '2',
      ...subject,
    ]);
    chmodSync(keyFile, 0o600);
    return { certFile, keyFile };
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function openssl(args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
