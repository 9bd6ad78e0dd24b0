import { ConfigurableModuleBuilder } from '@nestjs/common';

export interface MessagingOptions {
  /** Names the connections: `<instance> publish` and so on. */
  instance: string;
  urls: string[];
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
