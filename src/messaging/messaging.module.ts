import { Module } from '@nestjs/common';
import { ConfigurableModuleClass } from './messaging.options.js';
import { MessagingService } from './messaging.service.js';

/** `MessagingModule.registerAsync({ inject, useFactory })`: the orchestrator and the worker each bring their own options. */
@Module({ providers: [MessagingService], exports: [MessagingService] })
export class MessagingModule extends ConfigurableModuleClass {}
