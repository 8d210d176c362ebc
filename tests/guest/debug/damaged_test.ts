import { assert, assertMatch, assertStringIncludes } from "@std/assert";
import { boot, Image, type Machine } from "@vmexit/vmexit";
import fc from "fast-check";
import { openElf, sectionHeaders } from "../../../lib/guest/elf_file.ts";
import { statePage } from "../../../lib/machine/report/state_page.ts";
import { build, KERNELS, needs, TestFolder } from "./kernels.ts";

const [C] = KERNELS;

/** Part of an ELF file. */
interface Part {
  readonly at: number;
  readonly size: number;
}

/** What may become of a part of a file. */
const DAMAGES: Readonly<Record<string, (bytes: Uint8Array, random: readonly number[]) => void>> = {
  inverted: (bytes) => bytes.forEach((byte, index) => bytes[index] = byte ^ 0xff),
  zeroed: (bytes) => bytes.fill(0),
  "full of ones": (bytes) => bytes.fill(0xff),
  "cut off": (bytes) => bytes.fill(0, bytes.length >> 1),
  "shifted by one": (bytes) => bytes.copyWithin(1, 0),
  "changed here and there": (bytes, random) => {
    for (let index = 0; index + 1 < random.length; index += 2) {
      bytes[random[index] % bytes.length] = random[index + 1];
    }
  },
};

/** The parts of a file that no code of the guest needs: sections that no segment has, frames, the sections' headers. */
function partsOf(file: Uint8Array<ArrayBuffer>): Part[] {
  const elf = openElf(file);
  const headers = {
    at: Number(elf.header.e_shoff),
    size: elf.header.e_shnum * elf.header.e_shentsize,
  };
  const code = elf.programHeaders.filter(({ p_type }) => p_type === 1)
    .map(({ p_offset, p_filesz }) => [Number(p_offset), Number(p_offset) + Number(p_filesz)]);
  const sections = sectionHeaders(elf)
    .map(({ sh_offset, sh_size }) => ({ at: Number(sh_offset), size: Number(sh_size) }))
    .filter(({ at, size }) => size > 0 && !code.some(([start, end]) => at >= start && at < end));
  return [...sections, headers];
}

/** The page of a guest that has failed, as if its image were another. */
function pageWith(vm: Machine, image: Image): string {
  const shown: Machine = new Proxy(vm, {
    get: (target, key) =>
      key === "image"
        ? image
        : key === "machine"
        ? { cpus: [shown], exitingCpu: shown }
        : Reflect.get(target, key, target),
  });
  return statePage(shown);
}

Deno.test(
  needs(
    [C.compiler, "gdb"],
    "whatever becomes of an ELF file's symbols and debug information, there is a page",
  ),
  () => {
    using folder = new TestFolder();
    const file = Deno.readFileSync(build(C, folder));
    using vm = boot(Image.fromElf(file), { mode: "long", memory: "4M", catchFaults: true });
    try {
      vm.run();
    } catch {
      // It fails: that is what the page is about.
    }
    assertStringIncludes(pageWith(vm, Image.fromElf(file)), "(index=2, port=1016)");
    const parts = partsOf(file);
    assert(parts.length > 8, "it has debug information");
    let pages = 0;
    let readable = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...parts),
        fc.constantFrom(...Object.keys(DAMAGES)),
        fc.array(fc.nat(0xffff), { minLength: 2, maxLength: 40 }),
        ({ at, size }, damage, random) => {
          const damaged = file.slice();
          DAMAGES[damage](damaged.subarray(at, at + size), random);
          let image: Image;
          try {
            image = Image.fromElf(damaged);
          } catch (error) {
            // What tells where things are in the file is damaged.
            assertMatch((error as Error).message, /^Cannot load the ELF file: .+ damaged$/);
            return;
          }
          const page = pageWith(vm, image);
          pages++;
          assertMatch(page, /^guest at 0x10003f in 64-bit mode\n/);
          assertStringIncludes(page, "\nregisters that changed since boot\n");
          assertStringIncludes(page, "\nserial output so far\n    onetwo");
          // deno-lint-ignore no-control-regex
          assert(!/[\x00-\x08\x0b-\x1f\x7f-\x9f]/.test(page), "it has control characters");
          assert(page.length < 20_000, `it has ${page.length} characters`);
          if (/^ {2}.+:\d+ {2}/m.test(page)) readable++;
          else assertMatch(page, /\n {2}\(.+\)\n/, "it is not said what is missing");
        },
      ),
      { numRuns: 25 },
    );
    assert(pages > 10 && readable < pages, `${pages} pages, ${readable} with lines`);
  },
);
