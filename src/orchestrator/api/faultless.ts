import {
  getMetadataStorage,
  type ValidationArguments,
  ValidationTypes,
  type ValidatorConstraintInterface,
} from 'class-validator';

/*
 * Nearly every request is without faults, and to find that out class-validator makes an error object for each field
 * and throws it away: about 16 KB a request. This look makes nothing but what the checks themselves ask for. It has
 * no rules of its own: it reads the decorators' once for each class, and where it meets anything that it does not
 * understand it is not sure, and class-validator decides.
 */

type RuleMetadata = ReturnType<ReturnType<typeof getMetadataStorage>['getTargetValidationMetadatas']>[number];
type Condition = (instance: object, value: unknown) => boolean;

interface Check {
  validator: ValidatorConstraintInterface;
  /** What the decorator was given: a pattern, a bound, a list. */
  constraints: ValidationArguments['constraints'];
}

interface FieldRules {
  name: string;
  /** The value is held to the rules only if all of these are true. */
  conditions: Condition[];
  checks: Check[];
  isNested: boolean;
}

interface ClassRules {
  className: string;
  fields: FieldRules[];
  names: ReadonlySet<string>;
}

const { CUSTOM_VALIDATION, IS_DEFINED, NESTED_VALIDATION, CONDITIONAL_VALIDATION, WHITELIST } =
  ValidationTypes;
const UNDERSTOOD: ReadonlySet<string> = new Set([
  CUSTOM_VALIDATION,
  IS_DEFINED,
  NESTED_VALIDATION,
  CONDITIONAL_VALIDATION,
  WHITELIST,
]);

/** Null = a class of which nothing is ever sure. */
const compiled = new WeakMap<object, ClassRules | null>();

/**
 * True = `validateSync` with `whitelist` and `forbidNonWhitelisted` finds no fault in this instance of a DTO class.
 * False = ask it: there is a fault, or a rule or a value beyond what is understood here (`each`, groups, promises,
 * `validateIf`, a class with a parent, nested values that are lists or no instances of a class with rules).
 */
export function isSurelyFaultless(instance: object): boolean {
  const rules = rulesOf(instance);
  return rules !== null && hasOnlyKnownFields(instance, rules) && fitsAll(instance, rules);
}

/**
 * The instance may hold fields that a client named. An own field `constructor` is never a class if it came as JSON,
 * and is a field without rules if it is one; the prototype is compared so that nothing but `new` leads to the rules.
 */
function rulesOf(instance: object): ClassRules | null {
  const dto: unknown = instance.constructor;
  if (typeof dto !== 'function' || Object.getPrototypeOf(instance) !== dto.prototype) {
    return null;
  }
  const known = compiled.get(dto);
  if (known !== undefined) {
    return known;
  }
  const rules = compile(dto as new () => object);
  compiled.set(dto, rules);
  return rules;
}

function hasOnlyKnownFields(instance: object, { names }: ClassRules): boolean {
  // With inherited names too: one that has no rule is a reason to be unsure, and to filter them would cost an array.
  for (const name in instance) {
    if (!names.has(name)) {
      return false;
    }
  }
  return true;
}

function fitsAll(instance: object, { fields, className }: ClassRules): boolean {
  for (const field of fields) {
    if (!fits(instance as Record<string, unknown>, field, className)) {
      return false;
    }
  }
  return true;
}

function fits(instance: Record<string, unknown>, field: FieldRules, targetName: string): boolean {
  const { name: property, conditions, checks, isNested } = field;
  const value = instance[property];
  for (const isHeldTo of conditions) {
    if (!isHeldTo(instance, value)) {
      return true;
    }
  }
  for (const { validator, constraints } of checks) {
    // Made for each call, since it holds the request: an object kept for the next call would keep the request with it.
    if (validator.validate(value, { value, constraints, targetName, object: instance, property }) !== true) {
      return false;
    }
  }
  return !isNested || value === undefined || isFaultlessObject(value);
}

function isFaultlessObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && isSurelyFaultless(value);
}

function compile(dto: new () => object): ClassRules | null {
  const rules = getMetadataStorage().getTargetValidationMetadatas(dto, '', false, false);
  // A class without rules is a fault to class-validator; one with a parent may be a list, whose items are looked at.
  if (rules.length === 0 || Object.getPrototypeOf(dto.prototype) !== Object.prototype) {
    return null;
  }
  if (!rules.every(isUnderstood)) {
    return null;
  }
  const names = new Set(rules.map(({ propertyName }) => propertyName));
  const fields = [...names].map((name) =>
    fieldRules(
      name,
      rules.filter(({ propertyName }) => propertyName === name),
    ),
  );
  return { className: dto.name, fields, names };
}

function isUnderstood({ type, each, validateIf, groups, constraintCls }: RuleMetadata): boolean {
  const isPlain = !each && validateIf === undefined && !groups?.length;
  return UNDERSTOOD.has(type) && isPlain && validatorsOf(constraintCls).every(({ async }) => !async);
}

function fieldRules(name: string, rules: RuleMetadata[]): FieldRules {
  const ofType = (wanted: string): RuleMetadata[] => rules.filter(({ type }) => type === wanted);
  // In class-validator's order: the checks after `IsDefined` may rely on it.
  const checked = [...ofType(IS_DEFINED), ...ofType(CUSTOM_VALIDATION)];
  return {
    name,
    conditions: ofType(CONDITIONAL_VALIDATION).map(({ constraints }) => constraints[0] as Condition),
    checks: checked.flatMap(({ constraintCls, constraints }) =>
      validatorsOf(constraintCls).map(({ instance }) => ({ validator: instance, constraints })),
    ),
    isNested: ofType(NESTED_VALIDATION).length > 0,
  };
}

function validatorsOf(constraintCls: RuleMetadata['constraintCls']) {
  return getMetadataStorage().getTargetValidatorConstraints(constraintCls);
}
