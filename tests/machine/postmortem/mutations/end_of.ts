import { asm, boot, expect, hlt, HostError, type Machine, portOut } from "@vmexit/vmexit";
import { SplitMix32 } from "../../../../lib/x86/split_mix.ts";
import { isNamed, mutate, mutated, type Mutation } from "./mutation.ts";

/** How a mutated guest ends. */
export interface End {
  /** The name of the guest. */
  readonly guest: string;
  /** What was changed. */
  readonly mutation: Mutation;
  /**
   * `passes`: the change makes no difference that a test of its output sees. `unjudged`: the emulated machine did not
   * bear it.
   */
  readonly how: "passes" | "named" | "missed" | "unjudged";
  /** The failure page, where there is one. */
  readonly page: string;
}

/** Correct boot code, and what it says on COM1 before it halts. */
const GUESTS: Readonly<Record<string, string>> = {
  protected_mode: "12OK\n",
  paging: "iOK\n",
  long_mode: "1b2OK\n",
};

/** The longest run of a guest, in milliseconds on a host with KVM. */
const TIMEOUT = 60;
const COM1 = 0x3f8;
const BOOT_SECTOR = 0x7c00;

/** Ends of so many random mutations, each run when it is asked for; the same for the same seed. */
export function* ends(count: number, seed: number): Generator<End> {
  const random = new SplitMix32(seed);
  const folder = Deno.makeTempDirSync();
  try {
    const names = Object.keys(GUESTS);
    for (let index = 0; index < count; index++) {
      const guest = names[random.below(names.length)];
      const source = Deno.readTextFileSync(`${import.meta.dirname}/${guest}.asm`);
      const mutation = mutate(source, random);
      try {
        yield endOf(guest, source, mutation, folder);
      } catch (error) {
        if (!isOfHost(error)) throw error;
        yield { guest, mutation, how: "unjudged", page: "" };
      }
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Whether the guests do what they should as they are. */
export function checkGuests(): void {
  for (const [guest, serial] of Object.entries(GUESTS)) {
    using vm = bootSector(`${import.meta.dirname}/${guest}.asm`);
    expectOutput(vm, serial);
  }
}

function endOf(guest: string, source: string, mutation: Mutation, folder: string): End {
  const file = `${guest}.asm`;
  Deno.writeTextFileSync(`${folder}/${file}`, mutated(source, mutation));
  using vm = bootSector(`${folder}/${file}`);
  try {
    expectOutput(vm, GUESTS[guest]);
    return { guest, mutation, how: "passes", page: "" };
  } catch (error) {
    if (isOfHost(error)) throw error;
    const page = error instanceof Error ? error.message : String(error);
    return { guest, mutation, how: isNamed(page, file, mutation) ? "named" : "missed", page };
  }
}

/** Whether the machine below has failed, and not the guest. */
function isOfHost(error: unknown): boolean {
  return error instanceof HostError || (error instanceof SuppressedError && isOfHost(error.error));
}

function bootSector(path: string): Machine {
  return boot(asm.file(path), { mode: "real", entry: BOOT_SECTOR, memory: "8M" });
}

function expectOutput(vm: Machine, serial: string): void {
  const said = Array.from(serial, (character) => portOut(COM1, character));
  expect(vm).toExit([...said, hlt()], { timeout: TIMEOUT });
}
