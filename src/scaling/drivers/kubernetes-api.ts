import { readFile } from 'node:fs/promises';
import { type HttpAnswer, HttpApi, type HttpCall } from './http-api.js';

/** `autoscaling/v1` Scale, as far as it is used. */
export interface Scale {
  spec?: { replicas?: number };
  /** `selector`: of the pods, as the list of pods takes it. */
  status?: { replicas: number; selector?: string };
}

/** `v1` Pod, as far as it is used. */
export interface Pod {
  metadata: {
    name: string;
    uid: string;
    creationTimestamp: string;
    /** It was asked to end, and has not ended yet. */
    deletionTimestamp?: string;
  };
  status?: {
    /** Pending, Running, Succeeded, Failed or Unknown. */
    phase?: string;
    startTime?: string;
    containerStatuses?: ContainerStatus[];
  };
}

export interface ContainerStatus {
  name: string;
  restartCount: number;
  lastState?: { terminated?: ContainerTerminated };
}

export interface ContainerTerminated {
  exitCode: number;
  signal?: number;
  /** RFC 3339, whole seconds. */
  startedAt?: string;
  finishedAt?: string;
}

export interface KubernetesApiOptions {
  /** `https://host:port` of the API server. */
  url: string;
  namespace: string;
  /** Default /var/run/secrets/kubernetes.io/serviceaccount: where every pod finds `token` and `ca.crt`. */
  credentialsFolder?: string;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost';

/** What a call is about, for those who have to mend what is missing. */
interface Subject {
  verb: 'get' | 'list' | 'patch' | 'delete';
  /** As a Role names it. */
  resource: 'deployments/scale' | 'pods';
  name?: string;
}

/**
 * The calls of the Kubernetes API that scaling a Deployment needs, with the service account of this pod. Its token is
 * read for each of them, since Kubernetes replaces it about every hour.
 */
export class KubernetesApi {
  private readonly folder: string;
  private readonly namespacePath: string;
  private http: Promise<HttpApi> | null = null;

  constructor(private readonly options: KubernetesApiOptions) {
    this.folder = options.credentialsFolder ?? SERVICE_ACCOUNT;
    this.namespacePath = `namespaces/${encodeURIComponent(options.namespace)}`;
  }

  async scaleOf(deployment: string): Promise<Scale> {
    const subject = { verb: 'get', resource: 'deployments/scale', name: deployment } as const;
    return JSON.parse(await this.send(subject, { method: 'GET', path: this.scalePath(deployment) })) as Scale;
  }

  async setReplicas(deployment: string, replicas: number): Promise<void> {
    const subject = { verb: 'patch', resource: 'deployments/scale', name: deployment } as const;
    await this.send(subject, this.patch(this.scalePath(deployment), { spec: { replicas } }), [200, 201]);
  }

  async pods(selector: string): Promise<Pod[]> {
    const path = `/api/v1/${this.namespacePath}/pods?labelSelector=${encodeURIComponent(selector)}`;
    const list = await this.send({ verb: 'list', resource: 'pods' }, { method: 'GET', path });
    return (JSON.parse(list) as { items: Pod[] }).items;
  }

  /** When a ReplicaSet has a pod too many, the one with the lowest cost goes first. Nothing happens when it is gone. */
  async setDeletionCost(pod: string, cost: number): Promise<void> {
    const change = { metadata: { annotations: { [DELETION_COST]: String(cost) } } };
    const subject = { verb: 'patch', resource: 'pods', name: pod } as const;
    await this.send(subject, this.patch(this.podPath(pod), change), [200, 201, 404]);
  }

  /** With the grace time of its own. Nothing happens when it is gone. */
  async deletePod(pod: string): Promise<void> {
    const subject = { verb: 'delete', resource: 'pods', name: pod } as const;
    await this.send(subject, { method: 'DELETE', path: this.podPath(pod) }, [200, 202, 404]);
  }

  async close(): Promise<void> {
    const http = await this.http?.catch(() => null);
    this.http = null;
    await http?.close();
  }

  private scalePath(deployment: string): string {
    return `/apis/apps/v1/${this.namespacePath}/deployments/${encodeURIComponent(deployment)}/scale`;
  }

  private podPath(pod: string): string {
    return `/api/v1/${this.namespacePath}/pods/${encodeURIComponent(pod)}`;
  }

  private patch(path: string, change: object): HttpCall {
    return {
      method: 'PATCH',
      path,
      body: JSON.stringify(change),
      contentType: 'application/merge-patch+json',
    };
  }

  /** @returns the body */
  private async send(subject: Subject, call: HttpCall, expected = [200]): Promise<string> {
    this.http ??= this.connect();
    // A file that is missing now may be there in the next round.
    const http = await this.http.catch((error: unknown) => {
      this.http = null;
      throw error;
    });
    const answer = await http.call(call);
    if (!expected.includes(answer.status)) throw new Error(this.explain(subject, answer));
    return answer.text;
  }

  private async connect(): Promise<HttpApi> {
    const { url } = this.options;
    const ca = url.startsWith('https:') ? await this.credential('ca.crt') : undefined;
    const headers = async (): Promise<Record<string, string>> => ({
      accept: 'application/json',
      authorization: `Bearer ${await this.credential('token')}`,
    });
    return new HttpApi({ name: 'the Kubernetes API', origin: url, ca, headers });
  }

  private async credential(file: 'token' | 'ca.crt'): Promise<string> {
    try {
      return (await readFile(`${this.folder}/${file}`, 'utf8')).trim();
    } catch (error) {
      throw new Error(
        `expected the credentials of a service account in ${this.folder}/${file}, got ${(error as Error).message}: give the pod one (serviceAccountName, and no automountServiceAccountToken: false)`,
        { cause: error },
      );
    }
  }

  private explain({ verb, resource, name }: Subject, { status, text }: HttpAnswer): string {
    const { namespace } = this.options;
    const target = `${resource}${name === undefined ? '' : ` "${name}"`} in namespace "${namespace}"`;
    const got = `got ${status}: ${messageOf(text)}`;
    if (status === 401)
      return `expected the Kubernetes API to take the token of this pod's service account, ${got}`;
    if (status === 403) {
      return `expected the right to ${verb} ${target}, ${got}; give the service account of the orchestrator a Role with the verb "${verb}" on "${resource}"`;
    }
    if (status === 404 && resource === 'deployments/scale') {
      return `expected a Deployment "${name}" in namespace "${namespace}", ${got}; create it, or correct KUBERNETES_DEPLOYMENT and KUBERNETES_NAMESPACE`;
    }
    return `expected to ${verb} ${target}, ${got}`;
  }
}

/** The API says what is wrong in a `Status`. */
function messageOf(text: string): string {
  try {
    return String((JSON.parse(text) as { message?: unknown }).message ?? text).slice(0, 500);
  } catch {
    return text.slice(0, 500);
  }
}
