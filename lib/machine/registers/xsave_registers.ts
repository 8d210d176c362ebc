import { HostError } from "../../ffi/errors.ts";
import { getFlag } from "../../x86/registers/flags.ts";
import { fswFlags, type Xcr0Flag } from "../../x86/registers/flag_tables.ts";
import type { CpuidFeature } from "../../x86/cpuid/cpuid_features.ts";
import {
  fpuRegisters,
  MMX_WIDTH,
  mmxPlaces,
  simdRegisters,
  x87StackRegisters,
  type XsavePlace,
} from "../../x86/registers/xsave.ts";
import type { RegisterStore } from "./register_store.ts";
import {
  bytesOfInteger,
  integerOf,
  type VectorBytes,
  type VectorRegister,
  vectorRegister,
} from "./vector_register.ts";
import { wholeNumber } from "./whole_register.ts";
import { type X87Register, x87Register } from "./x87_register.ts";

const BITS = 8;
const REGISTERS = 8;
const MMX_SIZE = MMX_WIDTH / BITS;

/** What a write to a register of MMX leaves above it (Intel SDM Vol. 1, 9.2.1). */
const ABOVE_MMX = [0xff, 0xff];

/** What a CPU has that has a component, as its users call it, and as `requires` does. */
interface Feature {
  readonly title: string;
  readonly need: CpuidFeature;
}

const AVX512: Feature = { title: "AVX-512", need: "avx512f" };
const FEATURES: Readonly<Partial<Record<Xcr0Flag, Feature>>> = {
  avx: { title: "AVX", need: "avx" },
  opmask: AVX512,
  zmm_hi256: AVX512,
  hi16_zmm: AVX512,
  pkru: { title: "protection keys (PKU)", need: "pku" },
};

/** The registers of a machine that lie in its XSAVE area. */
export class XsaveRegisters {
  readonly #store: RegisterStore;
  /** Those that were asked for. */
  readonly #vectors = new Map<string, VectorRegister>();
  readonly #stack = new Map<string, X87Register>();

  /** The registers that `store` has. */
  constructor(store: RegisterStore) {
    this.#store = store;
  }

  /**
   * The bytes of the register called `name`.
   *
   * @throws {HostError} When the CPU lacks it.
   */
  read(name: string, places: readonly XsavePlace[]): Uint8Array<ArrayBuffer> {
    this.#checkHas(name, places);
    return this.#store.xsave().read(places);
  }

  /**
   * Sets the bytes of the register called `name`.
   *
   * @throws {HostError} When the CPU lacks it.
   */
  write(name: string, places: readonly XsavePlace[], bytes: Uint8Array): void {
    this.#checkHas(name, places);
    this.#store.changeXsave().write(places, bytes);
  }

  /**
   * A register of SSE, AVX, AVX-512 or MMX.
   *
   * @throws {HostError} When the CPU lacks it.
   */
  vector(name: string): VectorRegister {
    const found = this.#vectors.get(name);
    if (found !== undefined) return found;
    const made = vectorRegister(name, this.#bytes(name));
    this.#vectors.set(name, made);
    return made;
  }

  /** A register of the stack of x87. What is written is there, whatever the tag said before. */
  stack(name: string): X87Register {
    const found = this.#stack.get(name);
    if (found !== undefined) return found;
    const { width, places } = x87StackRegisters.get(name)!;
    const index = [...x87StackRegisters.keys()].indexOf(name);
    const made = x87Register(
      name,
      () => integerOf(this.read(name, places)),
      (value) => {
        this.write(name, places, bytesOfInteger(wholeNumber(name, value, width), width / BITS));
        this.#tag((index + this.#top) % REGISTERS);
      },
    );
    this.#stack.set(name, made);
    return made;
  }

  #bytes(name: string): VectorBytes {
    const register = simdRegisters.get(name);
    if (register === undefined) return this.#mmxBytes(name);
    const { width, places } = register;
    this.#checkHas(name, places);
    return {
      size: width / BITS,
      read: () => this.read(name, places),
      write: (bytes) => this.write(name, places, bytes),
    };
  }

  #mmxBytes(name: string): VectorBytes {
    const index = Number(name.slice("mm".length));
    return {
      size: MMX_SIZE,
      read: () => this.read(name, mmxPlaces(index, this.#top)).slice(0, MMX_SIZE),
      write: (bytes) => {
        const whole = new Uint8Array([...bytes, ...ABOVE_MMX]);
        this.write(name, mmxPlaces(index, this.#top), whole);
        this.#tag(index);
      },
    };
  }

  /** Which register is the top of the stack. */
  get #top(): number {
    const status = integerOf(this.read("fsw", fpuRegisters.fsw.places));
    return getFlag(fswFlags, "top", status) as number;
  }

  /** Says of a register, by its number and not from the top, that it is not empty. */
  #tag(index: number): void {
    const { places } = fpuRegisters.ftw;
    const [tags] = this.read("ftw", places);
    this.write("ftw", places, new Uint8Array([tags | 1 << index]));
  }

  #checkHas(name: string, places: readonly XsavePlace[]): void {
    for (const { component } of places) {
      const feature = FEATURES[component];
      if (feature === undefined || this.#store.xsaveLayout.components.has(component)) continue;
      throw new HostError(
        `Cannot use ${name}: this machine's CPU has no ${feature.title} (CPUID leaf 0xD does not ` +
          `offer XCR0.${component.toUpperCase()}). Run on a host that has it, or skip the test elsewhere: ` +
          `requires({ ${feature.need}: true }).`,
      );
    }
  }
}
