import { packet } from "../../../lib/machine/gdb/packets.ts";
import type { Conversation } from "./client_worker.ts";

/** Something that gdb says. */
export type Step = Conversation["steps"][number];

/** A packet as text. */
export const framed = (content: string): string => String.fromCharCode(...packet(content));

/** Says packets one after the other, each when the one before has its reply. */
export const saying = (...contents: string[]): Step[] =>
  contents.map((each) => ({ send: framed(each), until: "#[0-9a-f]{2}$" }));

/** Serves a client that says something, and gives what it heard. */
export async function talk(
  steps: readonly Step[],
  serve: (onListening: (port: number) => void) => void,
): Promise<string> {
  const worker = new Worker(new URL("./client_worker.ts", import.meta.url), { type: "module" });
  try {
    await new Promise((resolve) => worker.onmessage = resolve);
    const heard = new Promise<string>((resolve) => worker.onmessage = ({ data }) => resolve(data));
    serve((port) => worker.postMessage({ port, steps } satisfies Conversation));
    return await heard;
  } finally {
    worker.terminate();
  }
}
