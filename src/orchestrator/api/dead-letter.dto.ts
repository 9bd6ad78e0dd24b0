import { ApiExtraModels, ApiProperty, ApiSchema, getSchemaPath } from '@nestjs/swagger';
import { IsIn } from 'class-validator';
import type { DeadLetter } from '../../store/execution-store.js';
import { ExecutionSummaryView } from './execution.dto.js';
import { PageQuery } from './list-query.dto.js';
import { expected } from './validation.js';

export const DEAD_LETTER_KINDS = ['execution', 'message'] as const;
export type DeadLetterKind = (typeof DEAD_LETTER_KINDS)[number];

export class DeadLettersQuery extends PageQuery {
  @IsIn(DEAD_LETTER_KINDS, expected(`one of ${DEAD_LETTER_KINDS.join(', ')}`))
  @ApiProperty({
    type: 'string',
    enum: [...DEAD_LETTER_KINDS],
    required: false,
    description:
      '`execution`: attempts are used up; `message`: could not be read or delivered. Unset = `execution`.',
  })
  kind: DeadLetterKind = 'execution';
}

@ApiSchema({ name: 'DeadMessage', description: 'A message that could not be read or delivered.' })
export class DeadMessageView implements Omit<DeadLetter, 'at'> {
  @ApiProperty({ type: 'string' })
  id!: string;
  @ApiProperty({ type: 'string', format: 'date-time', description: 'When it was put here.' })
  at!: string;
  @ApiProperty({ type: 'string', description: 'The queue it came from.' })
  source!: string;
  @ApiProperty({ type: 'string' })
  exchange!: string;
  @ApiProperty({ type: 'string' })
  routingKey!: string;
  @ApiProperty({ type: 'string' })
  reason!: string;
  @ApiProperty({ type: 'string', nullable: true })
  messageType!: string | null;
  @ApiProperty({ type: 'string', nullable: true })
  executionId!: string | null;
  @ApiProperty({ type: 'object', additionalProperties: true })
  headers!: Record<string, unknown>;
  @ApiProperty({ type: 'string', format: 'byte', description: 'Base64.' })
  body!: string;
}

@ApiSchema({ name: 'DeadLetterPage' })
@ApiExtraModels(ExecutionSummaryView, DeadMessageView)
export class DeadLetterPageView {
  @ApiProperty({ type: 'string', enum: [...DEAD_LETTER_KINDS] })
  kind!: DeadLetterKind;
  @ApiProperty({
    type: 'array',
    items: {
      anyOf: [{ $ref: getSchemaPath(ExecutionSummaryView) }, { $ref: getSchemaPath(DeadMessageView) }],
    },
  })
  items!: (ExecutionSummaryView | DeadMessageView)[];
  @ApiProperty({ type: 'string', nullable: true })
  nextCursor!: string | null;
}

@ApiSchema({ name: 'Replayed' })
export class ReplayedView {
  @ApiProperty({ type: 'string' })
  id!: string;
  @ApiProperty({ type: 'string', enum: [...DEAD_LETTER_KINDS] })
  kind!: DeadLetterKind;
  @ApiProperty({ type: 'string', enum: ['queued', 'republished'] })
  status!: 'queued' | 'republished';
}

@ApiSchema({ name: 'BulkReplayed' })
export class BulkReplayedView {
  @ApiProperty({ type: 'integer', description: 'How many dead executions got a new series of attempts.' })
  replayed!: number;
  @ApiProperty({ type: 'string', isArray: true })
  executionIds!: string[];
  @ApiProperty({ type: 'boolean', description: 'True when more may match: ask again.' })
  more!: boolean;
}
