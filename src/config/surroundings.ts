/** What the place in which a process runs tells it. Nobody configures these by hand. */

type Environment = Readonly<Record<string, string | undefined>>;

const DOCKER_SOCKET = 'unix:///var/run/docker.sock';

/** Where the Docker Engine listens: `DOCKER_HOST`, as the `docker` command reads it, else the usual socket. */
export function dockerHost(environment: Environment = process.env): string {
  return environment['DOCKER_HOST'] || DOCKER_SOCKET;
}

/**
 * The API server of the cluster that this pod is part of.
 * @throws Error when this is not a pod
 */
export function kubernetesApiUrl(environment: Environment = process.env): string {
  const host = environment['KUBERNETES_SERVICE_HOST'];
  const port = environment['KUBERNETES_SERVICE_PORT'];
  if (!host || !port) {
    throw new Error(
      'expected KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, which every pod has: WORKER_DRIVER=kubernetes works in a pod of the cluster only',
    );
  }
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
