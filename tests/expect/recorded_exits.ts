import type { Exit } from "@vmexit/vmexit";

const RUN_FLAGS = { smm: false, busLock: false, guestMode: false };

/** `out`: a number is one byte, text is one element a character. */
export function out(port: number, data: number | string | readonly number[], size = 1): Exit {
  const bytes = typeof data === "string"
    ? new TextEncoder().encode(data)
    : Uint8Array.from(typeof data === "number" ? [data] : data);
  return {
    reason: "IO",
    number: 2,
    runFlags: RUN_FLAGS,
    direction: "out",
    port,
    size,
    count: bytes.length / size,
    data: bytes,
  };
}

/** `in`, which waits for its answer. */
export function input(port: number, size = 1, count = 1): Exit {
  return {
    reason: "IO",
    number: 2,
    runFlags: RUN_FLAGS,
    direction: "in",
    port,
    size,
    count,
    data: new Uint8Array(size * count),
  };
}

/** A write to a physical address without memory. */
export function store(gpa: number, ...bytes: number[]): Exit {
  const data = Uint8Array.from(bytes);
  return {
    reason: "MMIO",
    number: 6,
    runFlags: RUN_FLAGS,
    gpa,
    len: data.length,
    isWrite: true,
    data,
  };
}

/** A read from a physical address without memory. */
export function load(gpa: number, len = 1): Exit {
  const data = new Uint8Array(len);
  return { reason: "MMIO", number: 6, runFlags: RUN_FLAGS, gpa, len, isWrite: false, data };
}

/** HLT. */
export const halted: Exit = { reason: "HLT", number: 5, runFlags: RUN_FLAGS };

/** A triple fault. */
export const shutDown: Exit = { reason: "SHUTDOWN", number: 8, runFlags: RUN_FLAGS };
