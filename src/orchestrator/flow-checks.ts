import {
  checkFlow,
  type FlowLimits,
  type FlowProblem,
  requiredNodeTypes,
} from '../queue/contracts/flow-check.js';
import type { FlowData } from '../queue/contracts/flow.js';
import { canonicalJson } from './flow-identity.js';

/** What a flow without faults comes to. */
export interface CheckedFlow {
  /** JSON text of the flow. */
  text: string;
  /** The same with sorted keys: its part of a request's identity. */
  canonical: string;
  /** Sorted and distinct. */
  nodeTypes: readonly string[];
}

export type FlowVerdict = { ok: true; flow: CheckedFlow } | { ok: false; problems: FlowProblem[] };

/** Characters of all remembered flows, and of the longest one that is remembered. */
const MEMORY = 1_048_576;
const LONGEST = 65_536;

/**
 * Checks flows, and remembers those without faults by their text: most requests bring a flow that came before, with
 * other inputs, and looking it up costs the same however many nodes it has.
 */
export class FlowChecks {
  private readonly known = new Map<string, CheckedFlow>();
  private remembered = 0;

  constructor(private readonly limits: FlowLimits) {}

  /** @param flowData from a parser that bounds its depth */
  check(flowData: unknown): FlowVerdict {
    // Nothing else makes the text of a flow, so what cannot be one is found to be wrong below.
    const text = JSON.stringify(flowData) ?? '';
    const known = this.known.get(text);
    if (known !== undefined) {
      return { ok: true, flow: known };
    }
    const problems = checkFlow(flowData, this.limits);
    if (problems.length > 0) {
      return { ok: false, problems };
    }
    const nodeTypes = requiredNodeTypes(flowData as FlowData);
    const flow: CheckedFlow = { text, canonical: canonicalJson(flowData), nodeTypes };
    if (text.length <= LONGEST) {
      this.remember(flow);
    }
    return { ok: true, flow };
  }

  private remember(flow: CheckedFlow): void {
    this.known.set(flow.text, flow);
    this.remembered += flow.text.length;
    for (const oldest of this.known.keys()) {
      if (this.remembered <= MEMORY) {
        return;
      }
      this.known.delete(oldest);
      this.remembered -= oldest.length;
    }
  }
}
