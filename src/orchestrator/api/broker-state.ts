import type { MessagingService } from '../../messaging/messaging.service.js';

export interface BrokerState {
  state: 'up' | 'blocked' | 'away';
  reason?: string;
}

/** `away` = not connected; `blocked` = connected, but an alarm keeps the broker from taking messages. */
export function brokerState({
  isUp,
  blockedReason,
  lastError,
}: Pick<MessagingService, 'isUp' | 'blockedReason' | 'lastError'>): BrokerState {
  if (!isUp) {
    return { state: 'away', reason: lastError ?? 'not connected yet' };
  }
  return blockedReason === null ? { state: 'up' } : { state: 'blocked', reason: blockedReason };
}
