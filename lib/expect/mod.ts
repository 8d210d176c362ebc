export * from "./assertion_error.ts";
export * from "./expect.ts";
export type { Answer } from "./patterns/answer.ts";
export * from "./patterns/any.ts";
export * from "./patterns/exit_pattern.ts";
export * from "./patterns/exits.ts";
export type { ExpectedData } from "./patterns/expected_data.ts";
export * from "./patterns/mmio.ts";
export * from "./patterns/port.ts";
