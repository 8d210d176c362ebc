import { noneOfThatName } from "./nearest_names.ts";

/**
 * The entries of an object whose members are optional, for what a test names by them. A member that is there as
 * undefined is a mistake, such as a misspelt name in the table that its value comes from, and must not mean "anything".
 *
 * @param verb What is done with them, for the message: `"expect"`.
 * @throws {TypeError} When it is no object of names, or a value is undefined.
 */
export function definedEntries(verb: string, values: object): [string, unknown][] {
  checkNames(verb, values);
  const entries = Object.entries(values);
  const missing = entries.find(([, value]) => value === undefined);
  if (missing === undefined) return entries;
  throw new TypeError(
    `Cannot ${verb} ${
      missing[0]
    } as undefined: leave it out, or give a value; is a name misspelt where it comes from?`,
  );
}

/**
 * The same where saying nothing would match everything.
 *
 * @throws {TypeError} When nothing is named, too.
 */
export function someEntries(verb: string, values: object): [string, unknown][] {
  const entries = definedEntries(verb, values);
  if (entries.length > 0) return entries;
  throw new TypeError(`Cannot ${verb} {}: it names nothing. Leave it out, or name what is meant.`);
}

/** The names of options, each with what is checked of its value: a flag is true or false. */
export type OptionNames = Readonly<Record<string, "flag" | "value">>;

/** A name for each member of a type: TypeScript refuses to leave one out, or to add one. */
export type NamesOf<Options> = {
  readonly [Name in keyof Options]-?: NonNullable<Options[Name]> extends boolean ? "flag" : "value";
};

/**
 * Checks an object of options: a name that there is not would be ignored, and the default be taken in its place; of a
 * flag any text would be a yes.
 *
 * @param verb What is done with them, for the message: `"run the machine"`.
 * @param known The names of the options that there are.
 * @param within Where it is an option itself, the way to it: `"slots[0]"`.
 * @throws {TypeError} When it is no object of names, has one that there is not, null, or a flag that is no boolean.
 */
export function checkOptions(
  verb: string,
  given: unknown,
  known: OptionNames,
  within?: string,
): asserts given is object {
  checkNames(within === undefined ? `${verb} with` : `${verb} with ${within}`, given);
  for (const [name, value] of Object.entries(given)) {
    const option = within === undefined ? name : `${within}.${name}`;
    if (!Object.hasOwn(known, name)) {
      throw new TypeError(
        `Cannot ${verb} with the option ${option}: ${noneOfThatName(name, Object.keys(known))}`,
      );
    }
    // A default stands for what is left out, and not for what is null.
    if (value === null) {
      throw new TypeError(
        `Cannot ${verb} with the option ${option} null: leave it out, or give a value`,
      );
    }
    if (known[name] === "flag" && value !== undefined && typeof value !== "boolean") {
      throw new TypeError(
        `Cannot ${verb} with the option ${option} ${String(value)}: give true or false`,
      );
    }
  }
}

/**
 * Checks that what a test gives as an object of names is one, and has its names itself: of a number, a function, a list,
 * a promise or an instance of a class there are none, so that it would say nothing.
 *
 * @param verb What is done with it, for the message: `"run with the options"`.
 * @throws {TypeError} When it is something else.
 */
export function checkNames(verb: string, values: unknown): asserts values is object {
  if (isPlain(values)) return;
  throw new TypeError(`Cannot ${verb} ${kindOf(values)}: give an object, { name: value }`);
}

function isPlain(values: unknown): values is object {
  if (typeof values !== "object" || values === null) return false;
  const prototype = Object.getPrototypeOf(values);
  return (prototype === null || prototype === Object.prototype) &&
    Object.getOwnPropertySymbols(values).length === 0;
}

function kindOf(values: unknown): string {
  if (typeof values === "function") return "a function";
  if (typeof values !== "object" || values === null) return String(values);
  if (Array.isArray(values)) return "a list";
  if (values instanceof Promise) return "a promise that nobody awaits";
  const { name } = values.constructor ?? {};
  return typeof name !== "string" || name === "" || name === "Object"
    ? "an object whose names are not its own"
    : `a ${name}`;
}
