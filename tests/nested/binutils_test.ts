import { assert, assertEquals } from "@std/assert";
import { binutilsFiles, findBinutils } from "../../lib/nested/mod.ts";

Deno.test("a machine gets binutils, with the libraries that Deno does not bring", async () => {
  const files = await binutilsFiles();
  const isThere = await findBinutils() !== undefined;
  assertEquals(files.length > 0, isThere);
  for (const { host } of files) assert((await Deno.lstat(host)).isSymlink === false, host);
  const inside = files.map(({ host, guest = host }) => guest);
  if (inside.length < 3) return; // unpacked into the cache: the folder
  for (const name of ["readelf", "addr2line", "c++filt"]) {
    assert(inside.includes(`/usr/bin/${name}`));
  }
  assert(inside.some((path) => path.includes("/libbfd")), inside.join(" "));
  assert(!inside.some((path) => path.includes("/libc.so")), inside.join(" "));
});
