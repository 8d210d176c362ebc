import { type FlagValues, setFlag } from "../../x86/flags.ts";
import { type FlagRegister, flagRegister } from "./flag_register.ts";
import { type FlagRegisterName, flagRegisterTables } from "./flag_register_tables.ts";

/** How a register is read and assigned. */
export interface RegisterAccessors {
  /** The register's value, or the object that has its parts. */
  get(): unknown;
  /** Assigns it whole. */
  set(value: unknown): void;
}

/** A register that is made of flags: it is assigned as a whole, or as some of its flags. */
export function flagAccessors(
  name: FlagRegisterName,
  read: () => bigint,
  write: (value: bigint | number) => void,
): RegisterAccessors {
  const table = flagRegisterTables[name];
  let register: FlagRegister | undefined;
  return {
    get: () => register ??= flagRegister<string>(name, table, read, write),
    set: (value) => {
      if (typeof value !== "object" || value === null) return write(value as bigint);
      let changed = read();
      for (const [flag, set] of Object.entries<FlagValues[string]>({ ...value })) {
        if (set !== undefined) changed = setFlag(table, flag, changed, set);
      }
      write(changed);
    },
  };
}
