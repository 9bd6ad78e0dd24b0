import { Injectable, type OnModuleDestroy } from '@nestjs/common';

/**
 * That this process is going: nothing new is accepted, readiness says so, and requests that wait for an end are
 * answered at once, since the server closes only after its last answer.
 */
@Injectable()
export class Shutdown implements OnModuleDestroy {
  private readonly controller = new AbortController();

  get draining(): boolean {
    return this.controller.signal.aborted;
  }

  /** Aborted when the end begins. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Harmless when called again; Nest calls it first thing in `app.close()`. */
  begin(): void {
    this.controller.abort();
  }

  onModuleDestroy(): void {
    this.begin();
  }
}
