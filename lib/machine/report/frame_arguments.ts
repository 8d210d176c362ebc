import { PAGE_SIZE } from "../../ffi/mman.ts";
import type { Image } from "../../guest/image.ts";
import type { FrameArguments } from "../../guest/image_init.ts";
import type { CodeView } from "./guest_code.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

/** What is below the stack pointer and in use all the same (System V ABI for x86-64, "The Stack Frame"). */
const RED_ZONE = 128n;
/** How much of the stack, and of the image, values are looked for in. */
const STACK_READ = 64 * 1024;
const IMAGE_READ = 4 * 1024 * 1024;

/** The general registers. */
export const GENERAL = [
  ...["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"],
  ...["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"],
] as const;

/** What the functions were called with through which a guest came to where it is: asked once, then given frame by frame. */
export class CalledWith {
  #frames: readonly FrameArguments[];

  /** @param address The linear address of the instruction that the page is about. */
  constructor(cpu: StoppedCpu, code: CodeView, address: bigint) {
    this.#frames = [];
    const { image, registers } = cpu;
    const { bits, imageBase } = code.place;
    // Compilers know of no segments with bases.
    if (bits !== 64 && (registers.cs.base !== 0n || registers.ss.base !== 0n)) return;
    const pointer = BigInt.asUintN(bits === 64 ? 64 : 32, registers.rsp);
    const general = ([...GENERAL, "rsp"] as const).map((name) => [name, registers[name]]);
    this.#frames = image.argumentsOf({
      bits,
      registers: Object.fromEntries([...general, ["rip", address]]),
      memory: [
        stretch(cpu, pointer - RED_ZONE, Number(RED_ZONE)),
        stretch(cpu, pointer, STACK_READ),
        ...[image, ...image.others.values()].flatMap(({ segments }) => segments).map((segment) =>
          stretch(cpu, segment.address + imageBase, Math.min(segment.size, IMAGE_READ))
        ),
      ].filter(({ bytes }) => bytes.length > 0),
    }, imageBase);
  }

  /**
   * The next functions outwards, each as ` (index=2, port=1016)`, the innermost first; empty where it is not known.
   *
   * @param place Where they are, as the image has it: those that were inlined count.
   * @param address Where the outermost of them goes on.
   */
  next(image: Image, place: bigint, address: bigint): readonly string[] {
    if (this.#frames.length === 0) return [];
    const count = Math.max(1, image.framesAt([place])[0].length);
    const here = this.#frames.slice(0, count);
    // Where gdb has found another caller, what it says further out is not about this one's.
    const isSame = here.length === count && here.every((frame) => frame.address === address);
    this.#frames = isSame ? this.#frames.slice(count) : [];
    return isSame
      ? here.map(({ values }) => values.length === 0 ? "" : ` (${values.join(", ")})`)
      : [];
  }

  /** Says that the functions further out were not found as gdb finds them. */
  end(): void {
    this.#frames = [];
  }
}

/** As much of a stretch of memory as is mapped. */
function stretch({ linear }: StoppedCpu, address: bigint, length: number) {
  const bytes = new Uint8Array(length);
  let known = 0;
  try {
    while (known < length) {
      const at = address + BigInt(known);
      const size = Math.min(length - known, PAGE_SIZE - Number(at % BigInt(PAGE_SIZE)));
      bytes.set(linear.read(at, size), known);
      known += size;
    }
  } catch {
    // The end of what is mapped.
  }
  return { address, bytes: bytes.subarray(0, known) };
}
