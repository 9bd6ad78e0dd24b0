import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import {
  GOODBYE_TYPE,
  HEARTBEAT_TYPE,
  REGISTRATION_TYPE,
  type WorkerGoodbyeMessage,
  type WorkerHeartbeatMessage,
  type WorkerRegistrationMessage,
} from '../queue/contracts/fleet.js';
import { WorkerManagementService } from './worker-management.service.js';

/** What workers say of themselves, as it comes in from `flow.workers`. */
@Controller()
export class WorkerController {
  constructor(private readonly workers: WorkerManagementService) {}

  @EventPattern(REGISTRATION_TYPE)
  async registration(@Payload() message: WorkerRegistrationMessage): Promise<void> {
    await this.workers.onRegistration(message);
  }

  @EventPattern(HEARTBEAT_TYPE)
  heartbeat(@Payload() message: WorkerHeartbeatMessage): void {
    this.workers.onHeartbeat(message);
  }

  @EventPattern(GOODBYE_TYPE)
  goodbye(@Payload() message: WorkerGoodbyeMessage): void {
    this.workers.onGoodbye(message);
  }
}
