const INDEX = /^\d+$/;

/** The CPUs of a machine, by number: one that is not there is an error that says so, and not undefined. */
export function cpuList<Cpus extends readonly object[]>(cpus: Cpus): Cpus {
  return new Proxy(cpus, {
    get(target, name, receiver) {
      if (typeof name === "string" && INDEX.test(name) && !(name in target)) {
        throw new RangeError(
          `Cannot use CPU ${name}: the machine has CPUs 0 to ${
            target.length - 1
          }. The option \`cpus\` gives it more.`,
        );
      }
      return Reflect.get(target, name, receiver);
    },
  });
}
