import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { QueueModule } from '../queue/queue.module.js';
import { Dispatching } from '../scaling/dispatching.js';
import { SCALING_PROVIDERS } from '../scaling/scaling.providers.js';
import { StoreModule } from '../store/store.module.js';
import { WorkerModule } from '../worker/worker.module.js';
import { API_CONTROLLERS, API_PROVIDERS } from './api/api.providers.js';
import { Completions } from './completions.js';
import { DeadLetters } from './dead-letters.js';
import { Dispatcher } from './dispatcher.js';
import { DispatchingView } from './dispatching-view.js';
import { EndedWorkers } from './ended-workers.js';
import { HealthLog } from './health-log.js';
import { Intake } from './intake.js';
import { LeaderDuties } from './leader-duties.js';
import { Leadership } from './leadership.js';
import { ParkingLot } from './parking-lot.js';
import { ReadyQueues } from './ready-queues.js';
import { Recorder } from './recorder.js';
import { Recovery } from './recovery.js';
import { Rescuer } from './rescuer.js';
import { Results } from './results.js';
import { Retention } from './retention.js';
import { Stager } from './stager.js';
import { TaskSender } from './task-sender.js';
import { WorkerWatch } from './worker-watch.js';

/** The way of a task through the orchestrator: intake, (stager), dispatch … results; and what keeps it going. */
@Module({
  imports: [QueueModule, StoreModule, WorkerModule, TerminusModule.forRoot({ logger: false })],
  controllers: API_CONTROLLERS,
  providers: [
    ...API_PROVIDERS,
    ...SCALING_PROVIDERS,
    { provide: Dispatching, useClass: DispatchingView },
    Intake,
    Stager,
    ParkingLot,
    Dispatcher,
    ReadyQueues,
    TaskSender,
    Results,
    Recorder,
    Completions,
    Leadership,
    LeaderDuties,
    WorkerWatch,
    Recovery,
    EndedWorkers,
    Rescuer,
    DeadLetters,
    Retention,
    HealthLog,
  ],
})
export class OrchestratorModule {}
