import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { TlsFiles } from './broker-tls.js';

export interface MessagingOptions {
  /** Names the connections: `<instance> publish` and so on. */
  instance: string;
  urls: string[];
  /** For `amqps://`. */
  tls: TlsFiles;
  heartbeatS: number;
  /** The most publishes without a confirm. */
  publishWindow: number;
  publishTimeoutMs: number;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN: MESSAGING_OPTIONS } =
  new ConfigurableModuleBuilder<MessagingOptions>()
    .setExtras({ isGlobal: true }, (definition, extras) => ({
      ...definition,
      global: extras.isGlobal,
    }))
    .build();
