/**
 * The environment of this process together with `.env`, for the one use that it has beyond the schema: a driver that
 * starts workers hands theirs on to them.
 */
export class InheritedEnvironment {
  constructor(readonly variables: Readonly<Record<string, string | undefined>>) {}
}
