import { ApiProperty } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import {
  IsBoolean,
  IsIn,
  IsInt,
  IsOptional,
  IsRFC3339,
  IsString,
  Matches,
  Max,
  MaxLength,
  Min,
} from 'class-validator';
import { ID_PATTERN } from '../../queue/contracts/flow.js';
import { PRIORITIES, type Priority } from '../../queue/priority.js';
import type { ExecutionFilter } from '../../store/execution-store.js';
import { EXECUTION_STATES, type ExecutionState } from '../../store/transitions.js';
import { invalidRequest, type ProblemException } from './problem.js';
import { expected, MayBeMissing } from './validation.js';

const LONGEST_CURSOR = 1_000;
const ID = expected('1 to 128 letters, digits, _ . : or -');
const TIME = expected('a time like 2026-01-31T12:00:00Z');
/** As `labelFault` allows them: the name ends at the first colon. */
const LABEL = /^[A-Za-z0-9_./-]{1,64}:\P{Cc}{0,256}$/u;
const LABEL_RULE = expected('name:value');

const asNumber = ({ value }: { value: unknown }): unknown =>
  typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
const asList = ({ value }: { value: unknown }): unknown => (value === undefined ? value : [value].flat());
const asSplitList = ({ value }: { value: unknown }): unknown =>
  value === undefined
    ? value
    : [value].flat().flatMap((item: unknown) => (typeof item === 'string' ? item.split(',') : [item]));

/** Where a page begins and how long it is. */
export class PageQuery {
  @Transform(asNumber)
  @IsInt(expected('a whole number from 1 to 200'))
  @Min(1, expected('a whole number from 1 to 200'))
  @Max(200, expected('a whole number from 1 to 200'))
  @ApiProperty({ type: 'integer', required: false, minimum: 1, maximum: 200, description: 'Unset = 50.' })
  limit: number = 50;

  @IsOptional()
  @IsString(expected('the nextCursor of the page before'))
  @MaxLength(LONGEST_CURSOR, expected('the nextCursor of the page before'))
  @ApiProperty({ type: 'string', required: false, description: 'The `nextCursor` of the page before.' })
  cursor?: string;
}

/** What a set of executions is narrowed down to. */
export interface Narrowing {
  flowId?: string;
  label?: string[];
  createdAfter?: string;
  createdBefore?: string;
}

export class ListQuery extends PageQuery implements Narrowing {
  @IsOptional()
  @Transform(asSplitList)
  @IsIn(EXECUTION_STATES, { each: true, ...expected(`any of ${EXECUTION_STATES.join(', ')}`) })
  @ApiProperty({
    type: 'string',
    enum: [...EXECUTION_STATES],
    isArray: true,
    required: false,
    description: 'Repeat it, or separate states with commas.',
  })
  state?: ExecutionState[];

  @IsOptional()
  @Matches(new RegExp(ID_PATTERN), ID)
  @ApiProperty({ type: 'string', required: false })
  flowId?: string;

  @IsOptional()
  @Matches(new RegExp(ID_PATTERN), ID)
  @ApiProperty({ type: 'string', required: false, description: 'The worker of the current attempt.' })
  worker?: string;

  @IsOptional()
  @IsIn(PRIORITIES, expected(`one of ${PRIORITIES.join(', ')}`))
  @ApiProperty({ type: 'string', enum: [...PRIORITIES], required: false })
  priority?: Priority;

  @IsOptional()
  @Transform(asList)
  @Matches(LABEL, { each: true, ...LABEL_RULE })
  @ApiProperty({
    type: 'string',
    isArray: true,
    required: false,
    description: '`name:value`, for example `team:billing`; repeat it, and all must match.',
  })
  label?: string[];

  @IsOptional()
  @IsRFC3339(TIME)
  @ApiProperty({
    type: 'string',
    format: 'date-time',
    required: false,
    description: 'Inclusive; for example `2026-01-31T12:00:00Z`.',
  })
  createdAfter?: string;

  @IsOptional()
  @IsRFC3339(TIME)
  @ApiProperty({ type: 'string', format: 'date-time', required: false, description: 'Exclusive.' })
  createdBefore?: string;
}

/** The body of a bulk replay. */
export class BulkReplayRequest implements Narrowing {
  @MayBeMissing()
  @Matches(new RegExp(ID_PATTERN), ID)
  @ApiProperty({ type: 'string', required: false })
  flowId?: string;

  @MayBeMissing()
  @Transform(asList)
  @Matches(LABEL, { each: true, ...LABEL_RULE })
  @ApiProperty({
    type: 'string',
    isArray: true,
    required: false,
    description: '`name:value`; all must match.',
  })
  label?: string[];

  @MayBeMissing()
  @IsRFC3339(TIME)
  @ApiProperty({ type: 'string', format: 'date-time', required: false, description: 'Inclusive.' })
  createdAfter?: string;

  @MayBeMissing()
  @IsRFC3339(TIME)
  @ApiProperty({ type: 'string', format: 'date-time', required: false, description: 'Exclusive.' })
  createdBefore?: string;

  @MayBeMissing()
  @Matches(/^[a-z0-9_]{1,64}$/, expected('a failure code, for example worker_lost'))
  @ApiProperty({ type: 'string', required: false, example: 'worker_lost', description: 'The `error.code`.' })
  errorCode?: string;

  @MayBeMissing()
  @IsBoolean(expected('true or false'))
  @ApiProperty({
    type: 'boolean',
    required: false,
    description: 'True instead of any filter: every dead execution.',
  })
  all?: boolean;

  @IsInt(expected('a whole number from 1 to 1000'))
  @Min(1, expected('a whole number from 1 to 1000'))
  @Max(1000, expected('a whole number from 1 to 1000'))
  @ApiProperty({ type: 'integer', required: false, minimum: 1, maximum: 1000, default: 1000 })
  limit: number = 1000;
}

const FILTERS = ['flowId', 'label', 'createdAfter', 'createdBefore', 'errorCode'] as const;

/** Nobody replays everything by a slip: a bulk replay names what it means. @throws ProblemException 422 */
export function assertNarrowed(request: BulkReplayRequest): void {
  const given = FILTERS.filter((name) => request[name] !== undefined && request[name].length > 0);
  if (given.length > 0 !== (request.all === true)) {
    return;
  }
  throw notNarrowed(given.length > 0 ? `both "all" and ${given.join(', ')}` : 'neither');
}

export function notNarrowed(got: string): ProblemException {
  const message = `expected at least one filter (${FILTERS.join(', ')}), or "all": true for every dead execution, got ${got}`;
  return invalidRequest([{ pointer: '', message }]);
}

/** The store's form of a query. */
export function toFilter(
  query: Narrowing & Partial<Pick<ListQuery, 'state' | 'worker' | 'priority'>>,
): ExecutionFilter {
  const { flowId, label, createdAfter, createdBefore, state, worker, priority } = query;
  return {
    ...(state && { states: state }),
    ...(flowId !== undefined && { flowId }),
    ...(worker !== undefined && { workerId: worker }),
    ...(priority && { priority }),
    ...(label && { labels: Object.fromEntries(label.map(splitLabel)) }),
    ...(createdAfter !== undefined && { createdAfter: Date.parse(createdAfter) }),
    ...(createdBefore !== undefined && { createdBefore: Date.parse(createdBefore) }),
  };
}

function splitLabel(label: string): [string, string] {
  const colon = label.indexOf(':');
  return [label.slice(0, colon), label.slice(colon + 1)];
}
