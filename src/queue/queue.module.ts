import { Module } from '@nestjs/common';
import { QueueManagementService } from './queue-management.service.js';

@Module({ providers: [QueueManagementService], exports: [QueueManagementService] })
export class QueueModule {}
