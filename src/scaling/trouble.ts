import type { Logger } from '@nestjs/common';

/** Something that goes wrong round after round: said once, and again when it changes. */
export class Trouble {
  private current: string | null = null;

  constructor(private readonly logger: Logger) {}

  /** Null = none. */
  get message(): string | null {
    return this.current;
  }

  note(message: string): void {
    if (message !== this.current) {
      this.current = message;
      this.logger.warn(message);
    }
  }

  clear(): void {
    this.current = null;
  }
}
