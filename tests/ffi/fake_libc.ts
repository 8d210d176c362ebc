import type { Libc } from "@vmexit/vmexit/kvm";

/** A libc in which every call is noted and answers as `answers` says; what it does not say must not be called. */
export function fakeLibc(answers: Partial<Libc>): { libc: Libc; calls: string[] } {
  const calls: string[] = [];
  const libc = new Proxy({}, {
    get: (_, name: keyof Libc) => (...args: unknown[]) => {
      const answer = answers[name] as ((...args: unknown[]) => unknown) | undefined;
      if (answer === undefined) throw new Error(`${name} was called`);
      if (name !== "errno") {
        calls.push(`${name}(${args.filter((arg) => typeof arg !== "object").join(", ")})`);
      }
      return answer(...args);
    },
  }) as Libc;
  return { libc, calls };
}
