import { setMaxListeners } from 'node:events';

/** What a run listens to in order to stop: an `AbortSignal` fits. */
export interface AbortSource {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

const NONE: readonly (() => void)[] = [];

/**
 * An `AbortController` that makes its signal when somebody first asks for it. Most nodes never do, and making,
 * watching and collecting the three signals of a short flow took a fifth of its time.
 */
export class LazyAbort implements AbortSource {
  private listeners = NONE;
  private controller?: AbortController;
  private cause: { reason: unknown } | undefined;

  get aborted(): boolean {
    return this.cause !== undefined;
  }

  get reason(): unknown {
    return this.cause?.reason;
  }

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      // Every running node may listen, a thousand at a time: that is no leak.
      setMaxListeners(0, this.controller.signal);
      if (this.aborted) this.controller.abort(this.reason);
    }
    return this.controller.signal;
  }

  /** @param reason default: the `AbortError` that an `AbortController` gives */
  abort(reason: unknown = new DOMException('This operation was aborted', 'AbortError')): void {
    if (this.aborted) return;
    this.cause = { reason };
    this.controller?.abort(reason);
    while (this.listeners.length > 0) {
      const [next, ...rest] = this.listeners;
      this.listeners = rest;
      next!();
    }
  }

  /** Each listener is called once. One at a time is the rule, and costs no copy of a list. */
  addEventListener(_type: 'abort', listener: () => void): void {
    this.listeners = this.listeners.length === 0 ? [listener] : this.listeners.concat(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const index = this.listeners.indexOf(listener);
    if (index >= 0) this.listeners = this.listeners.length === 1 ? NONE : this.listeners.toSpliced(index, 1);
  }
}
