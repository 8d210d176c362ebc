import { atCaller } from "../../guest/call_site.ts";
import { someEntries } from "../../x86/defined_entries.ts";
import { nearestNames } from "../../x86/nearest_names.ts";

/**
 * The error for a register, or a part of one, that does not exist.
 *
 * @param path What was asked for: `"rax2"`, `"cs.bass"`.
 * @param names What there is in its place.
 */
export function unknownRegister(path: string, names: readonly string[]): RangeError {
  const asked = path.slice(path.lastIndexOf(".") + 1);
  const near = names.length === 0
    ? "it has no parts"
    : `the nearest are ${nearestNames(asked, names).join(", ")}`;
  return new RangeError(`Cannot find a register "${path}": there is none of that name; ${near}`);
}

/** The registers, or the parts of one, that an object has: its own, and those that it shares with others. */
export function namesIn(registers: object): string[] {
  const names: string[] = [];
  for (let each: object | null = registers; each !== null; each = Object.getPrototypeOf(each)) {
    names.push(...Object.keys(each));
  }
  return names;
}

/** A setter; the stack of its refusal begins at the line that assigns. */
export function assigning<Value>(
  set: (this: object, value: Value) => void,
): (this: object, value: Value) => void {
  return function assign(this: object, value: Value) {
    atCaller(assign, () => set.call(this, value));
  };
}

/**
 * The members that something is given to assign, of one that has some: another register's, too.
 *
 * @throws {TypeError} When it names none, or one is undefined.
 */
export function assignedMembers(path: string, value: object): [string, unknown][] {
  const hasOwn = Object.keys(value).length > 0 && !Array.isArray(value);
  return someEntries(`set ${path} with`, hasOwn ? { ...value } : value);
}

/**
 * The end of a prototype chain: whatever is looked up here has no accessor before it, so its name is wrong,
 * and a `RangeError` says so instead of an `undefined` that a test would compare with.
 *
 * @param of The register that the names are parts of; undefined for the registers themselves.
 * @param base What the chain ends in otherwise.
 */
export function checkNames(of?: string, base: object = Object.prototype): object {
  // Symbols, and what inspection and promises probe for, are not mistyped registers.
  const isKnown = (target: object, name: string | symbol) =>
    typeof name === "symbol" || name in target || name === "then" || name === "toJSON";
  const unknown = (name: string | symbol, receiver: object): never => {
    throw unknownRegister(
      [of, name].filter((each) => each !== undefined).join("."),
      namesIn(receiver),
    );
  };
  return new Proxy(Object.create(base), {
    get: function get(target, name, receiver) {
      if (!isKnown(target, name)) atCaller(get, () => unknown(name, receiver));
      return Reflect.get(target, name, receiver);
    },
    set: function set(target, name, value, receiver) {
      return atCaller(
        set,
        () =>
          isKnown(target, name)
            ? Reflect.set(target, name, value, receiver)
            : unknown(name, receiver),
      );
    },
  });
}
