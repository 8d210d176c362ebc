// The types of every function of std/assert 1, for the JavaScript that assert.ts re-exports.

// deno-lint-ignore-file no-explicit-any -- constructors are contravariant in their parameters: only `any` accepts them all

/** A class that can be created with `new`. */
export type AnyConstructor = new (...parameters: any[]) => any;

/** The instance type of a class. */
export type GetConstructorType<Class extends AnyConstructor> = InstanceType<Class>;

/** A class that may be abstract: what `instanceof` takes and `new` may not. */
export type AbstractConstructor<Instance> = abstract new (...parameters: any[]) => Instance;

/** Every array whose elements can be looked through. */
export type ArrayLikeArg<Element> = ArrayLike<Element> & object;

/** What is falsy in JavaScript. */
export type Falsy = false | 0 | 0n | "" | null | undefined;

/** Thrown by every assertion that does not hold. */
export class AssertionError extends Error {
  constructor(message: string, options?: ErrorOptions);
}

/** Whether two values are deeply equal. */
export function equal(a: unknown, b: unknown): boolean;

/** `expr` is truthy. */
export function assert(expr: unknown, msg?: string): asserts expr;

/** `expr` is falsy. */
export function assertFalse(expr: unknown, msg?: string): asserts expr is Falsy;

/** Both are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void;

/** They are not deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void;

/** Both are the same value (`Object.is`). */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T;

/** They are not the same value (`Object.is`). */
export function assertNotStrictEquals<T>(actual: T, expected: T, msg?: string): void;

/** Both numbers are within `tolerance`, by default one ten-millionth of `expected`. */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
): void;

/** `actual` holds every element of `expected`. */
export function assertArrayIncludes<T>(
  actual: ArrayLikeArg<T>,
  expected: ArrayLikeArg<T>,
  msg?: string,
): void;

/** `actual` is neither null nor undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T>;

/** `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void;

/** `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void;

/** `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void;

/** `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void;

/** `actual` is an instance of the class. */
export function assertInstanceOf<Class extends AbstractConstructor<any>>(
  actual: unknown,
  expectedType: Class,
  msg?: string,
): asserts actual is InstanceType<Class>;

/** `actual` is not an instance of the class. */
export function assertNotInstanceOf<Actual, Unexpected>(
  actual: Actual,
  unexpectedType: AbstractConstructor<Unexpected>,
  msg?: string,
): asserts actual is Exclude<Actual, Unexpected>;

/** `error` is an `Error`, of the class and with the message if they are given. */
export function assertIsError<E extends Error = Error>(
  error: unknown,
  ErrorClass?: AbstractConstructor<E>,
  msgMatches?: string | RegExp,
  msg?: string,
): asserts error is E;

/** `actual` matches the expression. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void;

/** `actual` does not match the expression. */
export function assertNotMatch(actual: string, expected: RegExp, msg?: string): void;

/** Every property of `expected` is in `actual`, deeply. */
export function assertObjectMatch(
  actual: Record<PropertyKey, any>,
  expected: Record<PropertyKey, unknown>,
  msg?: string,
): void;

/** `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void;

/** `fn` throws; what it threw is returned. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** `fn` throws an error of the class whose message includes the text; the error is returned. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: AbstractConstructor<E>,
  msgIncludes?: string,
  msg?: string,
): E;

/** The promise of `fn` rejects; what it rejected with is resolved. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** The promise of `fn` rejects with an error of the class whose message includes the text; the error is resolved. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: AbstractConstructor<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;

/** Fails. */
export function fail(msg?: string): never;

/** Fails because the code is not written. */
export function unimplemented(msg?: string): never;

/** Fails because control came where it never should. */
export function unreachable(msg?: string): never;
