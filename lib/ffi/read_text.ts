import { O } from "./files.ts";
import type { Libc } from "./libc.ts";

const PIECE_SIZE = 64 * 1024;

/** A file's text by the C library, which needs no permission of Deno's; undefined where it cannot be read. */
export function readText(libc: Libc, path: string): string | undefined {
  const fd = libc.open(path, O.CLOEXEC);
  if (fd < 0) return undefined;
  const decoder = new TextDecoder();
  const bytes = new Uint8Array(PIECE_SIZE);
  let text = "";
  // To the end, because files of /proc have no size.
  for (let count = libc.read(fd, bytes); count > 0; count = libc.read(fd, bytes)) {
    text += decoder.decode(bytes.subarray(0, count), { stream: true });
  }
  libc.close(fd);
  return text;
}
