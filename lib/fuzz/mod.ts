/**
 * Fuzzing of guests.
 *
 * @module
 */
export { fuzz, FuzzError, type FuzzFailure, type FuzzOptions, type FuzzResult } from "./fuzz.ts";
