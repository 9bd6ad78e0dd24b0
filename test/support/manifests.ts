import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';

/** A Kubernetes manifest, as far as tests look at it. */
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string };
  [part: string]: unknown;
}

/** Of a file with one or more YAML documents. @throws Error that says what is not YAML */
export function manifestsOf(file: string): Manifest[] {
  return parseAllDocuments(readFileSync(file, 'utf8'), { uniqueKeys: true }).map((document) => {
    if (document.errors.length > 0) throw new Error(`${file}: ${document.errors[0]!.message}`);
    return document.toJS() as Manifest;
  });
}

interface Rule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
}

/** What the Roles of a file allow, each as `verb resource`. */
export function rightsOf(file: string): string[] {
  return manifestsOf(file)
    .filter(({ kind }) => kind === 'Role')
    .flatMap(({ rules }) => rules as Rule[])
    .flatMap(({ resources, verbs }) =>
      resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`)),
    );
}
