import { ValidationPipe } from '@nestjs/common';
import {
  getMetadataStorage,
  ValidateIf,
  type ValidationArguments,
  type ValidationError,
  type ValidationOptions,
  validateSync,
} from 'class-validator';
import { escapePointer, preview } from '../../queue/contracts/schema-problems.js';
import { isSurelyFaultless } from './faultless.js';
import { type FieldProblem, invalidParameter, invalidRequest } from './problem.js';

/** Options for a class-validator decorator: its message says what was expected and what came. */
export function expected(what: string): ValidationOptions {
  return { message: ({ value }: ValidationArguments) => `expected ${what}, got ${preview(value)}` };
}

/** May be left out; null is not the same as left out. */
export const MayBeMissing = (): PropertyDecorator => ValidateIf((_, value) => value !== undefined);

/** `isSurelyFaultless` speaks for validateSync with these: what changes here may have to change there. */
export const RULES = {
  whitelist: true,
  forbidNonWhitelisted: true,
  stopAtFirstError: true,
  // The class of the object that has the fault: it knows which fields there are.
  validationError: { target: true },
} as const;

/** Every fault of an instance of a DTO class, with pointers; `[]` when there is none. */
export function faultsOf(instance: object): FieldProblem[] {
  if (isSurelyFaultless(instance)) {
    return [];
  }
  return flatten(validateSync(instance, RULES), '').map(({ path, message }) => ({ pointer: path, message }));
}

/** For bodies that are small; `flowData` and `inputs` never go through class-transformer. */
export const BODY_PIPE = new ValidationPipe({
  ...RULES,
  transform: true,
  exceptionFactory: (errors) =>
    invalidRequest(flatten(errors, '').map(({ path, message }) => ({ pointer: path, message }))),
});

export const QUERY_PIPE = new ValidationPipe({
  ...RULES,
  transform: true,
  exceptionFactory: (errors) =>
    invalidParameter(flatten(errors, '').map(({ path, message }) => ({ parameter: path.slice(1), message }))),
});

function flatten(errors: ValidationError[], parent: string): { path: string; message: string }[] {
  return errors.flatMap((error) => {
    const path = `${parent}/${escapePointer(error.property)}`;
    const own = Object.entries(error.constraints ?? {}).map(([rule, message]) => ({
      path,
      message: rule === 'whitelistValidation' ? unknownField(error) : message,
    }));
    return [...own, ...flatten(error.children ?? [], path)];
  });
}

function unknownField({ target, property }: ValidationError): string {
  const known = target ? fieldsOf(target.constructor) : [];
  const fields = known.length > 0 ? `only the fields ${known.join(', ')}` : 'no such field';
  return `expected ${fields}, got the unknown field ${preview(property)}`;
}

function fieldsOf(dto: object): string[] {
  const rules = getMetadataStorage().getTargetValidationMetadatas(dto as new () => object, '', false, false);
  return [...new Set(rules.map(({ propertyName }) => propertyName))];
}
