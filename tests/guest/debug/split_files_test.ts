import { assertEquals, assertStringIncludes } from "@std/assert";
import { boot, Image } from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";
import { build, KERNELS, needs, run, TestFolder } from "./kernels.ts";

const [C] = KERNELS;
const OPTIONS = { mode: "long", memory: "8M", catchFaults: true } as const;

/** The page of a kernel that crashes. */
function pageOf(image: Image): string {
  using vm = boot(image, OPTIONS);
  try {
    vm.run();
  } catch {
    // It fails: that is what the page is about.
  }
  return statePage(vm);
}

/** Takes the debug information out of a kernel, into a file of its own. */
function split(elf: string, debug: string): void {
  run("objcopy", "--only-keep-debug", elf, debug);
  run("objcopy", "--strip-all", elf);
  run("objcopy", `--add-gnu-debuglink=${debug}`, elf);
}

const CASES: [where: string, place: (folder: string) => string][] = [
  ["beside the file", (folder) => `${folder}/kernel.debug`],
  [".debug beside the file", (folder) => `${folder}/.debug/kernel.debug`],
];

for (const [where, place] of CASES) {
  Deno.test(needs(C.compiler, `debug information that was split off is found: ${where}`), () => {
    using folder = new TestFolder();
    const elf = build(C, folder);
    const whole = pageOf(Image.elf(elf));
    Deno.mkdirSync(`${folder.path}/.debug`);
    split(elf, place(folder.path));
    assertEquals(pageOf(Image.elf(elf)), whole);
    assertEquals(pageOf(Image.open(elf)), whole);
    assertStringIncludes(whole, "kernel.c:15  send+");
  });
}

Deno.test(
  needs(C.compiler, "debug information that was split off is found by its build ID"),
  () => {
    using folder = new TestFolder();
    const elf = build(C, folder, "-Wl,--build-id=0xabcdef0123");
    const whole = pageOf(Image.elf(elf));
    Deno.mkdirSync(`${folder.path}/.build-id/ab`, { recursive: true });
    run("objcopy", "--only-keep-debug", elf, `${folder.path}/.build-id/ab/cdef0123.debug`);
    run("objcopy", "--strip-all", elf);
    assertEquals(pageOf(Image.elf(elf)), whole);
  },
);

Deno.test(
  needs(C.compiler, "debug information that is not there, or another's, is said on the page"),
  () => {
    using folder = new TestFolder();
    const elf = build(C, folder);
    const debug = `${folder.path}/kernel.debug`;
    split(elf, debug);
    const noted = (image: Image, note: string) => {
      const page = pageOf(image);
      assertStringIncludes(page, `  (the ELF file has no source lines: ${note}`);
      assertStringIncludes(page, "called from\n");
    };
    const content = Deno.readFileSync(debug);
    noted(
      Image.fromElf(Deno.readFileSync(elf)),
      "its debug information is in kernel.debug, and where",
    );
    Deno.writeFileSync(debug, new Uint8Array([...content, 0]));
    noted(Image.elf(elf), "its debug information, kernel.debug, is that of another build");
    Deno.removeSync(debug);
    noted(Image.elf(elf), "its debug information is in kernel.debug, which is neither beside it");
    run("objcopy", "--remove-section=.gnu_debuglink", elf);
    noted(Image.elf(elf), "it was stripped");
  },
);

Deno.test(
  needs(C.compiler, "debug information of a file that was split off may be anything"),
  () => {
    using folder = new TestFolder();
    const elf = build(C, folder);
    const debug = `${folder.path}/kernel.debug`;
    Deno.writeTextFileSync(debug, "no ELF file");
    run("objcopy", "--strip-all", elf);
    run("objcopy", `--add-gnu-debuglink=${debug}`, elf);
    assertStringIncludes(
      pageOf(Image.elf(elf)),
      "kernel.debug, cannot be read: Cannot load the file as ELF",
    );
  },
);
