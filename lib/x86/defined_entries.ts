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
 * Checks that what a test gives as an object of names is one: of a number, a function, a list or a Map there are no
 * names, so that it would say nothing.
 *
 * @param verb What is done with it, for the message: `"run with the options"`.
 * @throws {TypeError} When it is something else.
 */
export function checkNames(verb: string, values: unknown): asserts values is object {
  if (typeof values === "object" && values !== null && !(Symbol.iterator in values)) return;
  const shown = Array.isArray(values)
    ? "a list"
    : typeof values === "function"
    ? "a function"
    : typeof values === "object" && values !== null
    ? `a ${values.constructor.name}`
    : String(values);
  throw new TypeError(`Cannot ${verb} ${shown}: give an object, { name: value }`);
}
