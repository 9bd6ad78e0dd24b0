/** The three priority levels, highest first. Each one is a queue of its own (`flow.ready.<priority>`). */
export const PRIORITIES = ['high', 'normal', 'low'] as const;
export type Priority = (typeof PRIORITIES)[number];
export const DEFAULT_PRIORITY: Priority = 'normal';
