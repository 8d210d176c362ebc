/**
 * The entries of an object whose members are optional, for what a test names by them. A member that is there as undefined
 * is a mistake, such as a misspelt name in the table that its value comes from, and must not mean "anything".
 *
 * @param verb What is done with them, for the message: `"expect"`.
 * @throws {TypeError} When a value is undefined.
 */
export function definedEntries(verb: string, values: object): [string, unknown][] {
  const entries = Object.entries(values);
  const missing = entries.find(([, value]) => value === undefined);
  if (missing === undefined) return entries;
  throw new TypeError(
    `Cannot ${verb} ${
      missing[0]
    } as undefined: leave it out, or give a value; is a name misspelt where it comes from?`,
  );
}
