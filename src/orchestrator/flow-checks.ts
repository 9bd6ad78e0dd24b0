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
  /** The same joined with `,`: the class of its tasks. */
  requiredTypes: string;
}

export type FlowVerdict = { ok: true; flow: CheckedFlow } | { ok: false; problems: FlowProblem[] };

/** Of all flows that are kept, and of the longest one that is. */
const KEPT_CHARACTERS = 1_048_576;
const LONGEST_CHARACTERS = 65_536;

/**
 * Checks flows, and keeps those without faults by their text: most requests bring a flow that came before, with other
 * inputs, and comparing texts is far cheaper than looking at nodes.
 */
export class FlowChecks {
  private readonly known = new Map<string, CheckedFlow>();
  private keptCharacters = 0;
  /** The one that was asked for last. */
  private newest: CheckedFlow | null = null;

  constructor(private readonly limits: FlowLimits) {}

  /** @param flowData from a parser that bounds its depth */
  check(flowData: unknown): FlowVerdict {
    // Nothing else makes the text of a flow, so what cannot be one is found to be wrong below.
    const text = JSON.stringify(flowData) ?? '';
    const known = this.known.get(text);
    if (known !== undefined) {
      this.renew(known);
      return { ok: true, flow: known };
    }
    const problems = checkFlow(flowData, this.limits);
    if (problems.length > 0) {
      return { ok: false, problems };
    }
    const nodeTypes = requiredNodeTypes(flowData as FlowData);
    const requiredTypes = nodeTypes.join(',');
    const flow: CheckedFlow = { text, canonical: canonicalJson(flowData), nodeTypes, requiredTypes };
    if (text.length <= LONGEST_CHARACTERS) {
      this.keep(flow);
    }
    return { ok: true, flow };
  }

  /** The newest is last, so that the first is the one that was not asked for longest. */
  private renew(flow: CheckedFlow): void {
    if (flow !== this.newest) {
      this.known.delete(flow.text);
      this.known.set(flow.text, flow);
      this.newest = flow;
    }
  }

  private keep(flow: CheckedFlow): void {
    this.renew(flow);
    this.keptCharacters += charactersOf(flow);
    for (const oldest of this.known.values()) {
      if (this.keptCharacters <= KEPT_CHARACTERS) {
        return;
      }
      this.known.delete(oldest.text);
      this.keptCharacters -= charactersOf(oldest);
    }
  }
}

function charactersOf({ text, canonical }: CheckedFlow): number {
  return text.length + canonical.length;
}
