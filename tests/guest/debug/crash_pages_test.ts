import { assertEquals, assertThrows } from "@std/assert";
import { boot, Image } from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";
import { build, KERNELS, needs, TestFolder } from "./kernels.ts";

/** `UPDATE_PAGES=1` writes them anew. */
const IS_UPDATE = Deno.env.get("UPDATE_PAGES") === "1";

/** What is the same whichever compiler of a language has built the kernel: no addresses, no instructions. */
function general(page: string): string {
  const end = page.indexOf("registers that changed");
  return page.slice(0, end).split("\n")
    .filter((row) => !/^ +→? ?0x[0-9a-f]+ {2}[0-9a-f]{2} /.test(row))
    .map((row) =>
      row.replaceAll(`${import.meta.dirname}/`, "").replaceAll(/0x[0-9a-f]+/g, "0x…")
        .replaceAll(/\/\S+\/library\/core\/src\/panicking\.rs:\d+/g, "panicking.rs:…")
        .replaceAll("__rustc::", "")
        // The core library of Debian's compiler has debug information of arguments, too.
        .replace(/(?<=panicking\.rs:….*) \(.*\)$/, "")
    )
    .join("\n");
}

for (const source of KERNELS) {
  Deno.test(
    needs(
      [source.compiler, "gdb"],
      `a crash of ${source.file} has its lines, callers and arguments`,
    ),
    () => {
      using folder = new TestFolder();
      using vm = boot(Image.elf(build(source, folder)), {
        mode: "long",
        memory: "4M",
        catchFaults: true,
      });
      assertThrows(() => vm.run(), Error, "(`ud2`): invalid opcode");
      const page = general(statePage(vm));
      const golden = new URL(`kernels/${source.file}.page.txt`, import.meta.url);
      if (IS_UPDATE) Deno.writeTextFileSync(golden, page);
      assertEquals(page, Deno.readTextFileSync(golden));
    },
  );
}
